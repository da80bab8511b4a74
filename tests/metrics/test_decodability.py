import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from lightning_dissect.metrics import DecodabilitySimilarity


def clips(n=150, units=12, noise=0.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, units, generator=g) @ torch.randn(units, units, generator=g) + 7
    readable = x[:, :3].sum(1) + noise * torch.randn(n, generator=g)
    return x, torch.stack([readable, torch.randn(n, generator=g)], 1)


def run(x, f, sizes=None, **kwargs):
    metric = DecodabilitySimilarity(**kwargs)
    for a, b in zip(x.split(sizes or len(x)), f.split(sizes or len(f)), strict=True):
        metric.update(a, b)
    return metric.compute()


@pytest.mark.parametrize("sizes", [None, [1] * 150, [7, 43, 100]])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_equals_scikit_learn(sizes, penalty):
    x, f = clips()
    halves = [(x[k::2].double().numpy(), f[k::2].double().numpy()) for k in (0, 1)]
    error = deviation = shuffled = 0
    for train, test in (halves, halves[::-1]):
        scaler = StandardScaler().fit(train[0])
        model = Ridge(alpha=penalty * len(train[0])).fit(scaler.transform(train[0]), train[1])
        predicted = model.predict(scaler.transform(test[0]))
        error += ((predicted - test[1]) ** 2).sum(0)
        deviation += ((test[1] - test[1].mean(0)) ** 2).sum(0)
        shuffled += ((predicted[:, None] - test[1][None]) ** 2).mean((0, 1)) * len(predicted)
    result = run(x, f, sizes, penalty=penalty)
    np.testing.assert_allclose(result.score[0], 1 - error / deviation, atol=1e-4)  # float32 moments, solved for
    np.testing.assert_allclose(result.null[0], 1 - shuffled / deviation, atol=1e-4)
    assert result.p_value[0, 0] < 1e-10
    assert result.p_value[0, 1] > 0.001


def test_more_units_than_clips():
    x, f = clips(40, units=100)
    result = run(x, f)
    assert result.score.isfinite().all()
    assert (result.score <= 1).all()


def test_false_alarms_are_rare():
    p = torch.cat([run(*clips(40, seed=seed)).p_value[:, 1] for seed in range(300)])
    assert (p < 0.05).double().mean() < 0.08  # 0.05 and more than two standard deviations of a binomial share


def test_undefined():
    x, f = clips()
    f[:, 1] = 2.0
    x[:, 4] = 0.1
    result = run(x, f)
    assert result.score[0, 0] > 0.5
    assert result.score[0, 1].isnan()
    assert result.p_value[0, 1].isnan()
    assert run(x[:7], f[:7]).score.isnan().all()
    with pytest.raises(ValueError, match="penalty=0"):
        DecodabilitySimilarity(penalty=0)


def test_reset_starts_the_halves_anew():
    x, f = clips()
    metric = DecodabilitySimilarity()
    metric.update(x[:5], f[:5])
    metric.reset()
    metric.update(x, f)
    torch.testing.assert_close(metric.compute().score, run(x, f).score)
