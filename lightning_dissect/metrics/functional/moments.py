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

    All tensors are float32 on the device of the data. ``U`` units, ``F`` feature rows.

    Attributes:
        n: number of clips counted, shape ``()``.
        mean_x: mean of each unit, shape ``(U,)``.
        mean_f: mean of each feature row, shape ``(F,)``.
        m2_x: sum of squared deviations of each unit from its mean, shape ``(U,)``.
        m2_f: the same of each feature row, shape ``(F,)``.
        cov: sum of products of the deviations, shape ``(U, F)``.
    """

    n: Tensor
    mean_x: Tensor
    mean_f: Tensor
    m2_x: Tensor
    m2_f: Tensor
    cov: Tensor

    @classmethod
    def zeros(cls, units: int = 0, rows: int = 0, device: torch.device | str | None = None) -> CrossMoments:
        """Moments of no clips at all."""
        sizes: tuple[tuple[int, ...], ...] = ((), (units,), (rows,), (units,), (rows,), (units, rows))
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

    The batch form of Welford's update: deviations are taken from the running mean of the units and from the new mean
    of the features, so that one matrix product adds a whole batch to the covariance, ``cov += (x - old mean_x).T @ (f
    - new mean_f)``. Exact like the pairwise merge of Chan, Golub and LeVeque (1979), with no sum of raw products that
    would lose a small variance beside a large mean.

    Args:
        moments: the moments so far; ``CrossMoments.zeros()`` takes its sizes from the first batch.
        x: activations, shape ``(B, U)``, float32.
        f: feature values, shape ``(B, F)``, float32.

    Returns:
        The moments with this batch added. A clip that does not count (see :func:`counted_clips`) adds nothing; a unit
        that is not finite on a clip that counts becomes NaN and stays so.
    """
    if moments.cov.numel() == 0:
        moments = CrossMoments.zeros(x.shape[1], f.shape[1], x.device)
    counted = counted_clips(x, f)
    weight, column = counted.to(x.dtype), counted.unsqueeze(1)
    n = moments.n + weight.sum()
    total = n.clamp(min=1)
    # Before the first clip there is no running mean: any clip that counts is a better origin than zero.
    first = weight.argmax(0, keepdim=True)
    origin_x = torch.where(moments.n > 0, moments.mean_x, x.index_select(0, first)[0])
    origin_f = torch.where(moments.n > 0, moments.mean_f, f.index_select(0, first)[0])
    dx = (x - origin_x).masked_fill_(~column, 0)
    df = (f - origin_f).masked_fill_(~column, 0)
    sum_x, sum_f = weight @ dx, weight @ df
    step_f = sum_f / total
    return CrossMoments(
        n=n,
        mean_x=torch.where(n > 0, origin_x + sum_x / total, moments.mean_x),
        mean_f=torch.where(n > 0, origin_f + step_f, moments.mean_f),
        m2_x=(moments.m2_x + torch.linalg.vector_norm(dx, dim=0).square() - sum_x.square() / total).clamp(min=0),
        m2_f=(moments.m2_f + torch.linalg.vector_norm(df, dim=0).square() - sum_f.square() / total).clamp(min=0),
        cov=torch.addmm(moments.cov, dx.T, (df - step_f).masked_fill_(~column, 0)),
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
    dx, df = b.mean_x - a.mean_x, b.mean_f - a.mean_f
    return CrossMoments(
        n=n,
        mean_x=a.mean_x + share * dx,
        mean_f=a.mean_f + share * df,
        m2_x=a.m2_x + b.m2_x + a.n * share * dx.square(),
        m2_f=a.m2_f + b.m2_f + a.n * share * df.square(),
        cov=a.cov + b.cov + a.n * share * torch.outer(dx, df),
    )
