"""Running means, variances and covariances over clips, for every unit and every feature row at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

M = TypeVar("M", bound=Any)

MIN_CLIPS = 4
"""Fewer clips than this give NaN: a correlation of three points says nothing."""

_CACHED = 2**18
"""Numbers that stay in a processor's cache while they are read again."""


class CrossMoments(NamedTuple):
    """Moments of units and feature rows over the clips seen so far.

    All tensors are float32 on the device of the data. Vectors hold the units first and the rows after them. A mean is
    kept as the sum of two numbers, since the rounding of one alone is felt where a mean is thousands of standard
    deviations away from zero. Several layers of as many units, which are compared with the
    same rows, have moments with a leading axis of layers.

    Attributes:
        n: Number of clips counted, shape ``()``.
        mean: Mean of each unit and each feature row, shape (units + rows,).
        low: What rounding took from the mean, shape (units + rows,).
        m2: Sum of squared deviations from the mean, shape (units + rows,).
        cov: Sum of products of the deviations, shape (rows, units), which is the faster way round.
    """

    n: Tensor
    mean: Tensor
    low: Tensor
    m2: Tensor
    cov: Tensor

    @classmethod
    def zeros(
        cls, units: int = 0, rows: int = 0, device: torch.device | str | None = None, layers: Sequence[int] = ()
    ) -> CrossMoments:
        """Moments of no clips at all; ``layers`` is the size of the leading axis, if there is to be one."""
        sizes: list[tuple[int, ...]] = [(), *[(units + rows,)] * 3, (rows, units)]
        return cls(*(torch.zeros((*layers, *size), device=device) for size in sizes))

    @classmethod
    def merge(cls, stacked: CrossMoments) -> CrossMoments:
        """Join the moments of several processes.

        Args:
            stacked: Moments with a leading axis of processes; a process that saw no clip holds zeros.

        Returns:
            The moments of all clips, in float64 on the CPU.
        """
        parts = by_process(stacked)
        some = [part for part in parts if part.n.any()]
        return reduce(_merge_two, some or parts[:1])


def by_process(stacked: M) -> list[M]:
    """Take tensors with a leading axis of processes apart, in float64 on the CPU."""
    return [stacked._make(t.double().cpu() for t in part) for part in zip(*stacked, strict=True)]


def counted_clips(x: Tensor, f: Tensor) -> Tensor:
    """Which clips count: every feature row is finite and at least one unit is.

    Args:
        x: Activations, shape (clips, units), or with a leading axis of layers.
        f: Feature values, shape (clips, rows), or with the same axis.

    Returns:
        Booleans of shape (clips,), or with that axis.
    """
    return torch.isfinite(f).all(-1) & (x.abs() < torch.inf).any(-1)


def cross_moments_update(moments: CrossMoments, x: Tensor, f: Tensor) -> CrossMoments:
    """Add a batch of clips.

    The batch form of Welford's update: deviations are taken from the old mean of the units and from the new mean of the
    features, so that one matrix product adds a whole batch to the covariance,
    ``cov += (f - new mean of f).T @ (x - old mean of x)``. Exact like the pairwise merge of Chan, Golub and LeVeque
    (1979), with no sum of raw products that would lose a small variance beside a large mean.

    Args:
        moments: The moments so far; ``CrossMoments.zeros()`` takes its sizes from the first batch.
        x: Activations, shape (clips, units), float32; of several layers with a leading axis, like all that follows.
        f: Feature values, shape (clips, rows), float32.

    Returns:
        The moments with this batch added. A clip that does not count (see :func:`counted_clips`) adds nothing; a unit
        that is not finite on a clip that counts becomes NaN and stays so.
    """
    if not x.shape[-2]:
        return moments
    x, f = x.detach(), f.detach()
    moments = _with_origin(moments, x, f)
    if x.device.type == "cpu":  # a look at the sums waits for nothing here, and most batches need no slow masks
        added = _add(moments, x, f, None)
        if math.isfinite(added.mean.sum().item()):
            return added
    return _add(moments, x, f, counted_clips(x, f))


def _with_origin(moments: CrossMoments, x: Tensor, f: Tensor) -> CrossMoments:
    """Where there is no mean yet, begin from that of the first clips: far from it, squares would lose digits."""
    if moments.cov.numel() == 0:
        moments = CrossMoments.zeros(x.shape[-1], f.shape[-1], x.device, x.shape[:-2])
    elif x.device.type == "cpu" and (moments.n > 0).all():  # a look that waits for nothing on the CPU
        return moments
    counted = counted_clips(x, f).unsqueeze(-1)
    origin = torch.cat([x, f], -1).where(counted, 0).sum(-2) / counted.sum(-2).clamp(min=1)
    begun = (moments.n > 0).unsqueeze(-1)
    return moments._replace(mean=moments.mean.where(begun, origin), low=moments.low.where(begun, 0))


