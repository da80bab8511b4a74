"""The pictures: what stands in them, and that they can be drawn of anything a run may give."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_dissect.dissection import Example
from lightning_dissect.metrics import PearsonSimilarity, SIFTSimilarity
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.report import best_matches, draw_matches, heat_map, overview
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
