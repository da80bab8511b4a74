"""The pictures: what stands in them, and that they can be drawn of anything a run may give."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D

from lightning_dissect.levels import Extent, Levels
from lightning_dissect.metrics import PearsonSimilarity, SIFTSimilarity
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.report import (
    against_chance,
    best_matches,
    choose_followed,
    correlations,
    detectors,
    draw_matches,
    heat_map,
    overview,
    render,
    scatter,
    sheet,
    trajectories,
)
from lightning_dissect.report.correlations import correlate_features
from lightning_dissect.report.panel import ticks
from lightning_dissect.report.style import style
from lightning_dissect.run.clip_values import ClipValues
from lightning_dissect.run.drawn_maps import DrawnMaps
from lightning_dissect.scores import Block, Scores


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
    return Scores.from_blocks(
        [
            Block({**same, "level": "clip", "metric": "pearson"}, ("rms", "chroma[C]", "chroma[D]"), result(values, p)),
            Block({**same, "level": "map", "metric": "sift"}, ("harmonic",), result(sift, p_sift)),
        ]
    )


def draw(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def texts(figure: Figure) -> list[str]:
    """What is written: the title, the line below, then the rest."""
    (words,) = (artist for artist in figure.artists if isinstance(artist, PathCollection))
    return str(words.get_label()).split("\n")


def images(figure: Figure) -> dict[str, np.ma.MaskedArray]:
    """The matrices that are shown, by what they are."""
    shown = [artist for artist in figure.artists if isinstance(artist, BboxImage)]
    return {str(image.get_label()): np.ma.asarray(image.get_array()) for image in shown}


def lines(figure: Figure) -> dict[str, np.ndarray]:
    """The points of the lines and dots, (n, 2), by what they are."""
    drawn = [artist for artist in figure.artists if isinstance(artist, Line2D)]
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in drawn}


def count_matches(figure: Figure) -> int:
    """The number that the line under the picture begins with."""
    return int(texts(figure)[1].split()[0])


def test_the_heat_map_shows_the_effects(scores: Scores) -> None:
    figure = heat_map(scores.last(), "conv")
    draw(figure)
    pearson, sift = "correlation, one value a clip", "matching shapes (SIFT), frequency × time"
    assert texts(figure)[2:5] == ["rms", "chroma", pearson]
    effect = scores.table.query("feature == 'rms'")["effect"].to_numpy()
    np.testing.assert_allclose(images(figure)[pearson][0].filled(np.nan), effect)
    assert images(figure)[sift].shape == (1, 6)
    assert sorted(map(tuple, lines(figure)[pearson].tolist())) == [(2.0, 0.0), (3.0, 1.0)]
    assert lines(figure)[sift].tolist() == [[1.0, 0.0]]


def test_a_heat_map_of_nothing_is_refused(scores: Scores) -> None:
    with pytest.raises(ValueError, match=r"layer='dense' has no units in the table, whose layers are \['conv'\]"):
        heat_map(scores.last(), "dense")


def label(layer: str, kind: str | None, feature: str | None = "rms", rivals: tuple[str, ...] = ()) -> dict[str, object]:
    return {"layer": layer, "feature": feature, "kind": kind, "rivals": rivals, "learned": pd.NA}


@pytest.fixture
def labels() -> pd.DataFrame:
    """Ten units of one layer and two of another."""
    rows = [label("conv", "distinct", "chroma[A]"), label("conv", "distinct", "chroma[B]"), label("conv", "distinct")]
    rows += [label("conv", "shared", "rms", ("chroma[A]",))] * 3
    rows += [label("conv", "trivial", "rms", ("chroma[A]", "rms_db")), label("conv", "trivial", "input")]
    rows += [label("conv", None, None)] * 2 + [label("dense", "trivial", "rms_db"), label("dense", None, None)]
    return pd.DataFrame(rows).assign(unit=range(12)).astype({"learned": "boolean"})


def bars(figure: Figure) -> dict[str, list[float]]:
    """The widths of the bars of each kind, from the first layer that has any."""
    drawn = [artist for artist in figure.artists if isinstance(artist, PolyCollection)]
    return {
        str(artist.get_label()): [float(np.ptp(path.vertices[:, 0])) for path in artist.get_paths()]
        for artist in drawn
        if artist.get_paths() and not str(artist.get_label()).startswith("key")
    }


def test_the_overview_shows_each_unit_once_by_kind(labels: pd.DataFrame) -> None:
    figure = overview(labels)
    draw(figure)
    assert bars(figure) == {
        "distinct": [pytest.approx(0.3)],
        "shared": [pytest.approx(0.3)],
        "trivial": [pytest.approx(0.2), pytest.approx(0.5)],
        "none": [pytest.approx(0.2), pytest.approx(0.5)],
    }
    assert [word for word in texts(figure) if word.isdigit()] == ["3", "3", "2", "1", "2", "1"]
    assert {"conv (10 units)", "dense (2 units)", "one feature"} <= set(texts(figure))


def test_the_overview_splits_distinct_units_where_it_is_known_which_are_learned(labels: pd.DataFrame) -> None:
    labels["learned"] = pd.array([True, False, False, True] + [False] * 4 + [pd.NA] * 2 + [True, pd.NA], "boolean")
    shown = bars(overview(labels))
    assert shown["learned"] == [pytest.approx(0.1)]
    assert shown["distinct"] == [pytest.approx(0.2)]
    assert {"one feature, learned", "one feature, not shown to be learned"} <= set(texts(overview(labels)))


def test_labels_of_earlier_versions_are_shown_as_untested(scores: Scores) -> None:
    assert bars(overview(scores.labels())) == {"untested": [pytest.approx(0.5)], "none": [pytest.approx(0.5)]}


def test_detectors_count_distinct_labels_and_beside_them_what_controls_explain(labels: pd.DataFrame) -> None:
    figure = detectors(labels, ["rms", "chroma", "harmonic"], ["rms_db", "input"])
    draw(figure)
    numbers = [word for word in texts(figure) if word.isdigit()]
    assert numbers == ["1", "2", "0", "0", "0", "0", "1", "1", "1", "0"]
    names = ["rms", "chroma", "harmonic", "level", "the input"]
    assert [word for word in texts(figure) if word in names] == names


def test_features_are_correlated_over_clips_by_their_closest_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    chroma, rms = torch.randn(40, 12, generator=generator), torch.randn(40, 1, generator=generator)
    chroma[:, 5] = -rms[:, 0] + 0.1 * chroma[:, 5]
    rms[3] = torch.nan
    found = correlate_features({"chroma": chroma, "rms": rms, "tempo": torch.ones(40, 1)})
    known = ~rms[:, 0].isnan().numpy()
    r = [np.corrcoef(column[known], rms[known, 0])[0, 1] for column in chroma.T.numpy()]
    # Float32 columns, correlated in double precision by both.
    assert found.loc["chroma", "rms"] == pytest.approx(np.abs(r).max(), abs=1e-6)
    assert found.loc["chroma", "rms"] > 0.99
    assert found.drop(index="tempo", columns="tempo").isna().to_numpy().tolist() == [[True, False], [False, True]]
    assert found["tempo"].isna().all()
    figure = correlations({"chroma": chroma, "rms_db": rms})
    assert figure is not None
    draw(figure)
    assert texts(figure).count(f"{np.abs(r).max():.2f}") == 2
    assert {"chroma", "level"} <= set(texts(figure))


def test_a_feature_alone_or_too_few_clips_have_no_correlations() -> None:
    assert correlations({}) is None
    assert correlations({"chroma": torch.randn(40, 12)}) is None
    assert correlate_features({"a": torch.randn(3, 1), "b": torch.randn(3, 1)}).isna().all(axis=None)
    few = correlations({"a": torch.randn(3, 1), "b": torch.randn(3, 1)})
    assert few is not None
    assert texts(few).count("–") == 2


def test_the_overview_of_a_deep_network_is_no_taller_than_a_page() -> None:
    """It had a row for each layer: 2000 of them took 4 GB to draw."""
    layers = [f"blocks.{index}" for index in range(2000)]
    labels = pd.DataFrame([label(layer, "distinct") for layer in layers]).assign(unit=0)
    figure = overview(labels)
    rows = [words for words in texts(figure) if words.startswith("blocks.")]
    assert (len(rows), rows[0], rows[1]) == (59, "blocks.0 (1 units)", "blocks.34 (1 units)")
    assert texts(figure)[1].endswith("one in 34 of 2000 layers")
    assert figure.get_size_inches()[1] < 20


@pytest.mark.parametrize("words", ["conv", "x" * 60, "i" * 60, "block.0." * 5_000, "é…漢字" * 30])
@pytest.mark.parametrize("room", [0.05, 0.5, 2.0])
def test_words_are_shortened_to_their_room(words: str, room: float, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def ems(text: str, _bold: bool) -> float:
        measured.append(text)
        return 0.06 * 72 / sheet.SMALL * len(text)

    monkeypatch.setattr(sheet, "_ems", ems)
    short = sheet.shorten(words, room)
    assert short == words or short == f"{words[: (len(short)) // 2]}…{words[len(words) - (len(short) - 1) // 2 :]}"
    assert 0.06 * len(short) <= room or len(short) <= 3
    assert 0.06 * (len(short) + 1) > room or short == words or len(short) == 3
    # A name of a thousand letters was measured a thousand times, letter by letter, which took seconds. Now 40 000 are
    # halved 16 times, and of each half 200 letters are measured at most.
    assert sum(map(len, measured)) <= 17 * 200


def test_nothing_labelled_is_an_overview_of_zeros(scores: Scores) -> None:
    nothing = scores.labels().assign(feature=None, kind=None)
    assert bars(overview(nothing)) == {"none": [pytest.approx(1.0)]}
    assert texts(detectors(nothing, ["rms", "chroma"], []))[2:4] == ["0", "0"]


def test_the_best_map_unit_is_drawn_with_its_matches(scores: Scores) -> None:
    maps = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(1)).cumsum(1).cumsum(2)
    # Of the two clips, the second matches.
    activations = torch.stack([maps.flip(1), maps])
    example = DrawnMaps(activations, {"harmonic": torch.stack([maps[1:2], maps[1:2]])})
    figures = best_matches(scores.last(), {"conv": example}, [PearsonSimilarity(), SIFTSimilarity()])
    assert list(figures) == ["conv"]
    draw(figures["conv"])
    assert texts(figures["conv"])[0] == "conv, unit 1 beside harmonic"
    assert count_matches(figures["conv"]) > 5
    assert best_matches(scores.last(), {"conv": example}, [PearsonSimilarity()]) == {}
    assert best_matches(scores.last(), {}, [SIFTSimilarity()]) == {}


def test_what_is_drawn_are_the_matches_that_the_score_counts(scores: Scores) -> None:
    maps = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(1)).cumsum(1).cumsum(2)
    # Two halves of the map trade places: no one shift fits all matches.
    example = DrawnMaps(maps[None], {"harmonic": maps[1].roll(32, 1)[None, None]})

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
    shown = images(figure)["correlation, one value a clip"]
    # three units a column
    assert shown.shape == (1, 434)
    assert shown[0, 259] == pytest.approx(0.9)
    numbers = [word for word in texts(figure) if word.isdigit()]
    assert numbers == ["0", "200", "400", "600", "800", "1000", "1200"]
    assert "a column is the strongest of 3 units" in texts(figure)[1]


def test_what_is_undefined_stays_grey_in_wide_layers() -> None:
    table = many_units(1024)
    table.loc[100:109, ["score", "effect", "q_value", "p_value"]] = np.nan
    shown = images(heat_map(table, "dense"))["correlation, one value a clip"]
    assert np.ma.getmaskarray(shown)[0].nonzero()[0].tolist() == [50, 51, 52, 53, 54]


def counts(figure: Figure, units: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The counts of the histograms of each cell that is drawn: of the scores of so many units, and by chance."""
    drawn = [artist for artist in figure.artists if isinstance(artist, PolyCollection)]
    scored, expected = (
        [path.vertices for artist in drawn if artist.get_label() == label for path in artist.get_paths()]
        for label in ("score", "chance")
    )
    return [
        (_heights(np.asarray(score), units), _heights(np.asarray(chance), units))
        for score, chance in zip(scored, expected, strict=True)
    ]


