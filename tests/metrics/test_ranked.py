"""Spearman's correlation and mutual information: what they share, and each against a reference."""

import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from lightning_dissect.metrics import MutualInformationSimilarity, SpearmanSimilarity
from lightning_dissect.metrics.functional import mutual_information, spearman_over_clips, spearman_within_clips
from lightning_dissect.metrics.functional.clip_sample import ClipSample, clip_keys, sample_update
from lightning_dissect.metrics.functional.mutual_information import bin_ranks
from lightning_dissect.metrics.functional.ranks import ranks

BOTH = pytest.mark.parametrize("build", [SpearmanSimilarity, MutualInformationSimilarity])


def clips(n=60, units=4, rows=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, rows, generator=g)
    x = torch.randn(n, units, generator=g)
    x[:, 0] += 2 * f[:, 0]
    x[:, 1] = x[:, 1].relu()  # many equal values
    x[:, 2] = f[:, 0].square()
    return x, f


def frames(n=12, units=3, rows=2, length=40, seed=1):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, rows, length, generator=g).cumsum(-1)
    x = torch.randn(n, units, length, generator=g)
    x[:, 0] += f[:, 0]
    x[:, 1] = x[:, 1].relu()
    return x, f


def run(metric, x, f, sizes, fraction=None):
    fractions = [None] * len(sizes) if fraction is None else fraction.split(sizes)
    for xs, fs, part in zip(x.split(sizes), f.split(sizes), fractions, strict=True):
        metric.update(xs, fs, part)
    return metric.compute()


def information_of_bins(x, f, bins=4):
    """Plain version for one pair of series: quantile bins by rank, scikit-learn's information."""
    cut = [np.floor((stats.rankdata(v) - 0.5) * bins / len(v)) for v in (x, f)]
    return mutual_info_score(*cut), expected_mutual_information(contingency_matrix(*cut).astype(np.int64), len(x))


# ---- ranks


@pytest.mark.parametrize("seed", range(3))
def test_ranks_equal_scipy(seed):
    g = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 4, (2, 5, 30), generator=g).float()
    values[1] += torch.randn(5, 30, generator=g)
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values, axis=-1))
    mask = torch.arange(30) < torch.tensor([[30], [11]])
    np.testing.assert_array_equal(ranks(values, mask)[1, :, :11], stats.rankdata(values[1, :, :11], axis=-1))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_ranks_of_what_is_not_finite(bad):
    values = torch.arange(10.0).view(1, 1, 10).repeat(1, 2, 1)
    values[0, 0, 8] = bad
    assert ranks(values)[0, 0].isnan().all()
    assert ranks(values)[0, 1].isfinite().all()
    mask = torch.arange(10).view(1, 10) < 8
    np.testing.assert_array_equal(ranks(values, mask)[0, :, :8], np.tile(np.arange(1.0, 9.0), (2, 1)))


# ---- level clip


@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7, 50, 3]])
def test_spearman_over_clips_equals_scipy(sizes):
    x, f = clips()
    result = run(SpearmanSimilarity(), x, f, sizes)
    for unit in range(4):
        for row in range(2):
            expected = stats.spearmanr(x[:, unit], f[:, row])
            assert result.score[unit, row] == pytest.approx(expected.statistic, abs=1e-6)
            assert result.p_value[unit, row] == pytest.approx(expected.pvalue, rel=1e-3)
    torch.testing.assert_close(spearman_over_clips(x, f).double(), result.score, atol=1e-6, rtol=0)
    assert (result.n_clips == 60).all()
    assert (result.low < result.score).all()
    assert (result.score < result.high).all()


def test_information_over_clips_equals_scikit_learn():
    x, f = clips()
    result = run(MutualInformationSimilarity(), x, f, [20, 40])
    for unit in range(4):
        for row in range(2):
            score, null = information_of_bins(x[:, unit], f[:, row])
            assert result.score[unit, row] == pytest.approx(score, abs=1e-6)
            assert result.null[unit, row] == pytest.approx(null, abs=1e-9)
    assert result.p_value[2, 0] < 1e-6  # the square, which no correlation finds
    assert result.p_value[3].min() > 1e-3


