import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LinearRegression

from lightning_dissect.metrics.functional.dependent import groups_p_value, partial_correlations, williams_p_value

NAN = float("nan")


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def williams_t(r_a, r_b, r_ab, n):
    """Equation 7 of Steiger (1980), with the determinant of the three variables' correlation matrix."""
    matrix = np.array([[1, r_a, r_b], [r_a, 1, r_ab], [r_b, r_ab, 1]])
    mean = (r_a + r_b) / 2
    spread = 2 * (n - 1) / (n - 3) * np.linalg.det(matrix) + mean**2 * (1 - r_ab) ** 3
    return (r_a - r_b) * np.sqrt((n - 1) * (1 + r_ab) / spread)


def variables(n, seed, *shape):
    """Three variables that go together by chance, as (n, 3)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=(n, 3))


def test_williams_equals_the_published_example():
    t = stats.t.isf(williams_p_value(*tensors(0.5, 0.4, 0.1, 103)).item() / 2, 100)
    assert round(t, 2) == 0.89


@pytest.mark.parametrize("n", [5, 12, 103, 4000])
@pytest.mark.parametrize("seed", range(5))
def test_williams_equals_the_formula(n, seed):
    r = np.corrcoef(variables(n, seed).T)
    r_a, r_b, r_ab = r[0, 1], r[0, 2], r[1, 2]
    expected = 2 * stats.t.sf(abs(williams_t(r_a, r_b, r_ab, n)), n - 3)
    assert williams_p_value(*tensors(r_a, r_b, r_ab, n)).item() == pytest.approx(expected, rel=1e-9)
    inflated = 2 * stats.t.sf(abs(williams_t(r_a, r_b, r_ab, n)) / 1.5**0.5, n - 3)
    assert williams_p_value(*tensors(r_a, r_b, r_ab, n), inflation=1.5).item() == pytest.approx(inflated, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(5, 200))
def test_williams_minds_neither_order_nor_signs(seed, n):
    r = np.corrcoef(variables(n, seed).T)
    r_a, r_b, r_ab = r[0, 1], r[0, 2], r[1, 2]
    p = williams_p_value(*tensors(r_a, r_b, r_ab, n)).item()
    assert 0 <= p <= 1
    assert williams_p_value(*tensors(r_b, r_a, r_ab, n)).item() == pytest.approx(p)
    assert williams_p_value(*tensors(-r_a, -r_b, r_ab, n)).item() == pytest.approx(p)  # the unit turned


def test_williams_at_the_borders():
    r_a, r_b, r_ab, n = tensors(
        [0.4, 0.9, NAN, 0.9, 1.0], [0.4, 0.9, 0.3, 0.8, 0.5], [0.1, 1.0, 0.2, NAN, 0.5], [20] * 5
    )
    p = williams_p_value(r_a, r_b, r_ab, n)
    assert p[:2].tolist() == [1.0, 1.0]  # equal, and the same variable twice
    assert p[2:4].isnan().all()
    assert 0 <= p[4] < 1e-6  # the unit is the feature


def test_williams_keeps_its_level_where_two_features_explain_a_unit_alike():
    rng = np.random.default_rng(0)
    trials, n = 4000, 20
    a, b, noise = rng.normal(size=(3, trials, n))
    b = 0.9 * a + (1 - 0.9**2) ** 0.5 * b
    unit = a + b + noise
    r = np.array([np.corrcoef(parts) for parts in zip(unit, a, b, strict=True)])
    p = williams_p_value(*tensors(r[:, 0, 1], r[:, 0, 2], r[:, 1, 2], [n] * trials))
    least, most = stats.binom.interval(0.9999, trials, 0.05)
    assert least <= (p < 0.05).sum() <= most


def test_groups_equal_a_t_test():
    groups = np.random.default_rng(1).normal(0.4, 1, size=(3, 4, 8))
    groups[0, 1, :3] = NAN
    groups[1, 2, 2:] = NAN  # two are left
    groups[2] += np.array([[0], [0], [0], [1e3]])
    p = groups_p_value(torch.from_numpy(groups)).numpy()
    with np.errstate(invalid="ignore"):
        expected = stats.ttest_1samp(groups, 0, axis=-1, nan_policy="omit").pvalue
    assert np.isnan(p[1, 2])
    expected[1, 2] = NAN
    np.testing.assert_allclose(p, expected, rtol=1e-9)


def test_groups_without_a_difference_tell_nothing():
    assert groups_p_value(torch.zeros(2, 8)).tolist() == [1, 1]
    assert groups_p_value(torch.full((8,), 0.2)).item() < 1e-12  # all alike, and not 0
    assert groups_p_value(torch.full((2, 8), torch.nan)).isnan().all()


def data(seed, n, rows, units=4):
    """Units and feature rows that go together, as (n, units) and (n, rows)."""
    rng = np.random.default_rng(seed)
    f = rng.normal(size=(n, rows)) @ rng.normal(size=(rows, rows)) + rng.normal(size=(n, rows))
    return f @ rng.normal(size=(rows, units)) + 2 * rng.normal(size=(n, units)), f


def correlations(x, f):
    """Correlations of units with rows, and of rows with each other."""
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(x.T, f.T)
    units = x.shape[1]
    return torch.from_numpy(r[:units, units:]), torch.from_numpy(r[units:, units:])


def residual_correlations(x, f, families):
    """Correlation of what linear regression on the other features' rows leaves of each unit and row."""
    found = np.empty((x.shape[1], f.shape[1]))
    of = np.repeat(np.arange(len(families)), families)
    for row in range(f.shape[1]):
        others = f[:, of != of[row]]
        both = np.column_stack([x, f[:, row]])
        left = both - (LinearRegression().fit(others, both).predict(others) if others.shape[1] else both.mean(0))
        found[:, row] = np.corrcoef(left.T)[-1, :-1]
    return found