def _heights(outline: np.ndarray, units: int) -> np.ndarray:
    y = outline[: 2 * 24 + 2, 1]
    heights = y[0] - y[1:-1:2]
    return heights * units / heights.sum()


def test_scores_are_drawn_against_chance(scores: Scores) -> None:
    figure = against_chance(scores.last(), "conv")
    draw(figure)
    # two metrics × three features, of which sift compares one
    assert texts(figure).count("not compared") == 3
    cells = counts(figure, 5)
    assert len(cells) == 3
    # five of six units are defined
    observed = np.histogram(scores.table.query("feature == 'rms'")["score"].dropna(), 24)[0]
    np.testing.assert_allclose(np.sort(cells[0][0]), np.sort(observed), atol=1e-9)
    for cell in cells:
        for side in cell:
            np.testing.assert_allclose(side, side.round(), atol=1e-9)
    # each feature has one supported unit
    assert texts(figure).count("1") == 3


def test_a_feature_without_any_score_is_undefined(scores: Scores) -> None:
    table = scores.last().copy()
    table.loc[table["feature"] == "rms", ["score", "null", "effect", "p_value", "q_value"]] = np.nan
    figure = against_chance(table, "conv")
    draw(figure)
    assert texts(figure).count("undefined") == 1
    assert len(counts(figure, 5)) == 2


