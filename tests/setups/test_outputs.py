"""Layers whose output is no plain tensor, or whose axes are in another order, in a real validation."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

FRAMES, UNITS = 25, 4


def loudness(waveform: Tensor) -> Tensor:
    """(B, FRAMES)."""
    return adaptive_avg_pool1d(waveform.square(), FRAMES).sqrt()


class Listening(pl.LightningModule):
    """Runs ``layer`` on random values, (B, UNITS, FRAMES), of which the first unit is the loudness."""

    def __init__(self, layer: nn.Module, feed: Callable[[nn.Module, Tensor], Any] = lambda layer, x: layer(x)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.feed = layer, feed
        self.waveform = torch.zeros(0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.waveform = batch[0]
        values = torch.rand(len(batch[0]), UNITS, FRAMES)
        values[:, 0] = loudness(batch[0])
        self.feed(self.layer, values)


@dataclass
class Output:
    loss: None
    hidden: Tensor


class Emit(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


def model_output(x: Tensor) -> Any:
    return pytest.importorskip("transformers.modeling_outputs").BaseModelOutput(last_hidden_state=x, attentions=(x,))


class Quantiser(nn.Module):
    """Its layers of books put out codes, or nothing."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.books, self.output = nn.Parameter(torch.rand(3)), output

    def forward(self, x: Tensor) -> Any:
        return x.argmax(1) if self.output == "codes" else None


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "tuple": lambda x: (None, x, x + 1),
    "nested tuple": lambda x: ((x, (x, x)), x),
    "dict": lambda x: {"loss": None, "hidden": x},
    "dataclass": lambda x: Output(None, x),
    "ModelOutput": model_output,
    "codes first": lambda x: (x.argmax(1), x),
    "complex": lambda x: torch.polar(x, 7 * x),
    "half precision": lambda x: x.bfloat16(),
    "a view": lambda x: torch.cat([x, x]).chunk(2)[1],
}


