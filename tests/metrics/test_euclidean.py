import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import preprocessing

from lightning_dissect.metrics import EuclideanSimilarity

NORMALISERS = {
    "l2": lambda v: preprocessing.normalize(v, axis=0),
    "zscore": lambda v: preprocessing.StandardScaler().fit_transform(v),
    "minmax": lambda v: preprocessing.MinMaxScaler().fit_transform(v),
}
LARGEST = {"l2": lambda n: 2, "zscore": lambda n: 2 * np.sqrt(n), "minmax": lambda n: np.sqrt(n)}


def clips(n=30, seed=0):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, 2, generator=g) + 1
    x = torch.randn(n, 4, generator=g) - 0.5
    x[:, 0] += 2 * f[:, 0]
    return x, f


def run(normalization, x, f, sizes=(13, 17)):
    metric = EuclideanSimilarity(normalization=normalization)
    for a, b in zip(x.split(list(sizes)), f.split(list(sizes)), strict=True):
        metric.update(a, b)
    return metric.compute()


def distances(normalization, x, f):
    normalise = NORMALISERS[normalization]
    a, b = normalise(x.double().numpy()), normalise(f.double().numpy())
    return np.linalg.norm(a[:, :, None] - b[:, None, :], axis=0)


@pytest.mark.parametrize("normalization", NORMALISERS)
def test_equals_distance_of_normalised_vectors(normalization):
    x, f = clips()
    result = run(normalization, x, f)
    expected = 1 - distances(normalization, x, f) / LARGEST[normalization](30)
    np.testing.assert_allclose(result.score, expected, atol=1e-6)  # float32 moments
    assert (result.n_clips == 30).all()
    torch.testing.assert_close(result.effect, result.score - result.null)


@pytest.mark.parametrize("normalization", NORMALISERS)
def test_null_and_p_value_are_those_of_permutations(normalization):
    x, f = clips(20, seed=3)
    x[:, 1] += 0.5 * f[:, 1]
    result = run(normalization, x, f, (20,))
    rng = np.random.default_rng(0)
    permuted = np.stack([distances(normalization, x, f[torch.from_numpy(rng.permutation(20))]) for _ in range(4000)])
    null = 1 - np.sqrt((permuted**2).mean(0)) / LARGEST[normalization](20)
    np.testing.assert_allclose(result.null, null, atol=4e-3)  # 4000 permutations
    nearer = (permuted <= distances(normalization, x, f)).mean(0)
    # Binomial noise of 4000 draws, and the t approximation at n = 20, twice: either tail may be the shorter one.
    np.testing.assert_allclose(result.p_value, 2 * np.minimum(nearer, 1 - nearer), atol=0.06)
    assert stats.spearmanr(result.p_value.numpy().ravel(), np.minimum(nearer, 1 - nearer).ravel()).statistic > 0.9


@pytest.mark.parametrize("normalization", NORMALISERS)
def test_identical_is_one_and_opposite_is_least(normalization):
    _, f = clips()
    result = run(normalization, torch.cat([3 * f if normalization == "l2" else 3 * f - 1, -f], 1), f)
    # The distance is the square root of a difference of float32 moments.
    np.testing.assert_allclose(result.score[[0, 1], [0, 1]], 1, atol=1e-3)
    assert result.score[2, 0] < result.null[2, 0]
    assert result.score[2, 0] > -1e-6


def test_large_offset_with_zscore():
    x, f = clips()
    plain = run("zscore", x, f)
    moved = run("zscore", x * 2 + 2048, f)  # exactly representable up to 2048 * eps
    torch.testing.assert_close(moved.score, plain.score, atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", NORMALISERS)
def test_undefined_is_nan(normalization):
    x, f = clips()
    clean = run(normalization, x[2:], f[2:], (28,))
    x[:, 2] = 0.3
    f[0] = torch.nan
    x[1] = torch.inf
    result = run(normalization, x, f)
    assert result.score[2].isnan().all()
    assert result.null[2].isnan().all()
    torch.testing.assert_close(result.score[[0, 1, 3]], clean.score[[0, 1, 3]], atol=1e-6, rtol=0)
    assert (result.n_clips == 28).all()
    assert run(normalization, x[:3], f[:3], (3,)).score.isnan().all()


def test_reset_and_forward():
    x, f = clips()
    metric = EuclideanSimilarity("minmax")
    metric.update(100 * x, f)
    metric.reset()
    metric(x[:13], f[:13])
    metric(x[13:], f[13:])
    torch.testing.assert_close(metric.compute().score, run("minmax", x, f).score, atol=1e-6, rtol=0)


def test_unknown_normalization_names_the_valid_ones():
    with pytest.raises(ValueError, match="l2, zscore, minmax"):
        EuclideanSimilarity("max")
