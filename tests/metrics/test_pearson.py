import pickle

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from lightning_dissect.metrics import PearsonSimilarity
from lightning_dissect.metrics.functional.moments import CrossMoments, _add, cross_moments_update


def clips(n=40, units=5, rows=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, rows, generator=g)
    x = torch.randn(n, units, generator=g)
    x[:, 0] += 2 * f[:, 0]
    return x, f


def run(metric, x, f, sizes, fraction=None):
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        metric.update(x[part], f[part], None if fraction is None else fraction[part])
        start += size
    assert start == len(x)
    return metric.compute()


def test_clip_level_equals_scipy():
    x, f = clips()
    result = run(PearsonSimilarity(), x, f, [7, 1, 20, 12])
    for u in range(5):
        for row in range(3):
            expected = stats.pearsonr(x[:, u].double(), f[:, row].double())
            assert result.score[u, row] == pytest.approx(expected.statistic, abs=1e-6)  # float32 moments
            assert result.p_value[u, row] == pytest.approx(expected.pvalue, rel=1e-4)
    assert (result.n_clips == 40).all()
    assert (result.null == 0).all()
    assert torch.equal(result.effect, result.score)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("sizes", [[64], [1] * 64, [1, 50, 13], [3, 60, 1]])
def test_offset_of_many_deviations(offset, sizes):
    x, f = clips(64)
    x, f = x + offset, f - offset  # what is rounded here is rounded for both
    result = run(PearsonSimilarity(), x, f, sizes)
    expected = np.corrcoef(x.double().T, f.double().T)[:5, 5:]
    assert np.abs(result.score.numpy() - expected).max() < 2e-6


def test_drift_away_from_the_first_batch():
    x, f = clips(64)
    x[32:] += 1e4  # the running mean is of no use as an origin for the second half
    result = run(PearsonSimilarity(), x, f, [32, 32])
    expected = np.corrcoef(x.double().T, f.double().T)[:5, 5:]
    assert np.abs(result.score.numpy() - expected).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(1, 39), max_size=4, unique=True))
