import inspect
import signal
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import lightning.pytorch
import pandas as pd
import pytest
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, dissect
from lightning_dissect.untrained.copies import make_copies

RATE = 8_000


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 256, 128), nn.ReLU(), nn.Dropout())


@pytest.fixture(scope="module")
def batches(clips: Callable[..., Tensor]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(clips(24, seconds=1.0, sample_rate=RATE), torch.zeros(24)), batch_size=8)


@pytest.mark.parametrize("package", [pytorch_lightning, lightning.pytorch])
def test_plain_and_lightning_modules_give_the_same_scores(package: Any, batches: DataLoader[Any]) -> None:
    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.net(batch[0])

    arguments = {"features": ["rms", "loudness"], "metrics": ["pearson"], "progress": False}
    plain = dissect(network(), batches, RATE, layers=["2"], **arguments)
    module = dissect(Module(), batches, RATE, layers=["net.2"], **arguments)
    assert plain.table["layer"].unique().tolist() == ["2"]
    assert plain.table["score"].equals(module.table["score"])
    assert plain.labels()["feature"].notna().all()


def test_the_network_is_left_as_it_was(batches: DataLoader[Any]) -> None:
    net = network().train()
    net[1].eval()
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    dissect(net, batches, RATE, features=["rms"], metrics=["pearson"], progress=False)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_modes_random_numbers_and_interrupts_are_left_as_they_were_however_it_ends(
    error: type[BaseException] | None, clips: Callable[..., Tensor]
) -> None:
    net = network().train()
    net[1].eval()

    def run(batch: Any) -> None:
        net(batch)
        if error is not None:
            raise error

    modes, random = [module.training for module in net.modules()], torch.get_rng_state()
    interrupt = signal.getsignal(signal.SIGINT)
    shuffled = DataLoader(clips(8, seconds=0.5, sample_rate=RATE), batch_size=4, shuffle=True)
    try:
        # Lightning makes a SystemExit of an interruption.
        with nullcontext() if error is None else pytest.raises((error, SystemExit)):
            dissect(net, shuffled, RATE, forward=run, features=["rms"], metrics=["pearson"], progress=False)
        assert [module.training for module in net.modules()] == modes
        assert torch.equal(torch.get_rng_state(), random)
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGINT, interrupt)


class Trained(pytorch_lightning.LightningModule):
    """Learns, and dissects something at the end of each epoch."""

    def __init__(self, dissected: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.dissected = nn.Sequential(network(), nn.Flatten(), nn.LazyLinear(1)), dissected

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.net(batch[0])

    def on_train_epoch_end(self) -> None:
        self.log("dissected", float(self.dissected(self) is not None))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


def fit(model: Trained, data: Any) -> pytorch_lightning.Trainer:
    trainer = pytorch_lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=8, shuffle=True))
    return trainer


def test_a_module_that_is_being_trained_is_refused_and_its_training_goes_on(batches: DataLoader[Any]) -> None:
    arguments = {"layers": ["net.0.1"], "features": ["rms"], "metrics": ["pearson"], "progress": False}

    def refused(model: Trained) -> Any:
        for more in ({}, {"forward": lambda batch: model.net(batch[0])}):
            with pytest.raises(ValueError, match=r"model: a Trainer is at work on this Trained, .* DissectCallback"):
                dissect(model, batches, RATE, **more, **arguments)

    model = Trained(refused)
    trainer = fit(model, batches.dataset)
    assert trainer.current_epoch == 2
    assert len(dissect(model, batches, RATE, **arguments)) > 0  # as soon as the training is over


def test_a_part_of_a_module_that_is_being_trained_can_be_dissected(batches: DataLoader[Any]) -> None:
    """Training goes on as it would without, to the bit."""

    def dissected(model: Trained) -> Any:
        return dissect(model.net, batches, RATE, features=["rms"], metrics=["pearson"], progress=False)

    left = []
    for function in (lambda model: None, dissected):
        model = Trained(function)
        fit(model, batches.dataset)
        left.append([*model.state_dict().values(), torch.get_rng_state()])
    for plain, watched in zip(*left, strict=True):
        assert torch.equal(plain, watched)


