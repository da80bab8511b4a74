import numpy as np
import pytest
import torch
from scipy import stats

from lightning_dissect.metrics import EuclideanSimilarity, PearsonSimilarity
from lightning_dissect.metrics.functional import correlation_interval
from lightning_dissect.metrics.functional.significance import paired_interval
from lightning_dissect.metrics.functional.swapped_pairs import PairedMoments, paired_moments_update

TRIALS = 4000
LEAST, MOST = (float(end) / TRIALS for end in stats.binom.interval(0.9999, TRIALS, 0.95))  # .936 to .963


def correlated(rho, n, seed=0):
    """TRIALS units that each correlate with a feature of their own, as (n, TRIALS) each."""
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, TRIALS, generator=g)
    return rho * f + (1 - rho**2) ** 0.5 * torch.randn(n, TRIALS, generator=g), f


def compute(build, x, f, fraction=None):
    """Low and high of each trial, in blocks so that a block's units × features hold few trials that are not wanted."""
    low, high = [], []
    for block in range(0, TRIALS, 50):
        metric = build()
        metric.update(x[:, block : block + 50], f[:, block : block + 50], fraction)
        result = metric.compute()
        low.append(result.low.diagonal())
        high.append(result.high.diagonal())
    return torch.cat(low), torch.cat(high)


def share(low, high, truth):
    return ((low <= truth) & (truth <= high)).double().mean().item()


def test_fisher_interval_equals_scipy():
    x, f = correlated(0.6, 25)
    metric = PearsonSimilarity()
    metric.update(x[:, :3], f[:, :3])
    result = metric.compute()
    for unit in range(3):
        expected = stats.pearsonr(x[:, unit].double(), f[:, unit].double()).confidence_interval(0.95)
        assert (result.low[unit, unit], result.high[unit, unit]) == pytest.approx(tuple(expected), abs=1e-5)


@pytest.mark.parametrize(("rho", "n"), [(0.0, 16), (0.7, 30), (-0.4, 100)])
def test_fisher_intervals_hold_the_truth_in_95_percent(rho, n):
    assert LEAST <= share(*compute(PearsonSimilarity, *correlated(rho, n)), rho) <= MOST


def test_intervals_hold_the_truth_where_short_clips_scatter_more():
    """Clips of 4 to 32 frames whose means scatter as one over their length, on both sides."""
    g = torch.Generator().manual_seed(1)
    frames = torch.randint(4, 33, (120, 1), generator=g)
    x, f = (v / frames.sqrt() for v in correlated(0.0, 120))
    assert share(*compute(PearsonSimilarity, x, f), 0.0) < LEAST  # without lengths the intervals are too short
    assert LEAST <= share(*compute(PearsonSimilarity, x, f, frames[:, 0] / 32), 0.0) <= MOST


@pytest.mark.parametrize("normalization", ["l2", "zscore"])
def test_intervals_of_nearness_hold_the_truth(normalization):
    """The effect of two vectors of normally distributed values with correlation .5, at once for endless clips."""
    build = lambda: EuclideanSimilarity(normalization)  # noqa: E731
    low, high = compute(build, *correlated(0.5, 60))
    truth = 0.5 * (2**0.5 - 1) if normalization == "l2" else 0.5 * 2**0.5 * (1 - 0.5**0.5)
    assert LEAST <= share(low, high, truth) <= MOST


def test_an_interval_of_nothing_is_undefined():
    ends = correlation_interval(torch.tensor([torch.nan, 1.0], dtype=torch.float64), torch.tensor(20))
    assert [end.tolist()[1] for end in ends] == [1.0, 1.0]
    assert all(end[0].isnan() for end in ends)


@pytest.mark.parametrize("pairs", [4, 40])
def test_paired_intervals_hold_the_truth_in_95_percent(pairs):
    g = torch.Generator().manual_seed(2)
    effects = 0.3 + torch.randn(pairs, TRIALS, 1, generator=g)
    score = torch.zeros(2 * pairs, TRIALS, 1)
    moments = PairedMoments.zeros()
    for part in (slice(0, pairs // 2), slice(pairs // 2, None)):
        moments = paired_moments_update(moments, score[: 2 * len(effects[part])], effects[part], 0 * effects[part])
    low, high = paired_interval(PairedMoments(*(t.double() for t in moments)))
    assert LEAST <= share(low, high, 0.3) <= MOST
    expected = stats.ttest_1samp(effects[:, 0, 0].double(), 0).confidence_interval(0.95)
    np.testing.assert_allclose([low[0, 0], high[0, 0]], expected, rtol=1e-4)


def test_paired_intervals_reach_the_result():
    g = torch.Generator().manual_seed(3)
    f = torch.randn(20, 1, 30, generator=g)
    metric = PearsonSimilarity(level="frame")
    metric.update(f + torch.randn(20, 2, 30, generator=g), f)
    result = metric.compute()
    assert (result.low < result.effect).all()
    assert (result.effect < result.high).all()
    assert ((result.low > 0) == (result.p_value < 0.05)).all()