def test_the_chance_of_correlations_is_that_of_so_many_clips() -> None:
    """Against correlations of unrelated noise."""
    units, clips = 2000, 20
    noise = np.random.default_rng(0).normal(size=(2, units, clips))
    r = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(*noise, strict=True)])
    table = many_units(units).assign(score=r, effect=r, n_clips=clips)
    ((observed, chance),) = counts(against_chance(table, "dense"), units)
    # 2000 units in 24 bins: a bin's count has a standard deviation of at most sqrt(2000 / 24 * 3)
    assert np.abs(observed - chance).max() < 4 * np.sqrt(250)
    assert chance.std() > 50


@pytest.mark.parametrize("limits", [(0.1, 1.05), (-0.42, 0.9), (0.0, 1299.0), (-0.011, 0.003), (3e3, 12e3)])
@pytest.mark.parametrize("most", [3, 4, 8])
def test_a_tick_is_written_as_what_it_is(limits: tuple[float, float], most: int) -> None:
    values, words = ticks(limits, most)
    assert [float(word.replace("−", "-")) for word in words] == pytest.approx(values)


@pytest.fixture
def values() -> ClipValues:
    kept = ClipValues(clips=10, batches=2)
    for first in (0, 8):
        extent = Extent(8, 1, None, 0)
        clips = torch.arange(8.0) + first
        features = {
            "rms": Levels(-clips[:, None], None, None),
            "chroma": Levels(torch.stack([clips, clips * 2], 1), None, None),
            "harmonic": Levels(None, None, torch.zeros(8, 1, 4, 4)),  # meets maps only
        }
        kept.begin(torch.zeros(8, 4), extent, features, 0, first)
        kept.receive("conv", Levels(clips[:, None] * torch.arange(6), None, None))
        kept.end()
    return kept