def planted_is_found(watch: Any, axes: str) -> None:
    assert watch.scores.settings["axes"] == {"layer": axes}
    labels = watch.scores.labels()
    assert labels.loc[labels["unit"] == 0, "feature"].tolist() == ["rms"]
    assert set(watch.scores.table["level"]) == {"clip", "frame"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_activation_is_found_in_what_a_layer_returns(
    kind: str, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    watch = callback(layers=["layer"])
    trainer(watch).validate(Listening(Emit(KINDS[kind])), data(), verbose=False)
    planted_is_found(watch, "batch unit time")


class Decoder(nn.TransformerDecoderLayer):
    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return super().forward(x, x)


class Attention(nn.MultiheadAttention):
    def forward(self, x: Tensor, *_: Any, **__: Any) -> Any:
        return super().forward(x, x, x)


def encoder(batch_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(UNITS, 2, 8, batch_first=batch_first)


SEQUENCES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "LSTM": (lambda: nn.LSTM(UNITS, 6, batch_first=True), "batch time unit"),
    "LSTM, time first": (lambda: nn.LSTM(UNITS, 6), "time batch unit"),
    "GRU, both ways": (lambda: nn.GRU(UNITS, 6, 2, batch_first=True, bidirectional=True), "batch time unit"),
    "LSTM with projection": (lambda: nn.LSTM(UNITS, 6, proj_size=3, batch_first=True), "batch time unit"),
    "attention": (lambda: Attention(UNITS, 2, batch_first=True), "batch time unit"),
    "attention, time first": (lambda: Attention(UNITS, 2), "time batch unit"),
    "transformer block": (lambda: encoder(True), "batch time unit"),
    "transformer block, time first": (lambda: encoder(False), "time batch unit"),
    "transformer": (lambda: nn.TransformerEncoder(encoder(True), 2), "batch time unit"),
    "transformer decoder block": (lambda: Decoder(UNITS, 2, 8, batch_first=True), "batch time unit"),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_layers_over_time_are_read_in_their_order(
    name: str, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    make, axes = SEQUENCES[name]
    time_first = axes.startswith("time")
    model = Listening(make(), lambda layer, x: layer(x.permute(2, 0, 1) if time_first else x.mT))

    def plant(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        values = output if isinstance(output, Tensor) else output[0]
        values[..., 0] = loudness(model.waveform).T if time_first else loudness(model.waveform)

    model.layer.register_forward_hook(plant)
    watch = callback(layers=["layer"])
    trainer(watch).validate(model, data(), verbose=False)
    planted_is_found(watch, axes)


def test_all_parts_of_a_transformer_block_are_watched_in_eval_mode(
    data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    """PyTorch's fused path would run none of them; it steps aside for hooks."""
    watch = callback(layers=["layer.*"])
    trainer(watch).validate(Listening(encoder(True).eval(), lambda layer, x: layer(x.mT)), data(), verbose=False)
    ran = {"self_attn", "linear1", "dropout", "linear2", "norm1", "norm2", "dropout1", "dropout2"}
    assert set(watch.scores.table["layer"]) == {f"layer.{name}" for name in ran}


def test_a_packed_sequence_is_refused(
    data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    def feed(layer: nn.Module, x: Tensor) -> None:
        layer(pack_padded_sequence(x.mT, torch.tensor([FRAMES] * len(x)), batch_first=True))

    with pytest.raises(ValueError, match=r"its output \(150, 6\) does not(.|\n)*layer 'layer'"):
        trainer(callback(layers=["layer"])).validate(Listening(nn.LSTM(UNITS, 6), feed), data(), verbose=False)


def test_a_layer_that_skips_batches_is_compared_on_the_others(
    data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    class Skipping(Listening):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if batch_idx % 2:
                super().validation_step(batch, batch_idx)

    watch = callback(layers=["layer"])
    trainer(watch).validate(Skipping(Emit(lambda x: x)), data(), verbose=False)
    planted_is_found(watch, "batch unit time")
    assert set(watch.scores.table["n_clips"]) == {12}


def test_of_several_runs_in_a_batch_the_first_counts_with_a_word(
    data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    def feed(layer: nn.Module, x: Tensor) -> None:
        layer(x)
        layer(torch.zeros_like(x))

    watch = callback(layers=["layer"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            trainer(watch).validate(Listening(Emit(lambda x: x), feed), data(), verbose=False)
    said = [str(w.message) for w in caught if "only the first run is compared" in str(w.message)]
    assert len(said) == 1
    assert "'layer' (2 times)" in said[0]
    assert "'layer': 'call batch unit time'" in said[0]
    planted_is_found(watch, "batch unit time")
    assert set(watch.scores.table["n_clips"]) == {24}


class Streaming(pl.LightningModule):
    """Feeds its layer a quarter of each clip at a time: one number each, or its frames."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.layer = Emit(lambda x: x)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for quarter in batch[0].square().chunk(4, dim=1):
            level = adaptive_avg_pool1d(quarter, self.frames or 1).sqrt()
            self.layer(level[:, None] if self.frames else level)


@pytest.mark.parametrize(("frames", "axes"), [(0, "batch unit"), (10, "batch unit time")])
def test_runs_on_parts_of_a_clip_are_joined_along_time(
    frames: int, axes: str, callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    """Each quarter has a loudness of its own; windows of 64 samples in quarters of 1000 smear little."""
    torch.manual_seed(0)
    loudness = torch.rand(64, 4).repeat_interleave(1_000, dim=1)
    clips = DataLoader(TensorDataset(torch.randn(64, 4_000) * loudness), batch_size=8)
    scores = {}
    for words in (axes, f"call {axes}"):
        watch = callback(
            layers=["layer"], features=["rms"], axes={"layer": words}, controls=[], n_fft=64, hop_length=32
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer(watch).validate(Streaming(frames), clips, verbose=False)
        assert any("'layer' (4 times)" in str(w.message) for w in caught) == (words == axes)
        assert watch.scores.settings["axes"] == {"layer": words}
        scores[words] = watch.scores.table.set_index("level")["score"]
    # Of four independent quarters one says half of the whole: its correlation with the mean is 1/√4.
    assert scores[axes]["clip"] < 0.8
    assert set(scores[f"call {axes}"].index) == {"clip", "frame"}
    assert (scores[f"call {axes}"] > 0.95).all()


def test_layers_that_cannot_be_read_are_left_out_unless_they_were_asked_for(
    data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    """Positions go through a layer of their own, without one item for each clip."""

    def feed(layer: nn.Module, x: Tensor) -> None:
        layer.get_submodule("positions")(torch.rand(1, FRAMES, 1))
        layer.get_submodule("conv")(x)

    layers = nn.ModuleDict({"positions": nn.Linear(1, 3), "conv": nn.Conv1d(UNITS, 5, 1)})
    watch = callback()
    with pytest.warns(UserWarning, match=r"layers=None leaves out .* layer 'layer.positions': its output \(1, 25, 3\)"):
        trainer(watch).validate(Listening(layers, feed), data(), verbose=False)
    assert set(watch.scores.table["layer"]) == {"layer.conv"}
    with pytest.raises(ValueError, match=r"its output \(1, 25, 3\)(.|\n)*layer 'layer.positions'"):
        trainer(callback(layers=["layer.*"])).validate(Listening(layers, feed), data(), verbose=False)


@pytest.mark.parametrize("output", ["codes", None])
def test_layers_that_put_out_no_numbers_are_left_out_unless_they_were_asked_for(
    output: str | None, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    def feed(layer: nn.Module, x: Tensor) -> None:
        layer.get_submodule("quantiser")(layer.get_submodule("conv")(x))

    layers = nn.ModuleDict({"conv": nn.Conv1d(UNITS, 5, 1), "quantiser": Quantiser(output)})
    watch = callback()
    with pytest.warns(UserWarning, match=r"layers=None leaves out .* layer 'layer.quantiser': its output is a "):
        trainer(watch).validate(Listening(layers, feed), data(), verbose=False)
    assert set(watch.scores.table["layer"]) == {"layer.conv"}
    with pytest.raises(ValueError, match=r"its output is a (Tensor|NoneType) without") as raised:
        trainer(callback(layers=["layer.*"])).validate(Listening(layers, feed), data(), verbose=False)
    assert raised.value.__notes__ == ["layer 'layer.quantiser'"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("layers", [None, ["layer.*"]])
def test_scripted_layers_are_left_out_of_others_unless_they_were_asked_for(
    layers: Any, data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    model = Listening(nn.Sequential(torch.jit.script(nn.Conv1d(UNITS, 3, 1)), nn.Conv1d(3, 2, 1)))
    watch = callback(layers=layers)
    with pytest.warns(UserWarning, match=r"layers=.* leaves out .* layer 'layer.0': it is scripted"):
        trainer(watch).validate(model, data(), verbose=False)
    assert set(watch.scores.table["layer"]) == {"layer.1"}
    with pytest.raises(ValueError, match=r"layers: 'layer.0' is scripted"):
        trainer(callback(layers=["layer.0", "layer.1"])).validate(model, data(), verbose=False)
    assert not any(layer._forward_hooks for layer in model.layer[1].modules())


class WithClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(100 * torch.ones(1, 1, UNITS))
        self.block = nn.Linear(UNITS, UNITS)
        with torch.no_grad():
            self.block.weight.copy_(torch.eye(UNITS))
            self.block.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(torch.cat([self.cls_token.expand(len(x), -1, -1), x.mT], 1))


def test_a_class_token_is_left_out_where_the_axes_say_so(
    data: Callable[[], Any], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    scores = []
    for axes in (None, {"layer.block": "batch 1+time unit"}):
        watch = callback(layers=["layer.block"], features=["rms"], axes=axes, controls=[], hop_length=160)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer(watch).validate(Listening(WithClassToken()), data(), verbose=False)
        warned = [str(w.message) for w in caught if "layer.cls_token" in str(w.message)]
        assert bool(warned) == (axes is None)
        assert all("'layer.block': 'batch 1+time unit'" in message for message in warned)
        scores.append(watch.scores.table.query("unit == 0 and level == 'frame'")["score"].item())
    assert abs(scores[0]) < 0.5
    # Windows of 512 samples smear frames of 160.
    assert scores[1] > 0.9