@BOTH
@pytest.mark.parametrize("sizes", [[300], [50] * 6, [1, 199, 100]])
def test_the_sample_does_not_depend_on_order_or_batches(build, sizes):
    x, f = clips(300)
    whole = run(build(max_clips=100), x, f, [300])
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    shuffled = run(build(max_clips=100), x[order], f[order], sizes)
    assert (whole.n_clips == 100).all()
    for ours, expected in zip(shuffled, whole, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4, equal_nan=True)


def test_the_sample_is_random():
    """Correlations of samples of 200 of 2000 clips lie about that of all, as widely as theory says."""
    g = torch.Generator().manual_seed(0)
    f = torch.randn(2000, 1, generator=g)
    x = f + torch.randn(2000, 300, generator=g)
    errors = [
        run(SpearmanSimilarity(max_clips=200), x[:, u : u + 1], f, [2000]).score - spearman_over_clips(x[:, [u]], f)
        for u in range(300)
    ]
    error = torch.stack(errors).flatten()
    expected = (1 - 0.69**2) * 1.1 / 200**0.5  # Bonett and Wright's, with the correlation of ranks
    assert abs(error.mean()) < 4 * expected / 300**0.5
    assert 0.75 * expected < error.std() < 1.1 * expected  # a little less, since a tenth of all clips is drawn


def test_keys_are_spread_evenly():
    keys = clip_keys(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))) / 2.0**62
    assert stats.kstest(keys.numpy(), "uniform").pvalue > 0.001
    near = torch.ones(2000, 1) + torch.arange(2000).view(-1, 1) * 2.0**-20
    assert stats.kstest((clip_keys(near) / 2.0**62).numpy(), "uniform").pvalue > 0.001


def test_samples_of_processes_are_joined():
    x, f = clips(90)
    z = torch.zeros(90)
    parts = [sample_update(ClipSample.zeros(), x[s], f[s], z[s], 40) for s in (slice(0, 10), slice(10, 90))]
    whole = sample_update(ClipSample.zeros(), x, f, z, 40)
    joined, one = (
        ClipSample.merge(ClipSample(*(torch.stack(values) for values in zip(*samples, strict=True))))
        for samples in (parts, [whole])
    )
    for ours, expected in zip(joined, one, strict=True):
        assert torch.equal(ours, expected)


@BOTH
def test_dead_units_broken_clips_and_constant_features(build):
    x, f = clips()
    x[:, 3] = 5.0
    f[7] = torch.nan  # a clip that does not count
    x[9, 2] = torch.inf  # a unit that is broken
    f[:, 1] = 2.0
    result = run(build(), x, f, [30, 30])
    assert (result.n_clips == 59).all()
    assert result.score[[2, 3]].isnan().all()
    assert result.score[:, 1].isnan().all()
    assert result.score[:2, 0].isfinite().all()
    assert result.p_value[result.score.isnan()].isnan().all()


@BOTH
def test_too_few_clips_and_none(build):
    x, f = clips(3)
    assert run(build(), x, f, [3]).score.isnan().all()
    metric = build()
    metric.update(x[:0], f[:0])
    assert metric.compute().score.numel() == 0


def test_clips_of_unequal_length_do_not_alarm():
    """Both sides scatter more in short clips, and have nothing to do with each other."""
    g = torch.Generator().manual_seed(1)
    length = torch.randint(1, 65, (120, 1), generator=g)
    x, f = (torch.randn(120, n, generator=g) / length.sqrt() for n in (200, 20))
    naive, ours = (run(SpearmanSimilarity(), x, f, [120], part).p_value for part in (None, length[:, 0] / 64))
    assert (naive < 0.05).double().mean() > 0.065
    assert (ours < 0.05).double().mean() < 0.06