@example(seed=1144, cuts=[31])  # the first clip lies far from the mean
def test_batches_and_order_do_not_matter(seed, cuts):
    x, f = clips(seed=seed)
    edges = [0, *sorted(cuts), 40]
    whole = run(PearsonSimilarity(), x, f, [40])
    parts = run(PearsonSimilarity(), x, f, np.diff(edges).tolist())
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    shuffled = run(PearsonSimilarity(), x[order], f[order], np.diff(edges).tolist())
    torch.testing.assert_close(parts.score, whole.score, atol=1e-6, rtol=0)
    torch.testing.assert_close(shuffled.score, whole.score, atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_invariant_to_scale_and_shift(scale, shift):
    x, f = clips()
    a = run(PearsonSimilarity(), x, f, [40]).score
    b = run(PearsonSimilarity(), scale * x + shift * scale, -f, [40]).score
    # Adding a shift of 100 rounds the values themselves to 100 * eps.
    torch.testing.assert_close(b, -a, atol=2e-5, rtol=0)


def test_half_precision_activations():
    x, f = clips()
    result = run(PearsonSimilarity(), x.half(), f, [16, 24])
    expected = np.corrcoef(x.half().double().T, f.double().T)[:5, 5:]
    assert np.abs(result.score.numpy() - expected).max() < 1e-6


def test_dead_units_and_constant_features_are_undefined():
    x, f = clips()
    x[:, 1] = 0.1
    x[:, 2] = 1e6 + 0.03 * torch.rand(40)  # less than one unit in the last place
    f[:, 2] = -7.3
    result = run(PearsonSimilarity(), x, f, [11, 29])
    assert result.score[1:3].isnan().all()
    assert result.score[:, 2].isnan().all()
    assert result.p_value[1].isnan().all()
    assert result.null[1].isnan().all()
    assert result.score[0, :2].isfinite().all()
    assert (result.n_clips == 40).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_clips_without_values_do_not_count(bad):
    x, f = clips()
    clean = run(PearsonSimilarity(), x[:36], f[:36], [36])
    x[36] = bad
    f[37] = bad
    f[38, 1] = bad
    x[39], f[39] = bad, bad
    order = torch.arange(39, -1, -1)  # the bad ones first, where there is no mean yet
    result = run(PearsonSimilarity(), x[order], f[order], [2, 2, 5, 31])
    torch.testing.assert_close(result.score, clean.score, atol=1e-6, rtol=0)
    assert (result.n_clips == 36).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("at", [0, 20])
def test_a_unit_that_is_not_finite_is_undefined_alone(bad, at):
    x, f = clips()
    clean = run(PearsonSimilarity(), x, f, [40])
    x[at, 3] = bad
    result = run(PearsonSimilarity(), x, f, [10, 30])
    assert result.score[3].isnan().all()
    others = [0, 1, 2, 4]
    torch.testing.assert_close(result.score[others], clean.score[others], atol=1e-6, rtol=0)
    assert (result.n_clips == 40).all()


def test_too_few_clips():
    x, f = clips(3)
    result = run(PearsonSimilarity(), x, f, [3])
    assert result.score.isnan().all()
    assert result.p_value.isnan().all()
    assert (result.n_clips == 3).all()


def test_perfect_correlation_is_one_and_its_p_value_zero():
    f = torch.arange(16.0).unsqueeze(1)
    result = run(PearsonSimilarity(), torch.cat([f, -f], 1), f, [16])
    torch.testing.assert_close(result.score[:, 0], torch.tensor([1.0, -1.0], dtype=torch.float64), atol=1e-6, rtol=0)
    assert (result.p_value < 1e-20).all()


def test_single_unit_and_row_keep_two_axes():
    x, f = clips(units=1, rows=1)
    result = run(PearsonSimilarity(), x, f, [40])
    assert all(value.shape[:2] == (1, 1) for value in result)


# ---- frame level


def frames(n=12, units=3, rows=2, length=30, seed=1):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, rows, length, generator=g).cumsum(-1)
    x = torch.randn(n, units, length, generator=g)
    x[:, 0] += f[:, 0]
    return x, f


def plain_frames(x, f, lengths=None):
    """Scores of each clip and of each pair with features swapped, one by one."""
    n = len(x)
    lengths = lengths or [x.shape[-1]] * n

    def r(i, j, other=None):
        end = min(lengths[i], lengths[j], lengths[j if other is None else other])
        return np.corrcoef(x[i, :, :end].double(), f[j, :, :end].double())[: x.shape[1], x.shape[1] :]

    own = np.stack([r(i, i) for i in range(n)])
    pairs = [(i, i + 1) for i in range(0, n - 1, 2)]
    null = np.stack([(r(i, j) + r(j, i)) / 2 for i, j in pairs])
    effect = np.stack([(r(i, i, j) + r(j, j, i)) / 2 for i, j in pairs]) - null
    return own, null, effect


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7], [3, 3, 1, 5]])
def test_frame_level_equals_a_plain_loop_and_scipy(sizes):
    x, f = frames()
    own, null, effect = plain_frames(x, f)
    result = run(PearsonSimilarity(level="frame"), x, f, sizes)
    np.testing.assert_allclose(result.score, own.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.null, null.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.effect, effect.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.p_value, stats.ttest_1samp(effect, 0).pvalue, rtol=1e-3)
    assert (result.n_clips == 12).all()


def test_an_odd_clip_counts_for_the_score():
    x, f = frames(11)
    own, null, _ = plain_frames(x, f)
    result = run(PearsonSimilarity(level="frame"), x, f, [4, 7])
    np.testing.assert_allclose(result.score, own.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.null, null.mean(0), atol=1e-6)
    assert (result.n_clips == 11).all()


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7]])
def test_padding_does_not_matter(sizes):
    x, f = frames()
    lengths = [30, 11, 25, 8, 30, 30, 17, 30, 6, 30, 29, 9]
    own, null, effect = plain_frames(x, f, lengths)
    mask = torch.arange(30) < torch.tensor(lengths).unsqueeze(1)
    x = torch.where(mask.unsqueeze(1), x, torch.nan)
    f = torch.where(mask.unsqueeze(1), f, 99.0)
    result = run(PearsonSimilarity(level="frame"), x, f, sizes, torch.tensor(lengths) / 30)
    np.testing.assert_allclose(result.score, own.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.null, null.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.p_value, stats.ttest_1samp(effect, 0).pvalue, rtol=1e-3)


