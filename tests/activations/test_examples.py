import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_dissect import dissect
from lightning_dissect.activations.activation import Activation, Outputs
from lightning_dissect.activations.axes import Axes, name_axes
from lightning_dissect.activations.examples import Examples

LENGTH = 8_000


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.Linear(3, 5), (12, 5), "(batch example) unit"),
        (nn.BatchNorm1d(5), (12, 5), "(batch example) unit"),
        (nn.Conv1d(1, 5, 3), (12, 5, 6), "(batch example) unit time"),
        (nn.Conv2d(1, 5, 3), (12, 5, 8, 6), "(batch example) unit frequency time"),
        (nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU()), (12, 5, 8, 6), "(batch example) unit frequency time"),
        # as many as clips, or no multiple
        (nn.Linear(3, 5), (4, 5), "batch unit"),
        (nn.Linear(3, 5), (14, 5), "batch unit"),
        (nn.Linear(3, 5), (2, 5), "batch unit"),
        # time first, whose times are a multiple of the clips by accident
        (nn.LSTM(3, 5), (12, 4, 5), "time batch unit"),
        # Swin's windows, bands of a dual-path network, heads of attention: not in the order of time
        (nn.Linear(3, 5), (12, 49, 5), "batch time unit"),
        (nn.LSTM(3, 5), (12, 6, 5), "batch time unit"),
        (nn.Linear(3, 5), (12, 7, 7, 5), "batch frequency time unit"),
        # a table of positions, and a layer of which nothing is known
        (nn.Embedding(12, 5), (12, 5), "batch unit"),
        (nn.Identity(), (12, 5), "batch unit"),
    ],
)
def test_a_multiple_of_the_clips_is_read_as_examples_where_it_can_be(
    layer: nn.Module, shape: tuple[int, ...], axes: str
) -> None:
    assert str(name_axes(layer, shape, clips=4)) == axes
    assert "example" not in str(name_axes(layer, shape))


@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 6), (12, 5, 8, 6)])
def test_one_clip_does_not_tell(shape: tuple[int, ...]) -> None:
    assert "example" not in str(name_axes(nn.Conv1d(1, 5, 3), shape, clips=1))


def clips_in_frames(clips: int, frames: int, alike: float = 1.0) -> Tensor:
    """Five units of frames, shape (clips, frames, units), that share what their clip has, and more or less noise."""
    return alike * torch.randn(clips, 1, 5) + torch.randn(clips, frames, 5)


def read(reader: Outputs, output: Any, clips: int, length: int = LENGTH, taken: int | None = None) -> Activation | None:
    reader.begin(clips, clips if taken is None else taken, length)
    return reader.read("layer", nn.Linear(5, 5), output)


def test_examples_are_read_as_if_it_had_been_said() -> None:
    output = clips_in_frames(4, 7)
    reader = Outputs()
    activation = read(reader, output.flatten(0, 1), clips=4, taken=3)
    assert activation is not None
    assert activation.axes == ("batch", "time", "unit")
    assert torch.equal(activation.values, output[:3])
    assert reader.in_examples == {"layer": 7}
    assert str(reader.axes["layer"]) == "(batch example) unit"


def test_smaller_batches_follow_to_the_last_clip() -> None:
    reader = Outputs()
    for clips in (4, 3, 1):
        output = clips_in_frames(clips, 7)
        activation = read(reader, output.flatten(0, 1), clips)
        assert activation is not None
        assert torch.equal(activation.values, output)
    assert reader.in_examples == {"layer": 7}


def test_a_batch_of_one_clip_is_refused_until_others_have_told() -> None:
    reader = Outputs()
    with pytest.raises(ValueError, match=r"\(7, 5\) does not hold one item for each of 1 clips(.|\n)*batch example"):
        read(reader, torch.randn(7, 5), clips=1)


def test_longer_clips_have_more_examples_and_clips_as_long_as_many() -> None:
    reader = Outputs()
    read(reader, clips_in_frames(4, 7).flatten(0, 1), clips=4)
    assert read(reader, clips_in_frames(4, 9).flatten(0, 1), clips=4, length=LENGTH + 2_000) is not None
    with pytest.raises(ValueError, match=r"\(36, 5\) has 9 items for each of 4 clips .* clips as long, had 7"):
        read(reader, clips_in_frames(4, 9).flatten(0, 1), clips=4)


