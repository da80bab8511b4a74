"""How much more the means of short clips scatter, for tests over clips of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import CrossMoments, by_process, counted_clips


class LengthMoments(NamedTuple):
    """Joint moments of the clips' shortness z with the units and rows, which stand beside :class:`CrossMoments`.

    The variance of a mean over T frames is a + b / T. So z = 1 / (valid part of the clip) - 1, which is 0 for clips
    without padding, tells how the variance of a unit or row changes from clip to clip.

    Attributes:
        mean: Mean of z, shape ``()``.
        m2: Sum of squared deviations of z, shape ``()``.
        c11: Sum of products of the deviations of z and of each unit and row, shape (units + rows,).
        c12: The same with the squared deviation of each unit and row.
    """

    mean: Tensor
    m2: Tensor
    c11: Tensor
    c12: Tensor

    @classmethod
    def zeros(cls, variables: int = 0, layers: Sequence[int] = ()) -> LengthMoments:
        """Moments of no clips, or of clips without padding; ``layers`` as in :meth:`CrossMoments.zeros`."""
        return cls(*(torch.zeros((*layers, *size)) for size in ((), (), (variables,), (variables,))))

    @classmethod
    def merge(cls, stacked: LengthMoments, moments: CrossMoments) -> LengthMoments:
        """Join the moments of several processes, given with a leading axis like ``moments`` themselves.

        Returns:
            The moments of all clips, in float64 on the CPU.
        """
        lengths = by_process(stacked)
        some = [_join(a, b) for a, b in zip(lengths, by_process(moments), strict=True) if b.n.any()]
        return reduce(_merge_two, some).lengths if some else lengths[0]


class _Joint(NamedTuple):
    """All moments of z and the variables, as far as they take part in a merge."""

    n: Tensor
    mean: Tensor
    m2: Tensor
    lengths: LengthMoments


def _join(lengths: LengthMoments, moments: CrossMoments) -> _Joint:
    if not lengths.c11.numel():
        lengths = lengths._replace(c11=torch.zeros_like(moments.m2), c12=torch.zeros_like(moments.m2))
    return _Joint(moments.n, moments.mean + moments.low, moments.m2, lengths)


def shortness(fraction: Tensor) -> Tensor:
    """Tell how short clips are: one over the part of the padded length that is audio, less one.

    Args:
        fraction: That part, in [0, 1], shape (clips,).

    Returns:
        Shape (clips,); 0 for clips without padding. A clip without audio, which no metric counts, has a finite one.
    """
    return 1 / fraction.float().clamp(min=1e-6) - 1


def length_moments_update(
    lengths: LengthMoments, before: CrossMoments, x: Tensor, f: Tensor, z: Tensor
) -> LengthMoments:
    """Add a batch of clips.

    Args:
        lengths: The moments so far.
        before: The moments of units and rows before this batch.
        x: Activations, shape (clips, units), float32.
        f: Feature values, shape (clips, rows), float32.
        z: The clips' :func:`shortness`, shape (clips,).

    Returns:
        The moments with this batch added; the same clips count as in
        :func:`~lightning_dissect.metrics.functional.moments.cross_moments_update`.
    """
    if not x.shape[-2]:
        return lengths
    values, counted = torch.cat([x, f], -1).detach(), counted_clips(x, f)
    batch = _batch(values, z, counted)
    return _merge_two(_join(lengths, before), batch).lengths if before.cov.numel() else batch.lengths


def variance_slopes(lengths: LengthMoments, moments: CrossMoments) -> Tensor:
    """How steeply the variance of each unit and row grows with the clips' shortness.

    Returns:
        B of ``variance = v (1 + b (z - mean z) / sd z)``, shape (units + rows,); zeros where no clip is padded.
    """
    if not lengths.c12.numel():
        return torch.zeros_like(moments.m2)
    slopes = moments.n.sqrt().unsqueeze(-1) * lengths.c12 / (moments.m2 * lengths.m2.sqrt().unsqueeze(-1))
    return slopes.nan_to_num(0.0, 0.0, 0.0)


def variance_inflation(lengths: LengthMoments, moments: CrossMoments) -> Tensor:
    """How many times larger the variance of a correlation is than if all clips were equally long.

    Under independence the variance of ``sum(x * f)`` over clips is the sum of the products of the two variances. Where
    these grow with z by :func:`variance_slopes`, that is ``1 + b_x b_f`` times the product of sums. Less than 1 is not
    made use of.

    Returns:
        At least 1, shape (units, rows).
    """
    slopes, units = variance_slopes(lengths, moments), moments.cov.shape[-1]
    return (1 + slopes[..., :units, None] * slopes[..., None, units:]).clamp(min=1)


def _batch(values: Tensor, z: Tensor, counted: Tensor) -> _Joint:
    """Moments of the clips of one batch that count."""
    n, inside = counted.sum(-1), counted.unsqueeze(-1)
    total = n.clamp(min=1)
    mean_z, mean = z.where(counted, 0).sum(-1) / total, values.where(inside, 0).sum(-2) / total.unsqueeze(-1)
    dz, dx = (z - mean_z.unsqueeze(-1)).where(counted, 0), (values - mean.unsqueeze(-2)).where(inside, 0)
    square = dx.square()
    c11, c12 = ((dz.unsqueeze(-2) @ product).squeeze(-2) for product in (dx, square))
    return _Joint(n, mean, square.sum(-2), LengthMoments(mean_z, dz.square().sum(-1), c11, c12))


def _merge_two(a: _Joint, b: _Joint) -> _Joint:
    """Join two sets of clips; moments of third order as Chan's of second order, by expanding around the joint mean."""
    n, la, lb = a.n + b.n, a.lengths, b.lengths
    share_z = b.n / n.clamp(min=1)
    # Beside the variables: with an axis of one, so that leading axes of layers fit.
    share_a, share_b, both, dz = (
        t.unsqueeze(-1) for t in (a.n / n.clamp(min=1), share_z, a.n * share_z, lb.mean - la.mean)
    )
    dx = b.mean - a.mean
    # A clip's deviations from the joint means are those from its own set's means, moved by share_b or -share_a of the
    # means' distance. Multiplied out, (z - mean)(x - mean)**2 leaves the products below; what is linear in a deviation
    # from the set's own mean adds up to zero.
    c12 = (
        la.c12
        + lb.c12
        + both * (share_a - share_b) * dz * dx.square()
        + 2 * dx * (share_a * lb.c11 - share_b * la.c11)
        + dz * (share_a * b.m2 - share_b * a.m2)
    )
    mean, m2 = la.mean + (share_b * dz).squeeze(-1), la.m2 + lb.m2 + (both * dz.square()).squeeze(-1)
    lengths = LengthMoments(mean, m2, la.c11 + lb.c11 + both * dz * dx, c12)
    return _Joint(n, a.mean + share_b * dx, a.m2 + b.m2 + both * dx.square(), lengths)
