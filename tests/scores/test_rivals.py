"""Which features explain a unit less than the one that explains it best, against one comparison after the other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightning_dissect.metrics import PearsonSimilarity
from lightning_dissect.metrics.functional.dependent import partial_correlations, williams_p_value
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.scores import Block
from lightning_dissect.scores.rivals import SUPPORTED, Cell, lower_p_values, with_rivals

NAN = float("nan")


def clips(seed, n=60, rows=4, units=5, inflated=False):
    """A cell of correlations over clips, whose features are correlated with each other."""
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, rows, generator=g) + torch.randn(n, 1, generator=g)
    x = f @ torch.randn(rows, units, generator=g) + 3 * torch.randn(n, units, generator=g)
    metric, related = PearsonSimilarity(), PearsonSimilarity()
    fraction = torch.rand(n, generator=g) if inflated else None
    metric.update(x, f, fraction)
    related.update(f, f)
    return Cell(metric.compute(), True, related.compute().correlation)


def of_groups(effect, groups, p_value, two_sided=True):
    effect, groups, p_value = (torch.as_tensor(values, dtype=torch.float64) for values in (effect, groups, p_value))
    found = Similarity(effect, torch.zeros_like(effect), effect, p_value, torch.full_like(effect, 16), groups=groups)
    return Cell(found, two_sided)


def one_by_one(cell):
    """The same by loops over units and rows."""
    found, two_sided, between = cell
    size = found.effect if between is None else found.correlation
    expected = np.full(size.shape, NAN)
    for unit, effects in enumerate(size.tolist()):
        tests = sum(p == p for p in found.p_value[unit].tolist())
        supported = [row for row, p in enumerate(found.p_value[unit].tolist()) if p * tests < SUPPORTED]
        if not supported:
            continue
        best = max(supported, key=lambda row: abs(effects[row]))
        for row, effect in enumerate(effects):
            if effect != effect:
                continue
            signs = [1 if effects[place] > 0 else -1 for place in (best, row if two_sided else best)]
            if row == best or abs(effects[best]) <= effect * signs[1]:
                expected[unit, row] = 1.0
            elif between is not None:
                expected[unit, row] = williams_p_value(
                    *torch.tensor([abs(effects[best]), effect * signs[1]], dtype=torch.float64),
                    between[best, row] * signs[0] * signs[1],
                    found.n_clips[unit, row],
                    max(found.inflation[unit, best].item(), found.inflation[unit, row].item()),
                )
            elif found.groups.shape[-1]:
                differences = found.groups[unit, best] * signs[0] - found.groups[unit, row] * signs[1]
                expected[unit, row] = stats.ttest_1samp(differences.numpy(), 0).pvalue
            else:
                errors = [(found.high - found.low)[unit, place].item() / 2 / 1.959964 for place in (best, row)]
                expected[unit, row] = 2 * stats.norm.sf((abs(effects[best]) - effect * signs[1]) / sum(errors))
    return expected


@pytest.mark.parametrize("inflated", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_correlations_over_clips_equal_one_comparison_after_the_other(seed, inflated):
    cell = clips(seed, inflated=inflated)
    found = lower_p_values(cell).numpy()
    np.testing.assert_allclose(found, one_by_one(cell), rtol=1e-9)
    assert (found < 0.05).any()


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_groups_of_clips_equal_one_comparison_after_the_other(seed, two_sided):
    rng = np.random.default_rng(seed)
    groups = rng.normal(rng.normal(0, 1, size=(6, 5, 1)), 0.5, size=(6, 5, 8))
    cell = of_groups(groups.mean(-1), groups, rng.uniform(0, 0.02, size=(6, 5)), two_sided)
    found = lower_p_values(cell).numpy()
    np.testing.assert_allclose(found, one_by_one(cell), rtol=1e-9)
    assert (found < 0.05).any()


def test_what_knows_no_groups_goes_by_the_largest_error_that_there_can_be():
    cell = clips(0)
    # The interval of a score that knows neither groups nor correlations.
    bound = Cell(cell.similarity._replace(correlation=torch.full_like(cell.similarity.score, NAN)), True)
    found = lower_p_values(bound).numpy()
    np.testing.assert_allclose(found, one_by_one(bound), rtol=1e-6)
    williams = lower_p_values(cell).numpy()
    assert np.nanmean(found) > np.nanmean(williams)  # more rivals, not fewer


def test_undefined_rows_and_units_without_support():
    effect = [[0.9, NAN, 0.2], [0.9, 0.5, 0.1], [NAN] * 3]
    groups = np.array(effect)[..., None] + np.random.default_rng(0).normal(0, 0.01, size=(3, 3, 8))
    p = lower_p_values(of_groups(effect, groups, [[1e-9, NAN, 0.5], [0.02, 0.02, 0.9], [NAN] * 3]))
    assert p[0].isnan().tolist() == [False, True, False]
    assert p[0, 0] == 1
    assert p[0, 2] < 1e-6
    assert p[1:].isnan().all()  # .02 times three rows is no support


def test_ties_and_the_sign_of_scores():
    effect = [[0.8, 0.8, -0.9], [0.8, 0.1, -0.7]]
    groups = np.array(effect)[..., None] + 0.1 * np.random.default_rng(1).normal(size=(1, 1, 8))  # alike in all rows
    p_value = np.full((2, 3), 1e-6)
    either = lower_p_values(of_groups(effect, groups, p_value))
    assert either[0, 2] == 1  # the largest, of either sign
    assert either[1, 0] == 1
    assert either[1, 1] < 1e-6  # both differ from the best by the same in every group
    assert 1e-6 < either[1, 2] < 1
    p_value[:, 2] = 1.0
    above = lower_p_values(of_groups(effect, groups, p_value, two_sided=False))
    assert above[0, :2].tolist() == [1, 1]  # equal
    assert (above[:, 2] < 1e-3).all()  # far below chance, where more counts


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), order=st.permutations(range(4)), signs=st.tuples(*[st.sampled_from([1.0, -1.0])] * 4)
)
def test_order_and_signs_of_features_do_not_matter(seed, order, signs):
    plain = clips(seed)
    sign = torch.tensor(signs, dtype=torch.float64)
    found = plain.similarity
    moved = Similarity(*(v[:, list(order)] if v.shape[-1] == 4 else v for v in found))
    turned = (sign * found.correlation)[:, list(order)]
    between = (plain.between * sign * sign.unsqueeze(1))[list(order)][:, list(order)]
    cell = Cell(moved._replace(correlation=turned, effect=turned), True, between)
    torch.testing.assert_close(lower_p_values(cell), lower_p_values(plain)[:, list(order)], equal_nan=True)


def blocks(found, sizes):
    return [
        Block({"metric": "pearson"}, [f"f[{row}]" for row in range(size)], Similarity(*parts))
        for size, *parts in zip(sizes, *(values.split(sizes, 1) for values in found), strict=True)
    ]


def test_blocks_come_back_with_what_was_found_of_all_features_together():
    cell = clips(2)
    together = with_rivals(blocks(cell.similarity, [1, 3]), True, cell.between)
    assert [len(block.features) for block in together] == [1, 3]
    lower = torch.cat([block.lower_p_value for block in together], 1)
    torch.testing.assert_close(lower, lower_p_values(cell), equal_nan=True)
    unique = torch.cat([block.similarity.unique for block in together], 1)
    torch.testing.assert_close(unique, partial_correlations(cell.similarity.score, cell.between, [1, 3]))
    p = torch.cat([block.similarity.unique_p_value for block in together], 1).numpy()
    for unit, row in np.ndindex(p.shape):
        dof = 60 - 2 - (3 if row == 0 else 1)  # the rows that are held fixed
        t = unique[unit, row].item() * (dof / (1 - unique[unit, row].item() ** 2)) ** 0.5
        assert p[unit, row] == pytest.approx(2 * stats.t.sf(abs(t), dof), rel=1e-6)


def test_no_unique_part_where_scores_are_no_correlations_or_clips_too_few():
    cell = clips(3)
    distances = cell.similarity._replace(score=cell.similarity.score + 1)
    assert all(
        block.similarity.unique.isnan().all() for block in with_rivals(blocks(distances, [4]), True, cell.between)
    )
    few = clips(3, n=6)
    found = with_rivals(blocks(few.similarity, [1, 3]), True, few.between)
    assert found[0].similarity.unique.isnan().all()  # three held fixed leave three clips
    assert found[1].similarity.unique.isfinite().all()


@pytest.mark.parametrize("rho", [0.5, 0.99])
def test_what_follows_another_feature_has_nothing_of_its_own(rho):
    runs, g = 600, torch.Generator().manual_seed(0)
    p = []
    for _ in range(runs):
        a, b, noise = torch.randn(3, 30, 1, generator=g)
        f = torch.cat([a, rho * a + (1 - rho**2) ** 0.5 * b], 1)
        metric, related = PearsonSimilarity(), PearsonSimilarity()
        metric.update(a + noise, f)
        related.update(f, f)
        found = with_rivals(blocks(metric.compute(), [1, 1]), True, related.compute().correlation)
        p.append(found[1].similarity.unique_p_value.item())
    least, most = stats.binom.interval(0.9999, runs, 0.05)
    assert least <= np.sum(np.array(p) < 0.05) <= most
