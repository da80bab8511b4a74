import numpy as np
import pytest
import torch

from lightning_dissect.metrics.functional.lengths import (
    LengthMoments,
    length_moments_update,
    shortness,
    variance_inflation,
)
from lightning_dissect.metrics.functional.moments import CrossMoments, cross_moments_update


def data(n=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    fraction = torch.randint(3, 21, (n,), generator=g) / 20
    x, f = torch.randn(n, 4, generator=g) + 30, torch.randn(n, 2, generator=g) - 2
    return x, f, fraction


def moments(x, f, fraction, sizes):
    cross, lengths = CrossMoments.zeros(), LengthMoments.zeros()
    for xs, fs, part in zip(*(v.split(sizes) for v in (x, f, fraction)), strict=True):
        lengths = length_moments_update(lengths, cross, xs, fs, shortness(part))
        cross = cross_moments_update(cross, xs, fs)
    return lengths, cross


def stack(*parts):
    return type(parts[0])(*(torch.stack(values) for values in zip(*parts, strict=True)))


@pytest.mark.parametrize("sizes", [[60], [7, 1, 52], [20, 20, 20]])
def test_moments_equal_those_of_all_clips_at_once(sizes):
    x, f, fraction = data()
    x[5] = torch.nan  # a clip that does not count
    lengths, _ = moments(x, f, fraction, sizes)
    counted = torch.arange(60) != 5
    z = (1 / fraction.double() - 1)[counted]
    values = torch.cat([x, f], 1).double()[counted]
    dz, d = z - z.mean(), values - values.mean(0)
    np.testing.assert_allclose(lengths.mean, z.mean(), rtol=1e-5)
    np.testing.assert_allclose(lengths.m2, dz.square().sum(), rtol=1e-5)
    np.testing.assert_allclose(lengths.c11, dz @ d, atol=1e-3)  # 60 values of 30, in float32
    np.testing.assert_allclose(lengths.c12, dz @ d.square(), atol=1e-3)


def test_processes_are_joined_and_one_may_be_without_clips_or_padding():
    x, f, fraction = data()
    fraction[40:] = 1
    whole = LengthMoments.merge(*(stack(part) for part in moments(x, f, fraction, [60])))
    first, rest = (
        moments(x[:40], f[:40], fraction[:40], [40]),
        cross_moments_update(CrossMoments.zeros(), x[40:], f[40:]),
    )
    nothing = LengthMoments.zeros(6)
    joined = LengthMoments.merge(stack(nothing, first[0], nothing), stack(CrossMoments.zeros(4, 2), first[1], rest))
    for ours, expected in zip(joined, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


def test_inflation_is_that_of_the_variances():
    """Values that scatter as a + b z, on both sides; the ratio of variances in closed form."""
    g = torch.Generator().manual_seed(1)
    fraction = torch.randint(4, 33, (20_000,), generator=g) / 32
    z = shortness(fraction)
    x, f = (torch.randn(20_000, 1, generator=g) * (0.2 + z).sqrt().unsqueeze(1) for _ in range(2))
    lengths, cross = (stack(part) for part in moments(x, f, fraction, [20_000]))
    inflation = variance_inflation(LengthMoments.merge(lengths, cross), CrossMoments.merge(cross))
    variance = (0.2 + z).double()
    assert inflation.item() == pytest.approx((variance.square().mean() / variance.mean() ** 2).item(), rel=0.05)


def test_clips_of_one_length_inflate_nothing():
    x, f, _ = data()
    lengths, cross = moments(x, f, torch.ones(60), [30, 30])
    assert (variance_inflation(lengths, cross) == 1).all()
    assert (variance_inflation(LengthMoments.zeros(), cross) == 1).all()


def test_a_clip_without_audio_has_a_finite_shortness():
    assert shortness(torch.tensor([1.0, 0.5, 0.0])).isfinite().all()
    assert shortness(torch.tensor([1.0, 0.5])).tolist() == [0, 1]