# ---- levels frame and map


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7]])
@pytest.mark.parametrize("padded", [False, True])
def test_within_clips_equals_plain_loops(sizes, padded):
    x, f = frames()
    lengths = [40, 21, 35, 18, 40, 40, 27, 40, 16, 40, 39, 19] if padded else [40] * 12
    fraction = torch.tensor(lengths) / 40 if padded else None
    for build, plain in (
        (SpearmanSimilarity, lambda a, b: stats.spearmanr(a, b).statistic),
        (MutualInformationSimilarity, lambda a, b: information_of_bins(a, b)[0]),
    ):
        own, effect = [], []
        for i, j in ((i, i + 1) for i in range(0, 12, 2)):
            both = min(lengths[i], lengths[j])
            own += [[[plain(a[:e], b[:e]) for b in f[k]] for a in x[k]] for k, e in ((i, lengths[i]), (j, lengths[j]))]
            four = [[[plain(a[:both], b[:both]) for b in f[q]] for a in x[p]] for p in (i, j) for q in (i, j)]
            effect.append((np.array(four[0]) + four[3] - four[1] - four[2]) / 2)
        result = run(build(level="frame"), x, f, sizes, fraction)
        np.testing.assert_allclose(result.score, np.mean(own, 0), atol=1e-6)
        np.testing.assert_allclose(result.effect, np.mean(effect, 0), atol=1e-6)
        test = stats.ttest_1samp(
            effect, 0, alternative="greater" if build is MutualInformationSimilarity else "two-sided"
        )
        np.testing.assert_allclose(result.p_value, test.pvalue, rtol=2e-3, atol=1e-9)


def test_functions_of_frames():
    x, f = frames()
    assert spearman_within_clips(x, f).shape == mutual_information(x, f).shape == (12, 3, 2)
    assert mutual_information(x[..., :15], f[..., :15]).isnan().all()  # fewer than four points a bin
    binned = bin_ranks(ranks(f), None, 4)
    assert ((binned == 0).sum(-1) == 10).all()


@BOTH
def test_map_level_is_frame_level_of_flat_maps(build):
    g = torch.Generator().manual_seed(2)
    x, f = torch.randn(6, 4, 5, 7, generator=g), torch.randn(6, 1, 5, 7, generator=g)
    result = run(build(level="map"), x, f, [6])
    flat = run(build(level="frame"), x.flatten(2), f.flatten(2), [6])
    torch.testing.assert_close(result.effect, flat.effect)
    two = run(build(level="map"), x, torch.cat([f, x[:, :1]], 1), [6])
    torch.testing.assert_close(two.effect[:, :1], result.effect)
    padded = run(build(level="map"), x[1:5], f[1:5], [3, 1], torch.tensor([5, 5, 5, 7]) / 7)
    assert padded.effect.isfinite().all()


# ---- as torchmetrics metrics


@BOTH
@pytest.mark.parametrize("level", ["clip", "frame"])
def test_clone_pickle_forward_and_inference(build, level):
    x, f = clips(40) if level == "clip" else frames()
    half = len(x) // 2 - 1
    whole = run(build(level=level), x, f, [len(x)])
    metric = build(level=level)
    with torch.inference_mode():
        metric.update(x[:half], f[:half])
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        copy.update(x[half:], f[half:])
        torch.testing.assert_close(copy.compute().effect, whole.effect, atol=1e-6, rtol=0)
    metric.reset()
    metric(x[:half], f[:half])
    metric(x[half:], f[half:])
    torch.testing.assert_close(metric.compute().effect, whole.effect, atol=1e-6, rtol=0)


@BOTH
def test_wrong_arguments(build):
    with pytest.raises(ValueError, match="max_clips=3"):
        build(max_clips=3)
    with pytest.raises(ValueError, match="bins=1"):
        MutualInformationSimilarity(bins=1)
    x, f = clips()
    metric = build()
    metric.update(x, f)
    with pytest.raises(ValueError, match=r"were \(4, 2\) so far"):
        metric.update(x[:, :3], f)
    with pytest.raises(ValueError, match="same 1 axes"):
        build(level="frame").update(torch.zeros(4, 3, 5), torch.zeros(4, 2, 6))
