import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightning_dissect.metrics import IoUSimilarity
from lightning_dissect.metrics.functional import intersection_over_union
from lightning_dissect.metrics.functional.iou import overlap, strongest_points
from lightning_dissect.metrics.functional.tail_moments import DEPTH, TailMoments, steps

SHAPES = ["normal", "relu", "sigmoid", "negative", "heavy", "offset"]


def maps(n=16, height=12, width=20, seed=0):
    """One unit of each kind of distribution, all but the first independent of the feature."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, len(SHAPES), height, width, generator=g)
    f = torch.randn(n, 1, height, width, generator=g)
    noise[:, 0] += f[:, 0]
    noise[:, 1] = noise[:, 1].relu()
    noise[:, 2] = torch.sigmoid(3 * noise[:, 2])
    noise[:, 3] = -noise[:, 3].exp()
    noise[:, 4] = (2 * noise[:, 4]).exp()
    noise[:, 5] += 100
    return noise, f


def run(metric, x, f, sizes, fraction=None):
    fractions = [None] * len(sizes) if fraction is None else fraction.split(sizes)
    for xs, fs, part in zip(x.split(sizes), f.split(sizes), fractions, strict=True):
        metric.update(xs, fs, part)
    return metric.compute()


def threshold_of(metric):
    """The share of points above the threshold that was taken."""
    moments = metric._merged(TailMoments)
    area = moments.mean_score[..., 1, :]
    share = area[..., :DEPTH] / area[..., DEPTH:]
    at = (share / metric.quantile).log().abs().nan_to_num(torch.inf).argmin(-1, keepdim=True)
    return share.gather(-1, at)[..., 0]


def plain(x, f, quantile, feature_quantile, lengths):
    """Scores, nulls and the test's differences, counted point by point at the threshold of a share of all points."""
    n, units = x.shape[:2]
    inside = []
    for clip, length in zip(f[:, 0], lengths, strict=True):
        points = clip[..., :length].flatten()
        k = max(1, round(feature_quantile * len(points)))
        inside.append(clip >= points.sort(descending=True).values[k - 1])
    results = []
    for unit in range(units):
        points = torch.cat([x[i, unit, ..., : lengths[i]].flatten() for i in range(n)]).sort(descending=True).values
        least = points[round(quantile[unit].item() * len(points)) - 1]

        def count(i, j, end):
            strong, there = x[i, unit, ..., :end] >= least, inside[j][..., :end]  # noqa: B023
            return [(strong & there).sum().item(), strong.sum().item(), there.sum().item()]

        own = np.array([count(i, i, lengths[i]) for i in range(n)])
        ends = [min(lengths[i : i + 2]) for i in range(0, n - 1, 2)]
        pairs = [(i, i + 1) for i in range(0, n - 1, 2)]
        same = np.array([np.add(count(i, i, e), count(j, j, e)) for (i, j), e in zip(pairs, ends, strict=True)])
        other = np.array([np.add(count(i, j, e), count(j, i, e)) for (i, j), e in zip(pairs, ends, strict=True)])
        score, at_own, null = (t[0] / (t[1] + t[2] - t[0]) for t in (own.sum(0), same.sum(0), other.sum(0)))
        p = stats.ttest_1samp((same - other)[:, 0], 0, alternative="greater").pvalue
        results.append((score, null, at_own - null, p))
    return np.array(results).T


@pytest.mark.parametrize("sizes", [[16], [5, 11], [1] * 16])
@pytest.mark.parametrize("padded", [False, True])
def test_equals_counting_point_by_point(sizes, padded):
    x, f = maps()
    lengths = [20, 7, 12, 20, 20, 20, 3, 15, 20, 20, 10, 11, 20, 6, 20, 20] if padded else [20] * 16
    fraction = torch.tensor(lengths) / 20 if padded else None
    metric = IoUSimilarity(quantile=0.02, feature_quantile=0.05)
    result = run(metric, x, f, sizes, fraction)
    expected = plain(x, f, threshold_of(metric)[:, 0], 0.05, lengths)
    for ours, plainly in zip(result[:4], expected, strict=True):
        np.testing.assert_allclose(ours[:, 0], plainly, rtol=1e-4, atol=1e-6)
    assert (result.n_clips == 16).all()
    assert (result.low <= result.effect).all()
    assert (result.effect <= result.high).all()


@pytest.mark.parametrize("quantile", [0.005, 0.05])
def test_the_sketch_finds_nearly_the_quantile(quantile):
    x, f = maps(40, 20, 30)
    metric = IoUSimilarity(quantile=quantile)
    result = run(metric, x, f, [40])
    found = threshold_of(metric)[:, 0]
    assert ((found / quantile).log().abs() < 0.3).all(), dict(zip(SHAPES, found.tolist(), strict=True))
    inside = strongest_points(f.flatten(2), None, 0.02).view(40, 1, 20, 30) > 0
    exact = intersection_over_union(x, inside, quantile)
    np.testing.assert_allclose(result.score, exact, rtol=0.25, atol=0.003)  # as far as the quantiles differ