def test_batches_padded_to_different_lengths():
    x, f = frames()
    lengths = [30] * 5 + [20] * 7
    own, null, _ = plain_frames(x, f, lengths)
    metric = PearsonSimilarity(level="frame")
    metric.update(x[:5], f[:5])
    metric.update(x[5:, :, :20], f[5:, :, :20])  # the waiting clip is longer, and no fraction was given
    result = metric.compute()
    np.testing.assert_allclose(result.score, own.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.null, null.mean(0), atol=1e-6)


@pytest.mark.parametrize(("first", "second"), [(30, 20), (20, 30)])
def test_padded_batches_of_different_lengths(first, second):
    """The clip that waits is padded to more frames than the next batch, or to fewer."""
    x, f = frames()
    lengths = [15, 11, 20, 8, 17, 20, 17, 20, 6, 20, 19, 9]
    own, null, effect = plain_frames(x, f, lengths)
    metric = PearsonSimilarity(level="frame")
    for part, padded in ((slice(0, 5), first), (slice(5, 12), second)):
        metric.update(x[part, :, :padded], f[part, :, :padded], torch.tensor(lengths[part]) / padded)
    result = metric.compute()
    np.testing.assert_allclose(result.score, own.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.null, null.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.effect, effect.mean(0), atol=1e-6)


def test_silent_and_broken_clips_are_left_out_one_unit_at_a_time():
    x, f = frames()
    x[4, 1] = 3.0
    f[6, 1] = torch.nan
    own, _, _ = plain_frames(x, f)
    result = run(PearsonSimilarity(level="frame"), x, f, [6, 6])
    np.testing.assert_allclose(result.score, np.nanmean(own, 0), atol=1e-6)
    np.testing.assert_array_equal(result.n_clips, [[12, 11], [11, 10], [12, 11]])


def test_clips_of_too_few_frames_have_no_score():
    x, f = frames(length=3)
    result = run(PearsonSimilarity(level="frame"), x, f, [12])
    assert result.score.isnan().all()
    assert (result.n_clips == 0).all()


def test_map_level_is_frame_level_of_flat_maps():
    g = torch.Generator().manual_seed(2)
    x, f = torch.randn(6, 4, 5, 7, generator=g), torch.randn(6, 1, 5, 7, generator=g)
    result = run(PearsonSimilarity(level="map"), x, f, [6])
    flat = run(PearsonSimilarity(level="frame"), x.flatten(2), f.flatten(2), [6])
    assert result.score.shape == (4, 1)
    torch.testing.assert_close(result.score, flat.score)
    padded = run(PearsonSimilarity(level="map"), x, f, [1, 5], torch.full((6,), 5 / 7))
    cut = run(PearsonSimilarity(level="map"), x[..., :5], f[..., :5], [6])
    torch.testing.assert_close(padded.effect, cut.effect, atol=1e-6, rtol=0)


def test_autocast_does_not_lower_precision():
    x, f = clips()
    metric = PearsonSimilarity()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        metric.update(x, f)
    torch.testing.assert_close(metric.compute().score, run(PearsonSimilarity(), x, f, [40]).score)


