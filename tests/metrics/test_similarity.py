import subprocess
import sys

import matplotlib as mpl
import pytest
import torch

from lightning_dissect.metrics import (
    METRICS,
    DescriptorMetric,
    IoUSimilarity,
    MutualInformationSimilarity,
    PearsonSimilarity,
    Similarity,
)

mpl.use("agg")


def test_results_keep_two_axes():
    one = Similarity(*(torch.tensor(float(k)) for k in range(5)))
    assert all(value.shape[:2] == (1, 1) for value in one)
    assert one._replace(score=torch.ones(2, 3)).score.shape == (2, 3)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    metric = METRICS[name]()
    assert metric.name == name
    assert metric.level == metric.levels[0]
    assert metric.alternative in ("two-sided", "greater", "less")
    assert isinstance(metric, DescriptorMetric) == ("sift" in name)


MAPS = torch.zeros(4, 2, 16, 16)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "map" in metric.levels])
def test_maps_have_rows(name):
    with pytest.raises(
        ValueError, match=r"features of shape \(4, 16, 16\) should have 4 axes .*features.unsqueeze\(1\)"
    ):
        METRICS[name](level="map").update(MAPS, MAPS[:, 0])


@pytest.mark.parametrize("name", METRICS)
def test_a_fraction_is_one_number_a_clip(name):
    metric = METRICS[name]()
    shape = {"clip": (), "frame": (16,), "map": (16, 16)}[metric.level]
    values = torch.rand(5, 2, *shape)
    metric.update(values, values[:, :1], torch.rand(5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"fraction of shape \(5, 16\) should be of shape \(5,\)"):
        metric.update(values, values[:, :1], torch.ones(5, 16, dtype=torch.bool))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_without_level_is_of_all(name):
    metric = METRICS[name](sync_on_compute=False)
    assert metric.level == metric.levels[0]
    everywhere = metric.at_every_level()
    assert [each.level for each in everywhere] == list(metric.levels)
    assert all(each.sync_on_compute is False for each in everywhere)
    for level, each in zip(metric.levels, everywhere, strict=True):
        assert each.metric_state.keys() == METRICS[name](level=level).metric_state.keys()
        assert METRICS[name](level=level).at_every_level()[0].level == level
        assert len(METRICS[name](level=level).at_every_level()) == 1


def test_all_levels_have_the_same_arguments():
    assert [(m.bins, m.max_clips) for m in MutualInformationSimilarity(5, 99).at_every_level()] == [(5, 99)] * 3
    of_iou = IoUSimilarity(0.1, feature_quantile=None).at_every_level()
    assert [(m.quantile, m.feature_quantile) for m in of_iou] == [(0.1, None)] * 2


def levels_of_units():
    """Metrics of units at the levels that ask for no maps; the state of IoU is a histogram for each unit and row."""
    return [
        (name, level)
        for name, metric in METRICS.items()
        for level in ("clip", "frame")
        if level in metric.levels and metric.per_unit and name != "iou"
    ]


@pytest.mark.parametrize(("name", "level"), levels_of_units())
def test_state_of_a_large_layer_is_small_and_does_not_grow(name, level):
    metric = METRICS[name](level=level)
    sizes = []
    for _ in range(2):
        frames = () if level == "clip" else (16,)
        metric.update(torch.randn(1, 10_000, *frames), torch.randn(1, 50, *frames))
        sizes.append(sum(state.nbytes for state in metric.metric_state.values()))
    # Fourteen numbers of a unit and a row at most, eight of them its effect in groups of clips.
    assert sizes[0] == sizes[1] <= 28.1e6


def test_plot_draws_score_and_null():
    metric = PearsonSimilarity()
    f = torch.randn(20, 2)
    metric.update(torch.cat([f, torch.ones(20, 1)], 1), f)
    figure, axes = metric.plot()
    assert axes.get_xlabel() == "pearson similarity (clip)"
    drawn = sum(patch.get_height() for patch in axes.patches if hasattr(patch, "get_height"))
    assert drawn == 4  # two rows, two units that are alive
    assert metric.plot([metric.compute(), metric.compute()], axes)[0] is figure


def test_metrics_do_not_import_kornia():
    code = "import sys, lightning_dissect.metrics; sys.exit('kornia' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
