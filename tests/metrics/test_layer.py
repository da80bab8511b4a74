import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression

from lightning_dissect.metrics import CCASimilarity, CKASimilarity, RegressionSimilarity


def clips(n=120, units=7, rows=3, seed=0, shared=1.0):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, rows, generator=g) @ torch.randn(rows, rows, generator=g) + 4
    x = torch.randn(n, units, generator=g) + shared * f @ torch.randn(rows, units, generator=g)
    return x, f


def run(metric, x, f, sizes=None):
    for a, b in zip(x.split(sizes or len(x)), f.split(sizes or len(f)), strict=True):
        metric.update(a, b)
    return metric.compute()


def gram_cka(x, f):
    """CKA from the clips' Gram matrices, the other way round than from moments."""
    x, f = (v.double().numpy() - v.double().numpy().mean(0) for v in (x, f))
    k, m = x @ x.T, f @ f.T
    return (k * m).sum() / np.sqrt((k**2).sum() * (m**2).sum())


def test_cka_equals_gram_matrices():
    x, f = clips()
    result = run(CKASimilarity(), x, f, [50, 1, 69])
    assert result.score.item() == pytest.approx(gram_cka(x, f), abs=1e-6)
    assert result.n_clips.item() == 120


def test_cka_of_identical_rotated_and_independent():
    x, _ = clips(2000, units=10, shared=0.0)
    rotation, _ = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1)))
    assert run(CKASimilarity(), 5 * x @ rotation - 3, x).score.item() == pytest.approx(1, abs=1e-5)
    independent = run(CKASimilarity(), x, clips(2000, rows=4, seed=9)[1])
    assert independent.score.item() < 0.01
    # Kornblith et al. 2019: CKA changes under invertible maps that are no rotations, CCA does not.
    stretched = x * torch.logspace(-1, 1, 10)
    assert run(CKASimilarity(), stretched, x).score.item() < 0.6
    assert run(CCASimilarity(), stretched, x).score.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shared", [0.0, 0.05])
def test_cka_null_and_p_value_are_those_of_permutations(shared):
    x, f = clips(30, units=20, seed=4, shared=shared)
    result = run(CKASimilarity(), x, f)
    rng = np.random.default_rng(0)
    permuted = np.array([gram_cka(x, f[torch.from_numpy(rng.permutation(30))]) for _ in range(4000)])
    assert result.null.item() == pytest.approx(permuted.mean(), rel=0.02)
    assert result.p_value.item() == pytest.approx((permuted >= gram_cka(x, f)).mean(), abs=0.03)


def test_cca_equals_scikit_learn():
    x, f = clips()
    a, b = CCA(n_components=3, max_iter=5000, tol=1e-10).fit_transform(x.double().numpy(), f.double().numpy())
    expected = np.mean([np.corrcoef(a[:, k], b[:, k])[0, 1] ** 2 for k in range(3)])
    assert run(CCASimilarity(), x, f, [50, 70]).score.item() == pytest.approx(expected, abs=1e-5)


def test_cca_needs_more_clips_than_units_and_rows():
    x, f = clips(11)
    result = run(CCASimilarity(), x, f)
    assert result.score.isnan().all()
    assert result.p_value.isnan().all()


def test_regression_equals_scikit_learn():
    x, f = clips()
    fitted = LinearRegression().fit(f.double(), x.double()).predict(f.double())
    centred = x.double() - x.double().mean(0)
    expected = ((fitted - x.double().mean(0).numpy()) ** 2).sum() / centred.square().sum().item()
    assert run(RegressionSimilarity(), x, f, [50, 70]).score.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("build", [CKASimilarity, CCASimilarity, RegressionSimilarity])
def test_p_values_of_independent_clips_are_uniform(build):
    p = torch.cat([run(build(), *clips(40, seed=seed, shared=0.0)).p_value for seed in range(300)])
    # Three standard deviations of a binomial share.
    assert abs((p < 0.05).double().mean() - 0.05) < 0.04
    assert abs((p < 0.5).double().mean() - 0.5) < 0.09


@pytest.mark.parametrize("build", [CKASimilarity, CCASimilarity, RegressionSimilarity])
def test_undefined_and_left_out(build):
    x, f = clips()
    clean = run(build(), x[2:], f[2:])
    x[0, 3], f[1, 0] = torch.nan, torch.inf
    with_dead = torch.cat([x, torch.full((120, 1), 3.3)], 1)
    result = run(build(), with_dead, f, [1, 1, 118])
    assert result.n_clips.item() == 118
    assert result.score.item() == pytest.approx(clean.score.item(), abs=1e-6)
    assert result.p_value.item() == pytest.approx(clean.p_value.item(), abs=1e-6)
    assert run(build(), torch.ones(20, 3), f[:20]).score.isnan().all()
    assert run(build(), x[2:5], f[2:5]).score.isnan().all()
    metric = build()
    metric.update(x, f)
    with pytest.raises(ValueError, match=r"were \(7, 3\) so far"):
        metric.update(x[:, :2], f)
