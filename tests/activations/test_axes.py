import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_dissect import dissect
from lightning_dissect.activations.axes import Axes, name_axes


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.Conv2d(1, 2, 3), (2, 2, 5, 6), "batch unit frequency time"),
        (nn.Conv1d(1, 2, 3), (2, 2, 6), "batch unit time"),
        (nn.Linear(3, 4), (2, 4), "batch unit"),
        (nn.Linear(3, 4), (2, 9, 4), "batch time unit"),
        (nn.Linear(3, 4), (2, 5, 9, 4), "batch frequency time unit"),
        (nn.LSTM(3, 4), (2, 9, 4), "batch time unit"),
        (nn.LSTM(3, 4), (9, 2, 4), "time batch unit"),
        (nn.LSTM(3, 4), (2, 2, 4), "batch time unit"),
        (nn.MultiheadAttention(8, 2), (9, 2, 8), "time batch unit"),
        (nn.TransformerEncoderLayer(8, 2), (2, 9, 8), "batch time unit"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (2, 2, 5, 6), "batch unit frequency time"),
        (nn.MaxPool2d(2), (2, 2, 5, 6), "batch unit frequency time"),
    ],
)
def test_axes_follow_the_kind_of_layer(layer: nn.Module, shape: tuple[int, ...], axes: str) -> None:
    assert str(name_axes(layer, shape, clips=2)) == axes


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        # wav2vec 2.0: a convolution whose normalisation runs on the transposed output, which is transposed back
        (nn.ModuleList([nn.Conv1d(1, 16, 3), nn.LayerNorm(16)]), (2, 16, 50), "batch unit time"),
        # ConvNeXt: a LayerNorm over the second of four axes
        (nn.LayerNorm(16), (2, 16, 5, 50), "batch unit frequency time"),
        # a convolution over time whose output was transposed for a recurrent layer
        (nn.Sequential(nn.Conv1d(1, 16, 3)), (2, 50, 16), "batch time unit"),
        (nn.LSTM(3, 8, bidirectional=True), (2, 16, 50), "batch unit time"),
        # DAC's quantizer: the code book's units are those of no axis, but the projection's before it are
        (nn.ModuleList([nn.Conv1d(8, 16, 1), nn.Embedding(9, 4)]), (2, 16, 50), "batch unit time"),
        # HDemucs: a layer further inside has by chance as many units as there are frames
        (nn.Sequential(nn.Conv1d(1, 16, 3), nn.Sequential(nn.Linear(8, 50))), (2, 16, 50), "batch unit time"),
        # no axis has as many units, or both have: the kind alone decides
        (nn.Sequential(nn.Conv1d(1, 32, 3), nn.GLU(1)), (2, 16, 50), "batch unit time"),
        (nn.Linear(3, 16), (2, 16, 16), "batch time unit"),
    ],
)
def test_units_are_where_there_are_as_many(layer: nn.Module, shape: tuple[int, ...], axes: str) -> None:
    assert str(name_axes(layer, shape, clips=2)) == axes


def test_an_output_without_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4, 5, 6\)"):
        name_axes(nn.Conv3d(1, 3, 3), (2, 3, 4, 5, 6))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "batch time",
        "batch unit unit",
        "batch unit height",
        "batch 1+unit",
        "batch unit (time)",
        "batch unit (frequency time)",
        "batch unit (frequency=0 time)",
        "batch unit (frequency=4 time) time",
        "batch unit (time frequency=4",
        "batch call unit",
        "call call batch unit",
        "calls batch unit",
        "2+call batch unit",
    ],
)
def test_axes_in_words_are_checked(words: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        Axes.parse(words)


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("batch time unit", lambda x: x),
        ("batch 1+time unit", lambda x: x[:, 1:]),
        ("batch 2+(frequency=4 time) unit", lambda x: x[:, 2:].reshape(3, 4, 6, 5)),
        ("batch 2+(time frequency=4) unit", lambda x: x[:, 2:].reshape(3, 6, 4, 5)),
        ("batch (frequency=13 time) unit", lambda x: x.reshape(3, 13, 2, 5)),
    ],
)
def test_tokens_are_left_out_and_patches_laid_out(words: str, read: object) -> None:
    output = torch.randn(3, 26, 5)
    axes = Axes.parse(words)
    assert str(axes) == words
    assert callable(read)
    assert torch.equal(axes.read(output), read(output))
    assert axes.read(output).ndim == len(axes.names)


@pytest.mark.parametrize("words", ["batch unit", "batch (frequency=4 time) unit", "batch 26+time unit"])
def test_an_output_that_does_not_fit_the_words_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"\(3, 26, 5\) does not read as 'batch "):
        Axes.parse(words).read(torch.zeros(3, 26, 5))


@pytest.mark.parametrize(
    ("words", "shape", "read", "names"),
    [
        (
            "(batch example) unit time frequency",
            (2, 3, 5, 6, 4),
            lambda x: torch.cat([x[:, k] for k in range(3)], 2),  # 3 examples of 6 times are 18 times
            ("batch", "unit", "time", "frequency"),
        ),
        ("(batch example) unit", (2, 3, 5), lambda x: x, ("batch", "time", "unit")),
        ("(example batch) unit", (3, 2, 5), lambda x: x, ("time", "batch", "unit")),
    ],
)
def test_examples_of_a_clip_are_its_times(words: str, shape: tuple[int, ...], read: object, names: object) -> None:
    output = torch.randn(shape)
    axes = Axes.parse(words)
    assert str(axes) == words
    assert axes.names == names
    assert callable(read)
    assert torch.equal(axes.read(output.flatten(0, 1), clips=2), read(output))
    with pytest.raises(ValueError, match="does not read as"):
        axes.read(output.flatten(0, 1), clips=4)


def test_a_network_that_cuts_clips_into_examples_has_frames() -> None:
    """Examples side by side on the batch axis give the same scores as on the time axis."""

    class Examples(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv1d(1, 3, 64, 64)
            self.deep = nn.Conv1d(3, 4, 1)

        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            examples = self.cut(waveform.unsqueeze(1)).unflatten(2, (4, -1)).transpose(1, 2).flatten(0, 1)
            return self.deep(examples)

    torch.manual_seed(0)
    net = Examples()
    clips = torch.randn(8, 8192) * torch.rand(8, 4).repeat_interleave(2048, 1)
    clips *= torch.linspace(0.1, 1, 8192)
    scores = dissect(
        net,
        DataLoader(clips, batch_size=8),
        8_000,
        layers=["deep"],
        features=["rms"],
        metrics=["pearson"],
        axes={"deep": "(batch example) unit time"},
    )
    assert set(scores.table["level"]) == {"clip", "frame"}
    assert (scores.table["n_clips"] == 8).all()
    assert scores.settings["axes"] == {"deep": "(batch example) unit time"}
