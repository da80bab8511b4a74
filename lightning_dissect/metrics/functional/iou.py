"""Intersection over union of a unit's strongest points with a feature's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import MIN_CLIPS
from lightning_dissect.metrics.functional.swapped_pairs import PairedMoments
from lightning_dissect.metrics.functional.tail_moments import DEPTH, TailMoments


def intersection_over_union(activations: Tensor, inside: Tensor, quantile: float = 0.005) -> Tensor:
    """IoU of each unit's strongest points over all clips with each feature row's (Bau et al. 2017, eq. 1).

    Args:
        activations: Shape (clips, units, ...).
        inside: The points where the feature is, booleans (clips, rows, ...).
        quantile: Share of points over all clips that count as a unit's strongest.

    Returns:
        Shape (units, rows), in [0, 1].

    Example:
        >>> import torch
        >>> activations = torch.arange(200.0).view(2, 1, 10, 10)
        >>> intersection_over_union(activations, activations > 194, quantile=0.05)
        tensor([[0.5000]])
    """
    points = activations.transpose(0, 1).flatten(1)
    strongest = points > torch.quantile(points, 1 - quantile, dim=1, keepdim=True)
    feature = inside.transpose(0, 1).flatten(1).float()
    both = strongest.float() @ feature.T
    return both / (strongest.sum(1, keepdim=True) + feature.sum(1) - both)


def strongest_points(features: Tensor, mask: Tensor | None, quantile: float) -> Tensor:
    """Mark the strongest points of each clip.

    Args:
        features: Shape (clips, rows, points).
        mask: Valid points (clips, points); None if all are.
        quantile: Share of a clip's valid points, at least one of them; equal values count together.

    Returns:
        1 and 0, of the same shape; NaN throughout a row that is constant or not finite in a clip.
    """
    valid = torch.ones_like(features[:, :1], dtype=torch.bool) if mask is None else mask.unsqueeze(1)
    finite = (torch.isfinite(features) | ~valid).all(-1, keepdim=True)
    ordered = features.masked_fill(~valid, -torch.inf).sort(-1, descending=True).values
    n = valid.sum(-1, keepdim=True).clamp(min=1)
    place = (quantile * n).round().long().clamp(min=1) - 1
    least, weakest = (ordered.gather(-1, at.expand(*ordered.shape[:2], 1)) for at in (place, n - 1))
    marked = (features >= least).float()
    return marked.where(finite & (least > weakest), torch.nan)


class Overlap(NamedTuple):
    """IoU at the threshold of the quantile, and counts a clip for its test; each of shape (units, rows).

    Attributes:
        score: The IoU.
        null: That of swapped features.
        outside: Points of unit or feature, both counted, over the frames that pairs have in common.
        moments: How many more points are shared with their own features.
    """

    score: Tensor
    null: Tensor
    outside: Tensor
    moments: PairedMoments

    def iou(self, shared: Tensor) -> Tensor:
        """IoU if so many points were shared."""
        return shared / (self.outside - shared)


def overlap(moments: TailMoments, quantile: float) -> Overlap:
    """Read counts off at the threshold with nearly a share of all points above it: the ratio nearest to 1.

    Args:
        moments: In float64.
        quantile: That share.

    Returns:
        NaN where more than twice that share are above every threshold (a constant, or a unit whose largest
        activations differ by less than 0.01 %), and with fewer than four clips.
    """
    inside, area = moments.mean_score.unbind(-2)
    swapped, pair_area = moments.mean_null.unbind(-2)
    share = area[..., :DEPTH] / area[..., DEPTH:]
    at = (share / quantile).log().abs().nan_to_num(torch.inf).argmin(-1, keepdim=True)
    counts = (area, inside, pair_area, swapped, moments.mean_effect, moments.m2_effect)
    strong, both, pair_strong, shared, effect, m2 = (count.gather(-1, at)[..., 0] for count in counts)
    known = (share.gather(-1, at)[..., 0] <= 2 * quantile) & (moments.n >= MIN_CLIPS)
    tested = PairedMoments(moments.n, both, moments.pairs, shared, effect, m2)
    outside = pair_strong + swapped[..., DEPTH]
    score = both / (strong + inside[..., DEPTH] - both)
    return Overlap(
        score.where(known, torch.nan),
        (shared / (outside - shared)).where(known & (moments.pairs > 0), torch.nan),
        outside,
        tested,
    )