@pytest.mark.parametrize("families", [[1, 1], [3], [1, 12, 1], [2, 3, 1, 1]])
@pytest.mark.parametrize("seed", range(3))
def test_partial_correlations_are_those_of_residuals(families, seed):
    x, f = data(seed, 80, sum(families))
    found = partial_correlations(*correlations(x, f), families)
    # The trace of 1e-6 on the diagonal, against eigenvalues above 1e-2 here.
    np.testing.assert_allclose(found, residual_correlations(x, f, families), atol=1e-3)
    if families == [3]:
        torch.testing.assert_close(found, correlations(x, f)[0])  # nothing is held fixed


def test_partial_correlation_in_float32_is_that_of_float64():
    r, between = correlations(*data(0, 80, 7))
    exact = partial_correlations(r, between, [2, 3, 1, 1])
    single = partial_correlations(r.float(), between.float(), [2, 3, 1, 1])
    torch.testing.assert_close(single.double(), exact, atol=1e-4, rtol=0)


def test_a_constant_row_is_not_held_fixed():
    x, f = data(3, 60, 4)
    f[:, 2] = 1.0
    found = partial_correlations(*correlations(x, f), [1, 1, 1, 1]).numpy()
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(found[:, [0, 1, 3]], residual_correlations(x, f[:, [0, 1, 3]], [1, 1, 1]), atol=1e-3)


def test_a_row_that_is_the_sum_of_others_has_nothing_of_its_own_and_spoils_nothing():
    x, f = data(4, 60, 4)
    f[:, 3] = f[:, 0] - 2 * f[:, 1]
    found = partial_correlations(*correlations(x, f), [1, 1, 1, 1]).numpy()
    assert np.isnan(found[:, [0, 1, 3]]).all()  # of the three, two tell all of the third
    np.testing.assert_allclose(found[:, 2], residual_correlations(x, f[:, :3], [1, 1, 1])[:, 2], atol=1e-3)


def test_rows_of_one_feature_may_be_sums_of_each_other():
    x, f = data(5, 60, 4)
    f[:, 3] = f[:, 1] + f[:, 2]
    found = partial_correlations(*correlations(x, f), [1, 3])
    np.testing.assert_allclose(found[:, 1:], residual_correlations(x, f, [1, 3])[:, 1:], atol=1e-3)


def test_a_dead_unit_and_one_that_others_explain_wholly_are_undefined():
    x, f = data(6, 60, 3)
    x[:, 0], x[:, 1] = 0.0, f[:, 0] + f[:, 1]
    found = partial_correlations(*correlations(x, f), [1, 1, 1])
    assert found[0].isnan().all()
    assert found[1, 2].isnan()  # the first two leave nothing of the unit
    assert found[1, :2].abs().gt(0.99).all()
    assert found[2:].isfinite().all()


def test_clips_are_independent_of_each_other():
    parts = [correlations(*data(seed, 50, 5)) for seed in range(4)]
    parts[2][1][3] = parts[2][1][:, 3] = NAN  # constant in one clip only
    r, between = (torch.stack(values) for values in zip(*parts, strict=True))
    together = partial_correlations(r, between, [2, 1, 2])
    for found, part in zip(together, parts, strict=True):
        torch.testing.assert_close(found, partial_correlations(*part, [2, 1, 2]), equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    order=st.permutations([0, 1, 2, 3]),
    signs=st.lists(st.sampled_from([1.0, -1.0]), min_size=6, max_size=6),
)
def test_order_and_signs_of_features_do_not_matter(seed, order, signs):
    families = [1, 3, 1, 1]
    x, f = data(seed, 60, 6)
    plain = partial_correlations(*correlations(x, f), families)
    rows = np.split(np.arange(6), np.cumsum(families)[:-1])
    places = np.concatenate([rows[place] for place in order])
    sign = np.array(signs)
    moved = partial_correlations(*correlations(x, (sign * f)[:, places]), [families[place] for place in order])
    # Rows that others nearly explain magnify rounding, by the inverse of what they leave: 1e-4 at least.
    torch.testing.assert_close(moved, (plain * torch.from_numpy(sign))[:, places], atol=1e-6, rtol=0, equal_nan=True)