@pytest.mark.parametrize(("first", "then"), [((6, 4), 3), ((8, 4), 4)])
def test_a_multiple_by_accident_is_found_by_the_next_smaller_batch(first: tuple[int, int], then: int) -> None:
    """Such as a table of twelve, or of eight, entries, whatever the clips: the last batch is smaller."""
    clips, _ = first
    table = torch.randn(24 if clips == 6 else clips, 5)
    reader = Outputs()
    assert read(reader, table, clips) is not None
    with pytest.raises(ValueError, match="an earlier batch, of clips as long, had"):
        read(reader, table, then)
    left = Outputs(strict=False)
    read(left, table, clips)
    assert read(left, table, then) is None
    assert "no examples of the clips" in left.left_out["layer"]


@pytest.mark.parametrize("clips", [2, 3, 8])
@pytest.mark.parametrize("examples", [2, 3, 40])
def test_views_and_times_before_clips_are_refused(clips: int, examples: int) -> None:
    """Two views of each clip, the first ones of all clips first; or (time × clips, unit)."""
    torch.manual_seed(0)
    output = clips_in_frames(clips, examples, alike=3)
    with pytest.raises(ValueError, match=rf"those that lie {clips} apart are the most alike"):
        read(Outputs(), output.transpose(0, 1).flatten(0, 1), clips)
    assert read(Outputs(), output.flatten(0, 1), clips) is not None


def test_clips_that_are_all_alike_are_no_reason_to_refuse() -> None:
    torch.manual_seed(0)
    kept = [
        read(Outputs(strict=False), clips_in_frames(8, examples, alike=0).flatten(0, 1), clips=8) is not None
        for examples in (2, 3, 40)
        for _ in range(30)
    ]
    assert sum(kept) >= 85
    for output in (torch.zeros(24, 5), torch.full((24, 5), torch.nan), torch.ones(24, 5).cumsum(1)):
        assert read(Outputs(), output, clips=8) is not None


def test_what_was_said_is_not_asked_again() -> None:
    output = clips_in_frames(8, 2, alike=3).transpose(0, 1).flatten(0, 1)
    for words in ("(batch example) unit", "(example batch) unit"):
        reader = Outputs({"layer": words})
        assert read(reader, output, clips=8) is not None
        assert not reader.in_examples


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_looked_at_too(dtype: torch.dtype) -> None:
    examples = Examples()
    examples.check("layer", clips_in_frames(4, 7).flatten(0, 1).to(dtype), clips=4)
    assert examples.assumed == {"layer": 7}


class Framed(nn.Module):
    """Cuts each clip into frames, which it puts on the batch axis, as CREPE does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 16, 4)
        self.dense = nn.Linear(3, 4)

    def forward(self, waveform: Tensor) -> Tensor:
        frames = waveform.unfold(1, 400, 200).flatten(0, 1)
        return self.dense(self.conv(frames[:, None]).square().mean(2))


def test_a_network_of_frames_needs_no_axes_and_says_what_it_took_them_for() -> None:
    torch.manual_seed(0)
    net = Framed()
    clips = torch.randn(17, LENGTH) * torch.rand(17, 8).repeat_interleave(LENGTH // 8, 1)
    axes = {"conv": "(batch example) unit time", "dense": "(batch example) unit"}
    tables, said = [], []
    for given in (None, axes):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores = dissect(
                net,
                DataLoader(clips, batch_size=4),  # the last batch is of one clip
                8_000,
                features=["rms"],
                metrics=["pearson"],
                axes=given,
                progress=False,
            )
        said.append([str(w.message) for w in caught if "several items for each clip" in str(w.message)])
        assert scores.settings["axes"] == axes
        tables.append(scores.table)
    assert (tables[0]["n_clips"] == 17).all()
    assert set(tables[0]["level"]) == {"clip", "frame"}
    assert tables[0].equals(tables[1])
    assert [len(lines) for lines in said] == [1, 0]
    assert "'conv' (39 a clip), 'dense' (39 a clip)" in said[0][0]
    assert "'conv': '(batch example) unit time'" in said[0][0]
    assert Axes.parse("(batch example) unit").in_examples