# ---- as a torchmetrics metric


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_clone_pickle_reset_forward(level):
    x, f = clips() if level == "clip" else frames()
    half = len(x) // 2 - 1  # odd, so that a clip waits at frame level
    whole = run(PearsonSimilarity(level=level), x, f, [len(x)])
    metric = PearsonSimilarity(level=level)
    metric.update(x[:half], f[:half])
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        copy.update(x[half:], f[half:])
        torch.testing.assert_close(copy.compute().p_value, whole.p_value, rtol=1e-3, atol=1e-6)
    metric.reset()
    other = x[:, :2]
    metric.update(other, f)
    assert metric.compute().score.shape == (2, f.shape[1])
    metric.reset()
    batch = metric(x[:half], f[:half])
    torch.testing.assert_close(batch.score, run(PearsonSimilarity(level=level), x[:half], f[:half], [half]).score)
    metric(x[half:], f[half:])
    torch.testing.assert_close(metric.compute().score, whole.score, atol=1e-6, rtol=0)


def test_half_leaves_the_states_alone():
    x, f = clips()
    metric = PearsonSimilarity().half()
    metric.update(x, f)
    assert metric.cov.dtype == torch.float32


def test_works_after_inference_mode():
    x, f = frames()
    metric = PearsonSimilarity(level="frame")
    with torch.inference_mode():
        metric.update(x[:5], f[:5])
    metric.update(x[5:], f[5:])
    torch.testing.assert_close(
        metric.compute().score, run(PearsonSimilarity(level="frame"), x, f, [12]).score, atol=1e-6, rtol=0
    )


def test_waiting_clip_is_not_changed_from_outside():
    x, f = frames()
    metric = PearsonSimilarity(level="frame")
    buffer = x[:5].clone()
    metric.update(buffer, f[:5])
    buffer.zero_()
    metric.update(x[5:], f[5:])
    torch.testing.assert_close(metric.compute().null, run(PearsonSimilarity(level="frame"), x, f, [12]).null)


def test_state_of_a_large_layer_is_small():
    metric = PearsonSimilarity()
    x, f = torch.randn(4, 10_000), torch.randn(4, 50)
    metric.update(x, f)
    size = sum(value.nbytes for value in metric.metric_state.values())
    assert size <= 20e6
    metric.update(x, f)
    assert sum(value.nbytes for value in metric.metric_state.values()) == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4, 3, 2), torch.zeros(4, 2)), r"activations of shape \(4, 3, 2\)"),
        ((torch.zeros(4, 3), torch.zeros(4)), r"features of shape \(4,\)"),
        ((torch.zeros(4, 3), torch.zeros(5, 2)), "4 clips and features of 5"),
    ],
)
def test_wrong_shapes(arguments, message):
    with pytest.raises(ValueError, match=message):
        PearsonSimilarity().update(*arguments)


def test_other_wrong_arguments():
    with pytest.raises(ValueError, match="clip, frame, map"):
        PearsonSimilarity(level="song")
    metric = PearsonSimilarity()
    metric.update(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"were \(3, 2\) so far"):
        metric.update(torch.zeros(4, 4), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="same 1 axes"):
        PearsonSimilarity(level="frame").update(torch.zeros(4, 3, 5), torch.zeros(4, 2, 6))


def test_an_empty_batch_changes_nothing():
    x, f = clips()
    metric = PearsonSimilarity()
    metric.update(x[:0], f[:0])
    metric.update(x, f)
    metric.update(x[:0], f[:0])
    torch.testing.assert_close(metric.compute().score, run(PearsonSimilarity(), x, f, [40]).score)


@pytest.mark.parametrize("bad", [None, torch.nan])
def test_masked_and_unmasked_paths_are_equal(bad):
    """The path that looks for nothing, taken on the CPU where all is finite, and the one that masks, taken on GPUs."""
    x, f = clips()
    moments = cross_moments_update(CrossMoments.zeros(), x[:10], f[:10])
    plain = _add(moments, x[10:], f[10:], None)
    counted = torch.ones(31, dtype=torch.bool)
    counted[7] = bad is None
    more_x, more_f = (torch.cat([v[10:17], v[3:4] if bad is None else v[3:4] * bad, v[17:]]) for v in (x, f))
    if bad is None:
        plain = _add(moments, more_x, more_f, None)
    for ours, expected in zip(_add(moments, more_x, more_f, counted), plain, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