def test_a_planted_detector_is_found_and_no_other():
    x, f = maps(64)
    x[:, 0] = 2 * f[:, 0]
    result = run(IoUSimilarity(), x, f, [32, 32])
    assert result.score[0] > 0.04
    assert result.p_value[0] < 1e-6
    assert (result.p_value[1:] > 1e-3).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 15))
def test_order_of_pairs_and_batches_do_not_matter(seed, cut):
    x, f = maps(seed=seed)
    x[3] *= 50  # the range grows on the way
    whole = run(IoUSimilarity(level="map"), x, f, [16])
    order = torch.arange(16).view(8, 2)[torch.randperm(8, generator=torch.Generator().manual_seed(seed))].flatten()
    parts = run(IoUSimilarity(level="map"), x[order], f[order], [cut, 16 - cut])
    for ours, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4, equal_nan=True)


def test_given_masks_are_taken_as_they_are():
    x, f = maps()
    inside = (f > 1).float()
    result = run(IoUSimilarity(quantile=0.1, feature_quantile=None), x, inside, [8, 8])
    assert result.score[0] > 3 * result.null[0]
    exact = intersection_over_union(x, inside > 0, 0.1)
    np.testing.assert_allclose(result.score, exact, rtol=0.3, atol=0.003)


def test_frames_are_maps_of_one_row():
    x, f = maps()
    by_map = run(IoUSimilarity(), x[:, :, :1], f[:, :, :1], [16])
    by_frame = run(IoUSimilarity(level="frame"), x[:, :, 0], f[:, :, 0], [16])
    for ours, expected in zip(by_frame, by_map, strict=True):
        torch.testing.assert_close(ours, expected, equal_nan=True)
    two = run(IoUSimilarity(), x, torch.cat([f, x[:, 1:2]], 1), [16])
    torch.testing.assert_close(two.score[:, :1], run(IoUSimilarity(), x, f, [16]).score)


def test_dead_units_and_silent_clips_are_undefined():
    x, f = maps()
    x[:, 1] = 0.0
    x[:, 2] = 7.0
    x[4, 3] = torch.nan
    f[8] = 3.0
    f[9, 0, 0, 0] = torch.nan
    result = run(IoUSimilarity(), x, f, [16])
    assert result.score[[1, 2]].isnan().all()
    assert result.p_value[[1, 2]].isnan().all()
    assert result.n_clips[:, 0].tolist() == [14, 14, 14, 13, 14, 14]
    clean = [i for i in range(16) if i not in (8, 9)]
    torch.testing.assert_close(result.score[4], run(IoUSimilarity(), x[clean], f[clean], [14]).score[4])


def test_steps_are_in_the_order_of_the_activations():
    values = torch.cat([-torch.logspace(20, -30, 400), torch.zeros(1), torch.logspace(-30, 20, 400)])
    step = steps(values)
    assert (step.diff() > 0).all()
    assert (step.abs() < 2**22).all()
    assert steps(torch.tensor([torch.nan, torch.inf])).isnan().all()


def test_strongest_points_with_equal_values_and_padding():
    values = torch.tensor([[[5.0, 1.0, 5.0, 2.0, 9.0]], [[1.0, 1.0, 1.0, 1.0, 9.0]]])
    mask = torch.tensor([[True] * 4 + [False]] * 2)
    marked = strongest_points(values, mask, 0.25)
    assert marked[0, 0, :4].tolist() == [1, 0, 1, 0]
    assert marked[1].isnan().all()  # constant where it is valid


def test_processes_with_other_ranges_are_joined():
    x, f = maps()
    x[:8] *= 30
    whole = run(IoUSimilarity(), x, f, [16])._asdict()
    halves = [IoUSimilarity() for _ in range(2)]
    for metric, part in zip(halves, (slice(0, 8), slice(8, 16)), strict=True):
        metric.update(x[part], f[part])
    loaded = [metric._load(TailMoments) for metric in halves]
    empty = TailMoments.zeros(6, 1)
    merged = TailMoments.merge(TailMoments(*map(torch.stack, zip(empty, *loaded, strict=True))))
    torch.testing.assert_close(overlap(merged, 0.005).score, whole["score"], atol=1e-6, rtol=1e-4)


def test_clone_pickle_forward_and_wrong_arguments():
    x, f = maps()
    whole = run(IoUSimilarity(), x, f, [16])
    metric = IoUSimilarity()
    with torch.inference_mode():
        metric.update(x[:7], f[:7])
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        copy.update(x[7:], f[7:])
        torch.testing.assert_close(copy.compute().effect, whole.effect, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match=r"were \(6, 1\) so far"):
        metric.update(x[:, :3], f)
    for bad in ({"quantile": 0.0}, {"feature_quantile": 1.5}):
        with pytest.raises(ValueError, match="should be in"):
            IoUSimilarity(**bad)
