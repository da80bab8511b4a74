"""What pairs of clips tell of several features at once: groups of pairs, and what each feature has of its own."""

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_dissect.metrics import METRICS, PearsonSimilarity
from lightning_dissect.metrics.functional.swapped_pairs import GROUPS, GroupMoments, group_moments_update

FAMILIES = [1, 3, 1]
FRAMES = 30


def series(seed=0, n=36, units=3):
    """Units and features that go together, (clips, units, frames) and (clips, rows, frames), and padded fractions."""
    g = torch.Generator().manual_seed(seed)
    rows = sum(FAMILIES)
    f = torch.randn(n, rows, FRAMES, generator=g) + torch.randn(n, 1, FRAMES, generator=g)
    x = torch.randn(units, rows, generator=g) @ f + 2 * torch.randn(n, units, FRAMES, generator=g)
    return x, f, torch.randint(15, FRAMES + 1, (n,), generator=g) / FRAMES


def run(metric, x, f, fraction, size):
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        metric.update(x[part], f[part], None if fraction is None else fraction[part])
    return metric.compute()


def similarity(x, f, frames, held):
    """Correlations over the frames of a clip, of residuals of the other features if these are held fixed."""
    x, f = x[:, :frames].double().numpy(), f[:, :frames].double().numpy()
    of = np.repeat(np.arange(len(FAMILIES)), FAMILIES)
    found = np.empty((len(x), len(f)))
    for row in range(len(f)):
        others = [f[of != of[row]].T] if held else []
        design = np.column_stack([np.ones(frames), *others])
        both = np.column_stack([x.T, f[row]])
        left = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
        found[:, row] = np.corrcoef(left.T)[-1, :-1]
    return found


def effects(x, f, frames, held):
    """Own minus swapped similarity of each pair, over the frames that both clips have."""
    found = []
    for a in range(0, len(x) - 1, 2):
        b, both = a + 1, min(frames[a], frames[a + 1])
        own, swapped = (
            [similarity(x[i], f[j], both, held) for i, j in ij] for ij in (((a, a), (b, b)), ((a, b), (b, a)))
        )
        found.append((sum(own) - sum(swapped)) / 2)
    return np.stack(found)


def frames_of(fraction, n):
    return [FRAMES] * n if fraction is None else (fraction * FRAMES).round().int().tolist()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("size", [36, 7])
def test_what_is_left_of_correlations_is_that_of_regressions_within_clips(padded, size):
    x, f, fraction = series()
    fraction = fraction if padded else None
    frames = frames_of(fraction, len(x))
    metric = PearsonSimilarity(level="frame")
    metric.hold_fixed(FAMILIES)
    found = run(metric, x, f, fraction, size)
    clips = [similarity(x[clip], f[clip], frames[clip], True) for clip in range(len(x))]
    # The trace on the diagonal that keeps collinear features solvable, and float32.
    np.testing.assert_allclose(found.unique, np.mean(clips, 0), atol=1e-4)
    expected = stats.ttest_1samp(effects(x, f, frames, True), 0).pvalue
    np.testing.assert_allclose(found.unique_p_value, expected, rtol=5e-3, atol=1e-12)
    plain = run(PearsonSimilarity(level="frame"), x, f, fraction, size)
    for ours, theirs in zip(found, plain, strict=True):
        if ours.shape == theirs.shape and not theirs.isnan().all():
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)  # the rest is as without


def test_too_few_frames_leave_nothing_to_say():
    x, f, _ = series()
    metric = PearsonSimilarity(level="frame")
    metric.hold_fixed(FAMILIES)
    short = run(metric, x[..., :8], f[..., :8], None, 36)  # five rows, and four more
    assert short.unique.isnan().all()
    assert short.score.isfinite().all()


def test_only_frames_hold_features_fixed():
    metric = PearsonSimilarity(level="clip")
    metric.hold_fixed([1, 1])
    metric.update(torch.randn(20, 3), torch.randn(20, 2))
    assert metric.compute().unique.isnan().all()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("size", [36, 20, 5, 1])
def test_groups_are_means_of_every_eighth_pair(padded, size):
    x, f, fraction = series(n=37)
    fraction = fraction if padded else None
    found = run(PearsonSimilarity(level="frame"), x, f, fraction, size)
    pairs = effects(x, f, frames_of(fraction, len(x)), False)
    expected = np.stack([pairs[group::GROUPS].mean(0) for group in range(GROUPS)], -1)
    np.testing.assert_allclose(found.groups, expected, atol=1e-5)  # float32
    np.testing.assert_allclose(found.effect, pairs.mean(0), atol=1e-5)


@pytest.mark.parametrize(("name", "level"), [("spearman", "frame"), ("pearson", "map"), ("sift", "map")])
def test_groups_of_other_metrics_join_to_the_effect(name, level):
    g = torch.Generator().manual_seed(0)
    shape = (32, 24) if level == "map" else (40,)
    f = torch.randn(32, 1, *shape, generator=g).cumsum(-1)
    x = f + torch.randn(32, 2, *shape, generator=g)
    found = [run(METRICS[name](level=level), x, f, None, size) for size in (32, 6)]
    torch.testing.assert_close(found[0].groups, found[1].groups, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0].groups.mean(-1), found[0].effect, atol=1e-5, rtol=1e-4)  # two pairs a group


def test_undefined_pairs_are_spread_over_groups_and_a_group_without_a_pair_is_undefined():
    effect = torch.arange(1.0, 6.0).view(5, 1, 1).expand(5, 2, 1).clone()
    effect[1, 1] = torch.nan
    groups = GroupMoments.zeros()
    for first in range(5):
        groups = group_moments_update(groups, effect[first : first + 1], first)
    means = groups.means(torch.tensor([[5.0], [4.0]]))
    assert means[0, 0, :5].tolist() == [1, 2, 3, 4, 5]
    assert means[:, :, 5:].isnan().all()
    assert means[1, 0, :5].tolist() == pytest.approx([1.25, 0, 3.75, 5, 6.25])  # four fifths of a pair each


def test_processes_add_their_groups_up():
    g = torch.Generator().manual_seed(0)
    parts = [group_moments_update(GroupMoments.zeros(), torch.randn(n, 2, 3, generator=g), 0) for n in (8, 11)]
    merged = GroupMoments.merge(GroupMoments(*map(torch.stack, zip(*parts, strict=True))))
    assert merged.dealt.flatten().tolist() == [3, 3, 3, 2, 2, 2, 2, 2]
    torch.testing.assert_close(merged.effect, sum(part.effect for part in parts).double())
