import subprocess
import sys

import matplotlib as mpl
import pytest
import torch

from lightning_dissect.metrics import METRICS, PearsonSimilarity, Similarity

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
    assert metric.grid((2, 3, 8, 8), (2, 8, 8)) is None or "sift" in name


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
