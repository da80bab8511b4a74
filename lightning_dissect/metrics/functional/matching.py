"""Matching of the key points of maps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_SCALE_BIN = 0.5
"""Octaves by which the sizes of two key points may differ from the maps' scale: bins of a factor of 2, as Lowe's."""


class KeyPoints(NamedTuple):
    """Key points of a batch of maps, brought to one grid, in so many slots a map.

    Attributes:
        descriptors: RootSIFT descriptors of length 1, shape (clips, maps, slots, 128).
        centres: Column (time) and row (frequency) on the grid, first pixel at 0, shape (clips, maps, slots, 2).
        sigma: Blur of the level on which the key point lies, which tells its size, pixels of the grid, (clips, maps,
            slots).
        reach: Right end of what the descriptor covers, as a part of the grid's width, shape (clips, maps, slots).
        filled: Which slots hold a key point, shape (clips, maps, slots); none in maps that are constant or not finite.
    """

    descriptors: Tensor
    centres: Tensor
    sigma: Tensor
    reach: Tensor
    filled: Tensor


class MatchScores(NamedTuple):
    """What the matches of an activation map and a feature map come to, each of shape (clips, maps).

    Attributes:
        rate: Matches as a part of the smaller number of key points, in [0, 1].
        number: Of matches. Both are NaN where either map has fewer than two key points.
        distance: Mean Euclidean distance of the matched descriptors, in [0, 2]; NaN where nothing matches.
    """

    rate: Tensor
    number: Tensor
    distance: Tensor


def mutual_matches(a: KeyPoints, b: KeyPoints, ratio: float = 0.9) -> tuple[Tensor, Tensor, Tensor]:
    """Match key points that are each other's nearest and clearly nearer than the second nearest, both ways.

    Args:
        a: Key points of any number of maps a clip.
        b: Key points of 1 map a clip, of the same clips.
        ratio: Largest ratio of the distances to the nearest and to the second nearest (Lowe 2004, section 7.1).

    Returns:
        For each slot of ``a``, shape (clips, maps, slots): whether it is matched, the partner's slot in ``b``, and the
        squared distance of the descriptors (infinite for empty slots).
    """
    product = (a.descriptors.flatten(1, 2) @ b.descriptors[:, 0].mT).unflatten(1, a.descriptors.shape[1:3])
    both = a.filled.unsqueeze(-1) & b.filled.unsqueeze(-2)
    square = (2 - 2 * product).clamp(min=0).where(both, torch.inf)
    near, partner = square.topk(2, dim=-1, largest=False)
    near_back, partner_back = square.topk(2, dim=-2, largest=False)
    forth = near[..., 0] < ratio**2 * near[..., 1]
    back = near_back[..., 0, :] < ratio**2 * near_back[..., 1, :]
    slot = partner[..., 0]
    here = torch.arange(slot.shape[-1], device=slot.device)
    mutual = (partner_back[..., 0, :].gather(-1, slot) == here) & back.gather(-1, slot)
    return forth & mutual, slot, near[..., 0]


def consistent_matches(a: KeyPoints, b: KeyPoints, matched: Tensor, partner: Tensor, tolerance: float) -> Tensor:
    """Keep the matches that agree with one another on how the maps are shifted and scaled.

    Each match proposes two ways to lay the first map onto the second: by the shift between its two key points, and by
    their shift and the ratio of their sizes. A match agrees with a proposal when its point falls within the tolerance
    of its partner along each axis, and its own ratio of sizes is the proposed one within a factor of the square root of
    (Lowe 2004, section 7.3, votes in bins as wide). The proposal with which most agree is taken; one that scales
    needs one match more, since it has one number more to fit them with.

    Both maps are on one grid that spans the same time and frequency, so that pooling changes no positions there, what
    padding does is a shift, and what its absence does is a small change of scale.

    Args:
        a: Key points of any number of maps a clip.
        b: Key points of 1 map a clip.
        matched: From :func:`mutual_matches`, shape (clips, maps, slots).
        partner: From :func:`mutual_matches`.
        tolerance: Pixels of the grid.

    Returns:
        Which matches are kept, shape (clips, maps, slots): at least two that agree on a shift, or three on a shift and
        scale.
    """
    units, slots = partner.shape[1:]
    there = b.centres.expand(-1, units, -1, -1).gather(2, partner.unsqueeze(-1).expand(-1, -1, -1, 2))
    size = b.sigma.expand(-1, units, -1).gather(2, partner)
    ratio = (size / a.sigma).where(matched, 1)
    apart, apart_there = (points.unsqueeze(2) - points.unsqueeze(3) for points in (a.centres, there))
    both = matched.unsqueeze(2) & matched.unsqueeze(3)
    proposals = []
    for scale in (torch.ones_like(ratio), ratio):
        error = (apart_there - scale[..., None, None] * apart).abs()
        fits = (ratio.unsqueeze(2) / scale.unsqueeze(3)).log2().abs() <= _SCALE_BIN
        proposals.append((error <= tolerance).all(-1) & fits & both)
    agree = torch.cat(proposals, 2)
    votes = torch.cat([proposals[0].sum(-1), proposals[1].sum(-1) - 1], 2)
    most, leader = votes.max(-1, keepdim=True)
    with_leader = agree.gather(2, leader.unsqueeze(-1).expand(-1, -1, -1, slots))[:, :, 0]
    return with_leader & (most >= 2)


def match_scores(a: KeyPoints, b: KeyPoints, ratio: float = 0.9, tolerance: float | None = None) -> MatchScores:
    """Rate, number and mean distance of the matches.

    Args:
        a: Key points of any number of maps a clip.
        b: Key points of 1 map a clip, of the same clips.
        ratio: As in :func:`mutual_matches`.
        tolerance: Keep only matches that agree on one shift and scale, see :func:`consistent_matches`; None keeps all.

    Returns:
        The scores, each of shape (clips, maps).
    """
    if a.filled.device.type == "cpu":
        a, b = _without_empty_slots(a), _without_empty_slots(b)
    matched, partner, square = mutual_matches(a, b, ratio)
    if tolerance is not None:
        matched = consistent_matches(a, b, matched, partner, tolerance)
    fewer = torch.minimum(a.filled.sum(-1), b.filled.sum(-1)).float()
    fewer = fewer.where(fewer >= 2, torch.nan)
    number = matched.sum(-1) + 0 * fewer
    distance = square.where(matched, 0).sqrt().sum(-1) / matched.sum(-1)
    return MatchScores(number / fewer, number, distance)


def _without_empty_slots(points: KeyPoints) -> KeyPoints:
    """Up to the last slot that any map fills, but two: a look at the data that waits for nothing on a CPU."""
    slots = points.filled.flatten(0, 1).any(0)
    used = max(2, int((slots * torch.arange(1, len(slots) + 1)).max()))
    return KeyPoints(*(part[:, :, :used] for part in points))