def test_a_function_runs_a_lightning_module_in_place_of_its_validation_step(batches: DataLoader[Any]) -> None:
    class Module(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise AssertionError("this is for labelled clips")

    model = Module()
    arguments = {"features": ["rms"], "metrics": ["pearson"], "progress": False}
    scores = dissect(model, batches, RATE, layers=["net.2"], forward=lambda batch: model.net(batch[0]), **arguments)
    plain = dissect(network(), batches, RATE, layers=["2"], **arguments)
    assert scores.table["layer"].unique().tolist() == ["net.2"]
    assert scores.table["score"].equals(plain.table["score"])


def test_a_function_may_run_the_network(batches: DataLoader[Any]) -> None:
    net = nn.Sequential(nn.Linear(1, 3))
    scores = dissect(
        net, batches, RATE, forward=lambda batch: net(batch[0].square().mean(1, keepdim=True)), features=["rms"],
        metrics=["pearson"], progress=False,
    )  # fmt: skip
    assert scores.labels()["feature"].tolist() == ["rms"] * 3


def test_axes_are_named_as_the_network_names_its_layers(batches: DataLoader[Any]) -> None:
    class Transposed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mT

    net = nn.Sequential(network(), Transposed())
    scores = dissect(
        net, batches, RATE, layers=["1"], axes={"?": "batch time unit"}, features=["rms"], metrics=["pearson"],
        progress=False,
    )  # fmt: skip
    assert scores.table["unit"].nunique() == 4


def test_errors_raise(batches: DataLoader[Any]) -> None:
    with pytest.raises(ValueError, match="matches no submodule"):
        dissect(network(), batches, RATE, layers=["conv"], progress=False)
    with pytest.raises(ValueError, match="waveform='audio' is not in the batch"):
        dissect(network(), batches, RATE, waveform="audio", forward=lambda batch: None, progress=False)


@pytest.mark.parametrize("progress", [False, True])
def test_a_progress_bar_is_shown_if_asked_for(
    progress: bool, batches: DataLoader[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    dissect(network(), batches, RATE, features=["rms"], metrics=["pearson"], progress=progress)
    assert ("3/3" in "".join(capsys.readouterr())) == progress


@pytest.mark.filterwarnings("ignore:.*Total length")
@pytest.mark.parametrize("loader", [DataLoader(torch.zeros(0, 8_000)), []], ids=["DataLoader", "list"])
def test_a_loader_without_clips_is_named(loader):
    with pytest.raises(ValueError, match="dataloader: it gave no batch"):
        dissect(nn.Conv1d(1, 2, 8), loader, 8_000, layers=[""], progress=False)


def test_its_signature_is_the_callbacks_but_for_what_training_alone_needs() -> None:
    ours, theirs = (inspect.signature(function).parameters for function in (dissect, DissectCallback.__init__))
    of_training = {"self", "every_n_epochs", "playlist", "watch", "on_error"}
    assert set(theirs) - of_training <= set(ours)
    assert ours["untrained"].default == theirs["untrained"].default == 0  # before a training alone, it may be "start"
    for name in set(theirs) - of_training - {"untrained"}:
        assert (ours[name].default, ours[name].annotation) == (theirs[name].default, theirs[name].annotation)


class Recurrent(nn.Module):
    """Units that follow the clip's level in a way that its weights say, and a recurrent layer that flattens its own."""

    def __init__(self) -> None:
        super().__init__()
        self.units, self.lstm = nn.Linear(2, 4), nn.LSTM(4, 3)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        level = torch.stack([x.square().mean(1).sqrt(), x.abs().amax(1)], 1)
        return self.lstm(self.norm(self.units(level))[None])[0]


@pytest.mark.parametrize("way", ["plain", "forward", "lightning"])
def test_a_baseline_is_what_untrained_copies_give_on_the_same_clips(way: str, batches: DataLoader[Any]) -> None:
    torch.manual_seed(1)
    net = Recurrent().train()

    class Module(pytorch_lightning.LightningModule):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.network(batch[0])

    data = DataLoader(batches.dataset, 8, shuffle=True, generator=torch.Generator().manual_seed(0))
    arguments: dict[str, Any] = {
        "layers": ["**units", "**lstm"], "features": ["rms"], "metrics": ["pearson"], "max_clips": 12, "progress": False
    }  # fmt: skip
    model = Module(net) if way == "lightning" else net
    if way == "forward":
        arguments["forward"] = lambda batch: net(batch[0])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = data.generator.get_state(), torch.get_rng_state()
    scores = dissect(model, data, RATE, untrained=2, **arguments)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.training
    assert torch.equal(data.generator.get_state(), found[0])
    assert torch.equal(torch.get_rng_state(), found[1])
    assert dissect(model, data, RATE, **arguments).table.equals(scores.table)
    assert scores.baseline is not None
    assert scores.baseline.table["epoch"].unique().tolist() == [0, 1]
    for number, made in enumerate(make_copies(model, 2)):
        alone = arguments | ({"forward": lambda batch, made=made: made(batch[0])} if way == "forward" else {})
        expected = dissect(made, data, RATE, **alone).table
        rows = scores.baseline.table.query(f"epoch == {number}")
        pd.testing.assert_frame_equal(
            rows.reset_index(drop=True), expected.assign(epoch=rows["epoch"].iloc[0]), check_dtype=False
        )
        assert not rows["score"].reset_index(drop=True).equals(scores.table["score"])


def test_weights_come_back_when_a_copy_fails(batches: DataLoader[Any]) -> None:
    net, runs = network(), []

    def forward(batch: Any) -> None:
        runs.append(batch)
        if len(runs) > 4:
            raise RuntimeError("no more")
        net(batch[0])

    before = net[1].weight.clone()
    with pytest.raises(RuntimeError, match="no more"):
        dissect(net, batches, RATE, forward=forward, features=["rms"], metrics=["pearson"], progress=False, untrained=1)
    assert torch.equal(net[1].weight, before)


def test_what_cannot_be_a_baseline_of_a_trained_network_is_refused(batches: DataLoader[Any]) -> None:
    with pytest.raises(ValueError, match="untrained='start': it is a number of copies, or a function"):
        dissect(network(), batches, RATE, untrained="start")  # type: ignore[arg-type]
    net = network()
    net.gain = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="no `reset_parameters` gives new weights to the network itself"):
        dissect(net, batches, RATE, untrained=2)
