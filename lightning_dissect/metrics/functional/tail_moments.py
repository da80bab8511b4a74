"""Counts of a unit's points above thresholds that are fixed before its distribution is known."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import by_process
from lightning_dissect.metrics.functional.swapped_pairs import PairedMoments, batch_moments, merge_pairs, with_axes

PLACES, SCALES = 16, 13
"""Thresholds on each scale, and scales: steps double from one scale to the next."""

DEPTH = PLACES * SCALES
"""Thresholds a unit."""

_SHIFT = 10
"""A step on the finest scale is a change of this bit of a float32: 1/8192 of an octave, or about 0.01 %."""

_LOWEST = -(2.0**22)


class TailMoments(NamedTuple):
    """Counts of points above each threshold, as means over clips.

    A unit's quantile is known when all clips have been seen, and its values are not kept: so points are counted above
    many thresholds meanwhile, and the right one is chosen in the end.

    Each scale has a fixed grid of thresholds, of which those from a unit's largest activation so far downwards are
    kept: the distance between thresholds is about a tenth of that to the largest activation. When a larger one comes,
    counts move along, and those of each scale's lowest thresholds are dropped. So what is kept depends neither on order
    nor on processes. The last place holds the counts of all points.

    Attributes:
        top: Finest step of the largest activation, shape (units,).
        n: Clips that count, shape (units, rows), as all that is named as in `PairedMoments`.
        mean_score: Points above each threshold inside the feature, and all of them, shape (units, rows, 2, DEPTH + 1).
        pairs: Pairs of clips that count.
        mean_null: The same with the features of each pair swapped, over the frames that a pair has in common.
        mean_effect: How many more are inside their own features, shape (units, rows, DEPTH + 1).
        m2_effect: Sum of squared deviations of that.
    """

    top: Tensor
    n: Tensor
    mean_score: Tensor
    pairs: Tensor
    mean_null: Tensor
    mean_effect: Tensor
    m2_effect: Tensor

    @classmethod
    def zeros(cls, units: int = 0, rows: int = 0) -> TailMoments:
        """Moments of no clips at all."""
        count, both, inside = (units, rows), (units, rows, 2, DEPTH + 1), (units, rows, DEPTH + 1)
        return cls(*map(torch.zeros, ((units,), count, both, count, both, inside, inside)))

    @classmethod
    def merge(cls, stacked: TailMoments) -> TailMoments:
        """Join the moments of several processes, given with a leading axis; float64 on the CPU."""
        parts = by_process(stacked)
        return reduce(_merge_two, [part for part in parts if part.n.any()] or parts[:1])

    @property
    def paired(self) -> PairedMoments:
        """The moments of all counts."""
        return PairedMoments(*self[1:])

    def raised(self, top: Tensor) -> TailMoments:
        """The same counts below a higher top."""

        def move(counts: Tensor) -> Tensor:
            return moved(counts, *(with_axes(step, counts[..., 0]) for step in (self.top, top)))

        return self._replace(
            top=top,
            mean_score=move(self.mean_score),
            mean_null=move(self.mean_null),
            mean_effect=move(self.mean_effect),
            m2_effect=move(self.m2_effect),
        )


def steps(activations: Tensor) -> Tensor:
    """Number of the finest threshold that each activation reaches.

    Args:
        activations: Float32.

    Returns:
        Whole numbers in the order of the activations, float32: the upper bits of their absolute value, with its sign;
        NaN for what is not finite.
    """
    step = (activations.abs().view(torch.int32) >> _SHIFT).to(torch.float32) * activations.sign()
    return step.where(torch.isfinite(activations), torch.nan)


def highest(step: Tensor, mask: Tensor | None) -> Tensor:
    """Largest step of each unit over all clips and valid points; shape (units,).

    Args:
        step: Shape (clips, units, points).
        mask: Valid points (clips, points); None if all are.
    """
    step = step.nan_to_num(_LOWEST)
    if mask is not None:
        step = step.masked_fill(~mask.unsqueeze(1), _LOWEST)
    return step.amax((0, 2))


def tail_counts(step: Tensor, inside: Tensor, mask: Tensor | None, top: Tensor) -> Tensor:
    """Count each clip's points above each threshold, and those of them inside each feature row.

    Args:
        step: Shape (clips, units, points).
        inside: 1 and 0, shape (clips, rows, points); NaN for rows that are not defined in a clip.
        mask: Valid points (clips, points); None if all are.
        top: Highest step of each unit, shape (units,).

    Returns:
        Those inside and all, shape (clips, units, rows, 2, DEPTH + 1); NaN where unit or row is not defined.
    """
    valid = torch.ones_like(step[:, :1]) if mask is None else mask.unsqueeze(1).to(step.dtype)
    # Thresholds of all scales are sorted, so that one search tells how many of them a point reaches: adding up from the
    # highest on then counts the points above each, whatever the number of thresholds.
    thresholds, order = _thresholds(top)
    lowest_first = thresholds.gather(-1, order)
    points = step.nan_to_num(_LOWEST).transpose(0, 1).flatten(1)
    reached = torch.searchsorted(lowest_first, points, right=True).view(len(top), len(step), -1).transpose(0, 1)
    weights = torch.cat([inside.nan_to_num(0) * valid, valid], 1)
    place = order.argsort(-1)
    counts = torch.stack([_tail(reached, weight.unsqueeze(1), place) for weight in weights.unbind(1)], 2)
    both, area = counts.split([inside.shape[1], 1], 2)
    known = (torch.isfinite(step) | (valid == 0)).all(-1).view(*step.shape[:2], 1, 1)
    known = known & ~inside.isnan().any(-1).view(len(step), 1, -1, 1)
    return torch.stack([both, area.expand_as(both)], 3).where(known.unsqueeze(-1), torch.nan)


def _thresholds(top: Tensor) -> tuple[Tensor, Tensor]:
    """Thresholds of each unit in finest steps, and the order that sorts them, each (units, DEPTH)."""
    scale = 2 ** torch.arange(SCALES, device=top.device, dtype=top.dtype).view(-1, 1)
    place = torch.arange(PLACES, device=top.device, dtype=top.dtype)
    thresholds = (((top.view(-1, 1, 1) / scale).floor() - place) * scale).flatten(1)
    return thresholds, thresholds.argsort(-1)


def _tail(reached: Tensor, weight: Tensor, place: Tensor) -> Tensor:
    """Sum weights (clips, 1, points) of the points above each threshold, and of all.

    Args:
        reached: How many thresholds each point reaches, shape (clips, units, points).
        weight: Shape (clips, 1, points).
        place: How many thresholds are lower than each, shape (units, DEPTH).

    Returns:
        Shape (clips, units, DEPTH + 1).
    """
    count = torch.zeros(*reached.shape[:2], DEPTH + 1, dtype=weight.dtype, device=reached.device)
    count.scatter_add_(-1, reached, weight.expand(reached.shape))
    above = count.flip(-1).cumsum(-1).flip(-1)
    tails = above[..., 1:].gather(-1, place.expand(len(above), -1, -1))
    return torch.cat([tails, above[..., :1]], -1)


def moved(counts: Tensor, top: Tensor, new_top: Tensor) -> Tensor:
    """Counts below a higher top, with none above the one before.

    Args:
        counts: Shape ``(..., DEPTH + 1)``; the last place stays.
        top: Of these counts, broadcastable to ``(...)``.
        new_top: The higher one, of the same shape.
    """
    scale = 2 ** torch.arange(SCALES, device=counts.device, dtype=top.dtype)
    by = (new_top.unsqueeze(-1) / scale).floor() - (top.unsqueeze(-1) / scale).floor()
    place = torch.arange(PLACES, device=counts.device) - by.clamp(0, PLACES).long().unsqueeze(-1)
    tails = counts[..., :DEPTH].unflatten(-1, (SCALES, PLACES))
    tails = tails.gather(-1, place.clamp(min=0).expand(tails.shape)).where(place >= 0, 0)
    return torch.cat([tails.flatten(-2), counts[..., DEPTH:]], -1)


def tail_moments_update(moments: TailMoments, score: Tensor, own: Tensor, swapped: Tensor) -> TailMoments:
    """Add the counts of a batch of clips, below the same top, and the comparison of the pairs completed by it.

    Args:
        moments: The moments so far.
        score: :func:`tail_counts` of each clip, shape (clips, units, rows, 2, DEPTH + 1).
        own: Mean counts of each pair of clips over the frames that they have in common; the number may be 0.
        swapped: The same with their features swapped.
    """
    n, counts, _ = batch_moments(score)
    effect = own - swapped
    pairs, mean_effect, m2 = batch_moments(effect[..., 0, :])
    _, counts_swapped, _ = batch_moments(swapped.where(torch.isfinite(effect), torch.nan))
    batch = PairedMoments(n[..., 0, 0], counts, pairs[..., 0], counts_swapped, mean_effect, m2)
    return TailMoments(moments.top, *(merge_pairs(moments.paired, batch) if moments.n.numel() else batch))


def _merge_two(a: TailMoments, b: TailMoments) -> TailMoments:
    top = torch.maximum(a.top, b.top)
    return TailMoments(top, *merge_pairs(a.raised(top).paired, b.raised(top).paired))