def test_the_best_unit_is_drawn_clip_by_clip(scores: Scores, values: ClipValues) -> None:
    figure = scatter(scores.last(), "conv", values, {"rms": "dB"})
    assert figure is not None
    draw(figure)
    # five clips of each of two batches
    kept = np.array([0, 1, 2, 3, 4, 8, 9, 10, 11, 12])
    np.testing.assert_array_equal(lines(figure)["rms"], np.stack([-kept, 2 * kept], 1))
    # of chroma, the row D of unit 3 is the one with support
    np.testing.assert_array_equal(lines(figure)["chroma"], np.stack([2 * kept, 3 * kept], 1))
    assert len(lines(figure)) == 2
    r = scores.table.query("feature == 'rms' and unit == 2")["score"].item()
    assert {"rms (dB)", "chroma[D]", f"unit 2: r = {r:.2f}"} <= set(texts(figure))


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
    titles = [word.split(" (")[0] for word in texts(figure) if "one value a clip" in word or "×" in word]
    assert titles == ["chroma", "harmonic", "rms"]
    effect = scores.table.query("feature == 'rms' and unit == 2")["effect"].item()
    way = [[epoch, effect * (epoch + 1) / 4] for epoch in range(4)]
    np.testing.assert_allclose(lines(figure)["conv, 2"], way)
    np.testing.assert_allclose(lines(figure)["conv, 2, supported"], way[1:])
    np.testing.assert_allclose(lines(figure)["conv, 2, not supported"], way[:1])


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
            "kind": "distinct",
        }
    ).assign(q_value=np.arange(8) / 1000)
    chosen = choose_followed(labels)
    assert chosen[["layer", "unit"]].values.tolist() == [["a", 0], ["b", 3], ["a", 1]]


def test_the_look_does_not_depend_on_the_users_and_leaves_it_alone(scores: Scores) -> None:
    plain = render(heat_map(scores.last(), "conv"))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "figure.dpi": 20}):
        np.testing.assert_array_equal(render(heat_map(scores.last(), "conv")), plain)
        assert mpl.rcParams["font.size"] == 30
    with style():
        np.testing.assert_array_equal(render(heat_map(scores.last(), "conv")), plain)
    # also after a block that ended by an error
    with pytest.raises(ValueError, match="layer"), style():
        heat_map(scores.last(), "dense")
    with mpl.rc_context({"figure.dpi": 20}):
        np.testing.assert_array_equal(render(heat_map(scores.last(), "conv")), plain)
    assert plain.shape[1] == 980
    assert plain.dtype == np.uint8
