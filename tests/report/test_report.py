"""The pictures: what stands in them, and that they can be drawn of anything a run may give."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from lightning_dissect.clip_values import ClipValues
from lightning_dissect.dissection import Example
from lightning_dissect.metrics import PearsonSimilarity, SIFTSimilarity
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.pairing import Extent, Side
from lightning_dissect.report import (
    against_chance,
    best_matches,
    choose_followed,
    draw_matches,
    heat_map,
    overview,
    render,
    scatter,
    trajectories,
)
from lightning_dissect.scores import Scores


def result(scores: torch.Tensor, p: torch.Tensor) -> Similarity:
    return Similarity(scores, torch.zeros_like(scores), scores, p, torch.full_like(scores, 20))


@pytest.fixture
def scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(6, 3, generator=generator, dtype=torch.float64) * 2 - 1
    p = torch.full((6, 3), 0.5, dtype=torch.float64)
    p[2, 0], p[3, 2], values[5, :] = 1e-9, 1e-8, torch.nan
    p[5, :] = torch.nan
    same = {"epoch": 0, "step": 1, "dataloader": 0, "layer": "conv"}
    sift = torch.tensor([[0.1], [0.2], [0.3], [0.4], [0.5], [torch.nan]], dtype=torch.float64)
    p_sift = torch.tensor([[0.5], [1e-6], [0.5], [0.5], [0.5], [torch.nan]], dtype=torch.float64)
    return Scores.from_similarities(
        [
            ({**same, "level": "clip", "metric": "pearson"}, ("rms", "chroma[C]", "chroma[D]"), result(values, p)),
            ({**same, "level": "map", "metric": "sift"}, ("harmonic",), result(sift, p_sift)),
        ]
    )


def draw(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def count_matches(figure: Figure) -> int:
    """The number that the line under the picture begins with."""
    return int(figure.texts[1].get_text().split()[0])


def test_the_heat_map_shows_the_effects(scores: Scores) -> None:
    figure = heat_map(scores.last(), "conv")
    draw(figure)
    pearson, sift = (axes for axes in figure.axes if axes.images and axes.get_title(loc="left"))
    assert [label.get_text() for label in pearson.get_yticklabels()] == ["rms", "chroma"]
    shown = pearson.images[0].get_array()
    assert shown is not None
    effect = scores.table.query("feature == 'rms'")["effect"].to_numpy()
    np.testing.assert_allclose(np.ma.filled(shown[0], np.nan), effect)
    dots = pearson.collections[0].get_offsets()
    assert sorted(map(tuple, np.asarray(dots).tolist())) == [(2.0, 0.0), (3.0, 1.0)]
    assert len(sift.collections[0].get_offsets()) == 1


def test_a_heat_map_of_nothing_is_refused(scores: Scores) -> None:
    with pytest.raises(ValueError, match=r"layer='dense' has no units in the table, whose layers are \['conv'\]"):
        heat_map(scores.last(), "dense")


def test_the_overview_counts_labels(scores: Scores) -> None:
    figure = overview(scores.labels(), ["rms", "chroma", "harmonic"])
    draw(figure)
    assert texts(figure) == ["1", "1", "1"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["conv (6 units)"]


def test_nothing_labelled_is_an_overview_of_zeros(scores: Scores) -> None:
    labels = scores.labels().assign(feature=np.nan)
    assert texts(overview(labels, ["rms", "chroma"])) == ["0", "0"]


def test_the_best_map_unit_is_drawn_with_its_matches(scores: Scores) -> None:
    maps = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(1)).cumsum(1).cumsum(2)
    # Of the two clips, the second matches.
    activations = torch.stack([maps.flip(1), maps])
    example = Example(activations, {"harmonic": torch.stack([maps[1], maps[1]])})
    figures = best_matches(scores.last(), {"conv": example}, [PearsonSimilarity(), SIFTSimilarity()])
    assert list(figures) == ["conv"]
    draw(figures["conv"])
    assert figures["conv"].get_suptitle() == "conv, unit 1 beside harmonic"
    assert count_matches(figures["conv"]) > 5
    assert best_matches(scores.last(), {"conv": example}, [PearsonSimilarity()]) == {}
    assert best_matches(scores.last(), {}, [SIFTSimilarity()]) == {}


def test_what_is_drawn_are_the_matches_that_the_score_counts(scores: Scores) -> None:
    maps = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(1)).cumsum(1).cumsum(2)
    # Two halves of the map trade places: no one shift fits all matches.
    example = Example(maps[None], {"harmonic": maps[1].roll(32, 1)[None]})

    def count(metric: SIFTSimilarity) -> int:
        return count_matches(best_matches(scores.last(), {"conv": example}, [metric])["conv"])

    assert 0 < count(SIFTSimilarity(tolerance=2)) < count(SIFTSimilarity())


def test_maps_without_matches_can_be_drawn(tmp_path: Path) -> None:
    none = torch.zeros(0, 2)
    figure = draw_matches(torch.zeros(4, 9), torch.zeros(12, 5), (none, none), ("a", "b"), ("two maps", "nothing"))
    assert draw(figure).std() > 0


def many_units(units: int = 1300) -> pd.DataFrame:
    effect = np.linspace(-0.4, 0.1, units)
    effect[777] = 0.9
    rows = {"layer": "dense", "unit": range(units), "feature": "rms", "level": "clip", "metric": "pearson"}
    return pd.DataFrame({**rows, "score": effect, "null": 0.0, "effect": effect, "p_value": 0.5, "q_value": 0.5})


def test_no_unit_is_lost_between_pixels() -> None:
    figure = heat_map(many_units(), "dense")
    shown = figure.axes[0].images[0].get_array()
    assert shown is not None
    # three units a column
    assert shown.shape == (1, 434)
    assert shown[0, 259] == pytest.approx(0.9)
    assert figure.axes[0].get_xlim() == (-0.5, 1299.5)
    assert "a column is the strongest of 3 units" in figure.texts[1].get_text()


def test_what_is_undefined_stays_grey_in_wide_layers() -> None:
    table = many_units(1024)
    table.loc[100:109, ["score", "effect", "q_value", "p_value"]] = np.nan
    shown = heat_map(table, "dense").axes[0].images[0].get_array()
    assert np.ma.getmaskarray(shown)[0].nonzero()[0].tolist() == [50, 51, 52, 53, 54]


def stairs(panel: Axes) -> list[np.ndarray]:
    """The counts of the histograms in a panel: of scores, and by chance."""
    return [patch.get_data().values for patch in panel.patches if isinstance(patch, StepPatch)]


def test_scores_are_drawn_against_chance(scores: Scores) -> None:
    figure = against_chance(scores.last(), "conv")
    draw(figure)
    # two metrics × three features, of which sift compares one
    assert len(figure.axes) == 6
    assert texts(figure).count("not compared") == 3
    observed, chance = stairs(figure.axes[0])
    # five of six units are defined
    assert (observed.sum(), chance.sum()) == (5, 5)
    assert texts(figure)[0] == "1"


def test_the_chance_of_correlations_is_that_of_so_many_clips() -> None:
    """Against correlations of unrelated noise."""
    units, clips = 2000, 20
    noise = np.random.default_rng(0).normal(size=(2, units, clips))
    r = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(*noise, strict=True)])
    table = many_units(units).assign(score=r, effect=r, n_clips=clips)
    observed, chance = stairs(against_chance(table, "dense").axes[0])
    # 2000 units in 24 bins: a bin's count has a standard deviation of at most sqrt(2000 / 24 * 3)
    assert np.abs(observed - chance).max() < 4 * np.sqrt(250)
    assert chance.std() > 50


@pytest.fixture
def values() -> ClipValues:
    kept = ClipValues(clips=10, batches=2)
    for first in (0, 8):
        extent = Extent(8, 1, None, 0)
        clips = torch.arange(8.0) + first
        features = {
            "rms": Side(-clips[:, None], None, None),
            "chroma": Side(torch.stack([clips, clips * 2], 1), None, None),
        }
        kept.begin(torch.zeros(8, 4), extent, features, 0, first)
        kept.receive("conv", Side(clips[:, None] * torch.arange(6), None, None))
        kept.end()
    return kept


def test_the_best_unit_is_drawn_clip_by_clip(scores: Scores, values: ClipValues) -> None:
    figure = scatter(scores.last(), "conv", values, {"rms": "dB"})
    assert figure is not None
    draw(figure)
    rms, chroma, empty = figure.axes
    assert rms.get_xlabel() == "rms (dB)"
    assert rms.get_title().startswith("unit 2: r = ")
    # five clips of each of two batches
    kept = np.array([0, 1, 2, 3, 4, 8, 9, 10, 11, 12])
    np.testing.assert_array_equal(rms.lines[0].get_xydata(), np.stack([-kept, 2 * kept], 1))
    # of chroma, the row D of unit 3 is the one with support
    assert chroma.get_xlabel() == "chroma[D]"
    np.testing.assert_array_equal(chroma.lines[0].get_xydata(), np.stack([2 * kept, 3 * kept], 1))
    assert not empty.axison


def test_without_clips_there_is_no_scatter(scores: Scores, values: ClipValues) -> None:
    assert scatter(scores.last(), "dense", values) is None
    assert scatter(scores.last()[scores.last()["level"] == "map"], "conv", values) is None
    assert scatter(scores.last(), "conv", ClipValues()) is None


def epochs_of(scores: Scores, count: int) -> Scores:
    """The same scores in several epochs, growing towards the last."""
    tables = [
        scores.table.assign(epoch=epoch, step=10 * epoch, effect=scores.table["effect"] * (epoch + 1) / count)
        for epoch in range(count)
    ]
    tables[0]["q_value"] = 0.9
    return Scores(pd.concat(tables, ignore_index=True))


def test_units_are_followed_over_epochs(scores: Scores) -> None:
    history = epochs_of(scores, 4)
    followed = choose_followed(history.labels())
    assert followed[["layer", "unit", "base"]].values.tolist() == [
        ["conv", 3, "chroma"], ["conv", 1, "harmonic"], ["conv", 2, "rms"],
    ]  # fmt: skip
    figure = trajectories(history, followed)
    assert figure is not None
    draw(figure)
    chroma, _, rms, empty = figure.axes
    assert chroma.get_title().startswith("chroma (")
    effect = scores.table.query("feature == 'rms' and unit == 2")["effect"].item()
    way = next(line for line in rms.lines if line.get_label() == "conv, 2")
    np.testing.assert_allclose(way.get_xydata(), [[epoch, effect * (epoch + 1) / 4] for epoch in range(4)])
    filled, hollow = rms.lines[-2:]
    assert (filled.get_xdata().tolist(), hollow.get_xdata().tolist()) == ([1, 2, 3], [0])
    assert not empty.axison


def test_one_epoch_is_no_way(scores: Scores) -> None:
    assert trajectories(scores, choose_followed(scores.labels())) is None
    assert trajectories(epochs_of(scores, 2), choose_followed(scores.labels().assign(feature=None))) is None


def test_at_most_three_units_of_different_layers_are_followed() -> None:
    labels = pd.DataFrame(
        {
            "layer": [*"aaab"] * 2,
            "unit": range(8),
            "feature": "rms",
            "level": "clip",
            "metric": "pearson",
            "effect": 0.5,
        }
    ).assign(q_value=np.arange(8) / 1000)
    chosen = choose_followed(labels)
    assert chosen[["layer", "unit"]].values.tolist() == [["a", 0], ["b", 3], ["a", 1]]


def test_the_look_does_not_depend_on_the_users_and_leaves_it_alone(scores: Scores) -> None:
    plain = render(heat_map(scores.last(), "conv"))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "figure.dpi": 20}):
        np.testing.assert_array_equal(render(heat_map(scores.last(), "conv")), plain)
        assert mpl.rcParams["font.size"] == 30
    assert plain.shape[1] == 980
    assert plain.dtype == np.uint8
