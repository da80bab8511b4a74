import pytest
import torch

from lightning_dissect.activations.axes import Axes, Axis
from lightning_dissect.features import FeatureBank, FeatureValues, feature_names, make_feature
from lightning_dissect.levels import Extent, pool_activation, pool_feature, to_frames, to_one_map

WHOLE = Extent(clips=3, frames=20, fraction=None, map_clips=2)
PADDED = Extent(clips=3, frames=20, fraction=torch.tensor([1.0, 0.5, 0.24]), map_clips=2)


def parse_axes(text: str) -> tuple[Axis, ...]:
    return Axes.parse(text).names


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "axes",
    [
        "batch unit frequency time",
        "batch unit time frequency",
        "batch time frequency unit",
        "time batch unit frequency",
    ],
)
def test_every_order_of_axes_gives_the_same_levels(axes: str, dtype: torch.dtype) -> None:
    plain = torch.randn(3, 4, 16, 40).to(dtype)
    order = parse_axes("batch unit frequency time")
    moved = plain.permute([order.index(axis) for axis in parse_axes(axes)])
    levels = pool_activation(moved, parse_axes(axes), WHOLE)
    exact = plain.double()
    # Half precision is averaged in float32: the tolerance is that of float32 sums.
    torch.testing.assert_close(levels.clip, exact.mean((2, 3)).float(), rtol=0, atol=1e-6)
    assert levels.frame is not None
    assert levels.map is not None
    torch.testing.assert_close(levels.frame, exact.mean(2).unflatten(-1, (20, 2)).mean(-1).float(), rtol=0, atol=1e-6)
    assert torch.equal(levels.map, plain[:2].float())


def test_levels_that_an_output_lacks_are_missing() -> None:
    assert pool_activation(torch.randn(3, 4), parse_axes("batch unit"), WHOLE)[1:] == (None, None)
    levels = pool_activation(torch.randn(3, 4, 9), parse_axes("batch unit time"), WHOLE)
    assert levels.map is None
    assert levels.frame is not None
    assert levels.frame.shape == (3, 4, 9)
    none = pool_activation(
        torch.randn(3, 4, 5, 9), parse_axes("batch unit frequency time"), WHOLE._replace(map_clips=0)
    )
    assert none.map is None


def test_nothing_of_the_output_is_kept() -> None:
    for axes, shape in (
        ("batch unit", (3, 4)),
        ("batch unit time", (3, 4, 9)),
        ("batch unit frequency time", (3, 4, 16, 19)),
    ):
        output = torch.randn(shape)
        levels = pool_activation(output, parse_axes(axes), WHOLE)
        before = [None if level is None else level.clone() for level in levels]
        output.fill_(9.0)
        for level, old in zip(levels, before, strict=True):
            assert (level is None and old is None) or torch.equal(level, old)


def test_no_level_of_an_output_keeps_its_graph() -> None:
    output = torch.randn(3, 4, 16, 20, requires_grad=True)
    for level in pool_activation(output, parse_axes("batch unit frequency time"), WHOLE):
        assert level is not None
        assert not level.requires_grad


def test_padding_does_not_count() -> None:
    audio = torch.randn(3, 4, 40)
    garbage = torch.where(torch.arange(40) < torch.tensor([40, 20, 9])[:, None, None], audio, 1e6)
    levels = pool_activation(garbage, parse_axes("batch unit time"), PADDED)
    torch.testing.assert_close(levels.clip[1], audio[1, :, :20].mean(-1))
    torch.testing.assert_close(levels.clip[2], audio[2, :, :9].mean(-1))
    mask = PADDED.valid(20)
    assert mask is not None
    assert mask.sum(1).tolist() == [20, 10, 4]
    assert levels.frame is not None
    assert levels.frame.abs()[mask[:, None].expand(-1, 4, -1)].max() < 10


@pytest.mark.parametrize(("axes", "shape"), [("batch unit", (3, 4, 5)), ("batch unit time", (6, 4, 5))])
def test_an_output_that_does_not_fit_is_refused(axes: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"does not read as .* of 3 clips"):
        pool_activation(torch.randn(shape), parse_axes(axes), WHOLE)


def test_features_are_pooled_by_their_named_rows() -> None:
    values = torch.rand(3, 12, 20)
    chroma = pool_feature(*FeatureValues(values, "map", tuple(f"chroma[{i}]" for i in range(12)), None), WHOLE)
    assert chroma.clip is not None
    assert chroma.frame is not None
    assert chroma.map is not None
    torch.testing.assert_close(chroma.clip, values.mean(-1))
    assert (chroma.clip.shape, chroma.frame.shape, chroma.map.shape) == ((3, 12), (3, 12, 20), (2, 1, 12, 20))
    mask = torch.arange(20) < torch.tensor([20, 10, 0])[:, None]
    loudness = pool_feature(*FeatureValues(values[:, :1], "frame", ("loudness",), mask), PADDED)
    assert loudness.clip is not None
    torch.testing.assert_close(loudness.clip[:2, 0], torch.stack([values[0, 0].mean(), values[1, 0, :10].mean()]))
    assert loudness.clip[2].isnan().all()
    rate = pool_feature(*FeatureValues(values[:, 0, :1], "clip", ("onset_rate",), None), WHOLE)
    assert rate[1:] == (None, None)


@pytest.mark.parametrize("map_clips", [0, 2])
def test_features_of_frequency_bins_meet_maps_only(map_clips: int) -> None:
    values = torch.rand(3, 12, 20)
    spectrum = pool_feature(*FeatureValues(values, "map", (), None), WHOLE._replace(map_clips=map_clips))
    assert spectrum[:2] == (None, None)
    assert (spectrum.map is not None) == (map_clips > 0)
    assert spectrum.map is None or torch.equal(spectrum.map, values[:map_clips, None])


@pytest.mark.parametrize("name", feature_names())
def test_features_say_the_levels_that_they_have(name: str) -> None:
    bank = FeatureBank([name], 22_050)
    levels = pool_feature(*bank(torch.randn(3, 33_075))[name], WHOLE)
    assert set(bank.levels[name]) == {level for level, values in levels._asdict().items() if values is not None}
    assert bank.levels[name][0] == make_feature(name).level


def test_grids_meet_at_the_coarser_one() -> None:
    assert to_frames(torch.rand(1, 2, 9), 20).shape == (1, 2, 9)
    torch.testing.assert_close(to_frames(torch.arange(6.0).view(1, 1, 6), 2), torch.tensor([[[1.0, 4.0]]]))
    activation, feature = to_one_map(torch.rand(1, 2, 48, 10), torch.rand(1, 1, 96, 5))
    assert (activation.shape, feature.shape) == ((1, 2, 48, 5), (1, 1, 48, 5))
