"""Running means, variances and covariances over clips, for every unit and every feature row at once."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

MIN_CLIPS = 4
"""Fewer clips than this give NaN: a correlation of three points says nothing."""


class CrossMoments(NamedTuple):
    """Moments of units and feature rows over the clips seen so far.

    All tensors are float32 on the device of the data. ``U`` units, ``F`` feature rows. A mean is kept as the sum of two
    numbers, since the rounding of one alone is felt where a mean is thousands of standard deviations away from zero.

    Attributes:
        n: number of clips counted, shape ``()``.
        mean_x: mean of each unit, shape ``(U,)``.
        mean_f: mean of each feature row, shape ``(F,)``.
        low_x: what rounding took from ``mean_x``, shape ``(U,)``.
        low_f: what rounding took from ``mean_f``, shape ``(F,)``.
        m2_x: sum of squared deviations of each unit from its mean, shape ``(U,)``.
        m2_f: the same of each feature row, shape ``(F,)``.
        cov: sum of products of the deviations, shape ``(U, F)``.
    """

    n: Tensor
    mean_x: Tensor
    mean_f: Tensor
    low_x: Tensor
    low_f: Tensor
    m2_x: Tensor
    m2_f: Tensor
    cov: Tensor

    @classmethod
    def zeros(cls, units: int = 0, rows: int = 0, device: torch.device | str | None = None) -> CrossMoments:
        """Moments of no clips at all."""
        sizes: list[tuple[int, ...]] = [(), *[(units,), (rows,)] * 3, (units, rows)]
        return cls(*(torch.zeros(size, device=device) for size in sizes))

    @classmethod
    def merge(cls, stacked: CrossMoments) -> CrossMoments:
        """Join the moments of several processes.

        Args:
            stacked: moments with a leading axis of processes; a process that saw no clip holds zeros.

        Returns:
            The moments of all clips, in float64 on the CPU.
        """
        return reduce(_merge_two, (cls(*(t.double().cpu() for t in part)) for part in zip(*stacked, strict=True)))


def counted_clips(x: Tensor, f: Tensor) -> Tensor:
    """Which clips count: every feature row is finite and at least one unit is.

    Args:
        x: activations, shape ``(B, U)``.
        f: feature values, shape ``(B, F)``.

    Returns:
        Booleans of shape ``(B,)``.
    """
    return torch.isfinite(f).all(1) & (x.abs() < torch.inf).any(1)


def cross_moments_update(moments: CrossMoments, x: Tensor, f: Tensor) -> CrossMoments:
    """Add a batch of clips.

    The batch form of Welford's update: deviations are taken from the old mean of the units and from the new mean of the
    features, so that one matrix product adds a whole batch to the covariance,
    ``cov += (x - old mean_x).T @ (f - new mean_f)``. Exact like the pairwise merge of Chan, Golub and LeVeque (1979),
    with no sum of raw products that would lose a small variance beside a large mean.

    Args:
        moments: the moments so far; ``CrossMoments.zeros()`` takes its sizes from the first batch.
        x: activations, shape ``(B, U)``, float32.
        f: feature values, shape ``(B, F)``, float32.

    Returns:
        The moments with this batch added. A clip that does not count (see :func:`counted_clips`) adds nothing; a unit
        that is not finite on a clip that counts becomes NaN and stays so.
    """
    x, f = x.detach(), f.detach()
    if moments.cov.numel() == 0:
        moments = CrossMoments.zeros(x.shape[1], f.shape[1], x.device)
    old_n, mean_x, mean_f, low_x, low_f, m2_x, m2_f, cov = moments
    counted = counted_clips(x, f)
    weight = counted.to(x.dtype)
    n = old_n + weight.sum()
    total = n.clamp(min=1)
    # Before the first clip there is no mean: any clip that counts is a better origin than zero.
    first = weight.argmax(0, keepdim=True)
    origin_x = torch.where(old_n > 0, mean_x, x.index_select(0, first)[0])
    origin_f = torch.where(old_n > 0, mean_f, f.index_select(0, first)[0])
    # One row more: how far the old clips' mean is from the origin, which is its rounded value.
    dx = x.new_empty(len(x) + 1, x.shape[1])
    torch.sub(x, origin_x, out=dx[:-1]).masked_fill_(~counted.unsqueeze(1), 0)
    torch.mul(low_x, old_n, out=dx[-1])
    df = (f - origin_f).masked_fill(~counted.unsqueeze(1), 0)
    step_x = dx.sum(0) / total
    step_f = (df.sum(0) + old_n * low_f) / total
    new_x, new_f = origin_x + step_x, origin_f + step_f
    factor = torch.cat([(df - step_f) * weight.unsqueeze(1), (low_f - step_f).unsqueeze(0)])
    added_x = torch.linalg.vector_norm(dx[:-1], dim=0).square() - total * step_x.square() + old_n * low_x.square()
    added_f = df.square().sum(0) - total * step_f.square() + old_n * low_f.square()
    return CrossMoments(
        n=n,
        mean_x=torch.where(n > 0, new_x, mean_x),
        mean_f=torch.where(n > 0, new_f, mean_f),
        low_x=torch.where(n > 0, (origin_x - new_x) + step_x, low_x),
        low_f=torch.where(n > 0, (origin_f - new_f) + step_f, low_f),
        m2_x=(m2_x + added_x).clamp(min=0),
        m2_f=(m2_f + added_f).clamp(min=0),
        cov=torch.addmm(cov, dx.T, factor),
    )


def standard_deviation_or_nan(m2: Tensor, mean: Tensor, n: Tensor) -> Tensor:
    """Population standard deviation, NaN for what is constant.

    Constant means that the variance is no more than rounding leaves behind in float32: at most
    ``(4 eps)**2`` times the mean square.

    Args:
        m2: sums of squared deviations.
        mean: means, of the same shape.
        n: number of clips.

    Returns:
        Standard deviations, of the same shape.
    """
    variance = m2 / n.clamp(min=1)
    rounding = (4 * torch.finfo(torch.float32).eps) ** 2 * (variance + mean.square())
    return torch.where((variance > rounding) & torch.isfinite(variance), variance.sqrt(), torch.nan)


def correlation(moments: CrossMoments) -> Tensor:
    """Pearson's correlation of every unit with every feature row.

    Args:
        moments: moments over clips, in float64 for the result of :meth:`CrossMoments.merge`.

    Returns:
        Correlations in [-1, 1], shape ``(U, F)``; NaN with fewer than four clips and for constant units or rows.
    """
    sd_x = standard_deviation_or_nan(moments.m2_x, moments.mean_x, moments.n)
    sd_f = standard_deviation_or_nan(moments.m2_f, moments.mean_f, moments.n)
    r = moments.cov / moments.n.clamp(min=1) / (sd_x.unsqueeze(1) * sd_f)
    return torch.where(moments.n >= MIN_CLIPS, r.clamp(-1, 1), torch.nan)


def _merge_two(a: CrossMoments, b: CrossMoments) -> CrossMoments:
    n = a.n + b.n
    share = b.n / n.clamp(min=1)
    dx, df = (b.mean_x - a.mean_x) + (b.low_x - a.low_x), (b.mean_f - a.mean_f) + (b.low_f - a.low_f)
    return CrossMoments(
        n=n,
        mean_x=a.mean_x + a.low_x + share * dx,
        mean_f=a.mean_f + a.low_f + share * df,
        low_x=torch.zeros_like(dx),
        low_f=torch.zeros_like(df),
        m2_x=a.m2_x + b.m2_x + a.n * share * dx.square(),
        m2_f=a.m2_f + b.m2_f + a.n * share * df.square(),
        cov=a.cov + b.cov + a.n * share * torch.outer(dx, df),
    )