def _add(moments: CrossMoments, x: Tensor, f: Tensor, counted: Tensor | None) -> CrossMoments:
    """Add the clips that count, or all if that is None."""
    old_n, origin, low, m2, cov = moments
    units = x.shape[-1]
    df = f - origin[..., None, units:]
    n = old_n + (f.shape[-2] if counted is None else counted.sum(-1))
    if counted is not None:
        df.masked_fill_(~counted.unsqueeze(-1), 0)
    total, low_f = n.clamp(min=1).unsqueeze(-1), low[..., units:]
    # The old clips' mean is not quite the origin, which is its rounded value.
    carried = old_n.unsqueeze(-1) * low
    step_f = (df.sum(-2) + carried[..., units:]) / total
    cov = cov + (low_f - step_f).unsqueeze(-1) * carried[..., None, :units]
    sum_x, square_x = _add_products(x, origin[..., :units], df - step_f.unsqueeze(-2), counted, cov)
    step = torch.cat([(sum_x + carried[..., :units]) / total, step_f], -1)
    square = torch.cat([square_x, df.square().sum(-2)], -1) + carried * low - n.unsqueeze(-1) * step.square()
    mean = origin + step
    return CrossMoments(n, mean, (origin - mean) + step, (m2 + square).clamp_(min=0), cov)


def _add_products(
    x: Tensor, origin: Tensor, df: Tensor, counted: Tensor | None, cross: Tensor
) -> tuple[Tensor, Tensor]:
    """Add ``df.T @ (x - origin)`` to ``cross``; the sums over clips of ``x - origin`` and of its square."""
    clips = max(1, _CACHED // origin.numel()) if x.device.type == "cpu" else x.shape[-2]
    add = cross.addmm_ if x.ndim == 2 else cross.baddbmm_
    linear, square = torch.zeros_like(origin), torch.zeros_like(origin)
    for start in range(0, x.shape[-2], clips):
        part = slice(start, start + clips)
        dx = x[..., part, :] - origin.unsqueeze(-2)
        if counted is not None:
            dx.masked_fill_(~counted[..., part, None], 0)
        add(df[..., part, :].mT, dx)
        linear += dx.sum(-2)
        square += dx.square_().sum(-2)
    return linear, square


def standard_deviation_or_nan(moments: CrossMoments) -> Tensor:
    """Population standard deviation of each unit and each feature row, NaN for what is constant.

    Constant means that the variance is no more than rounding leaves behind in float32: at most
    ``(4 eps)**2`` times the mean square.

    Returns:
        Standard deviations, shape (units + rows,).
    """
    variance = moments.m2 / moments.n.clamp(min=1).unsqueeze(-1)
    rounding = (4 * torch.finfo(torch.float32).eps) ** 2 * (variance + moments.mean.square())
    return torch.where((variance > rounding) & torch.isfinite(variance), variance.sqrt(), torch.nan)


def correlation(moments: CrossMoments) -> Tensor:
    """Pearson's correlation of every unit with every feature row.

    Args:
        moments: Moments over clips, in float64 for the result of :meth:`CrossMoments.merge`.

    Returns:
        Correlations in [-1, 1], shape (units, rows); NaN with fewer than four clips and for constant units or rows.
    """
    units, n = moments.cov.shape[-1], moments.n[..., None, None]
    sd = standard_deviation_or_nan(moments)
    r = moments.cov.mT / n.clamp(min=1) / (sd[..., :units, None] * sd[..., None, units:])
    return torch.where(n >= MIN_CLIPS, r.clamp(-1, 1), torch.nan)


def _merge_two(a: CrossMoments, b: CrossMoments) -> CrossMoments:
    n, units = a.n + b.n, a.cov.shape[-1]
    share = (b.n / n.clamp(min=1)).unsqueeze(-1)
    both = a.n.unsqueeze(-1) * share
    delta = (b.mean - a.mean) + (b.low - a.low)
    return CrossMoments(
        n=n,
        mean=a.mean + a.low + share * delta,
        low=torch.zeros_like(delta),
        m2=a.m2 + b.m2 + both * delta.square(),
        cov=a.cov + b.cov + both.unsqueeze(-1) * delta[..., units:, None] * delta[..., None, :units],
    )
