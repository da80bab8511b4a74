import subprocess
import sys

import matplotlib as mpl
import pytest
import torch

from lightning_dissect.metrics import METRICS, DescriptorMetric, PearsonSimilarity, Similarity

mpl.use("agg")


def test_results_keep_two_axes():
    one = Similarity(*(torch.tensor(float(k)) for k in range(5)))
    assert all(value.shape == (1, 1) for value in one)
    assert one._replace(score=torch.ones(2, 3)).score.shape == (2, 3)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    metric = METRICS[name]()
    assert metric.name == name
    assert metric.level == metric.levels[0]
    assert metric.alternative in ("two-sided", "greater", "less")
    assert isinstance(metric, DescriptorMetric) == ("sift" in name)


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
    assert sizes[0] == sizes[1] <= 20e6


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
