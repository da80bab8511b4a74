"""SIFT key points of maps, and their matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_dissect.metrics.functional.descriptors import describe, locate
from lightning_dissect.metrics.functional.scale_space import (
    Extrema,
    Octave,
    octaves,
    scale_space,
    strongest_extrema,
)

CONSTANT_RANGE = 1e-5
"""A map whose range is at most this part of its largest magnitude counts as constant: rounding has key points too."""

CONTRAST = 1e-3
"""Weakest difference of Gaussians that is a key point, for maps of range 1."""

_MAPS_AT_ONCE = 16
_MAPS_AT_ONCE_ON_GPU = 512


class KeyPoints(NamedTuple):
    """Key points of a batch of maps, brought to one grid. ``U`` maps a clip (1 for a feature), ``K`` slots a map.

    Attributes:
        descriptors: RootSIFT descriptors of length 1, shape ``(B, U, K, 128)``.
        centres: column (time) and row (frequency) on the grid, first pixel at 0, shape ``(B, U, K, 2)``.
        reach: right end of what the descriptor covers, as a part of the grid's width, shape ``(B, U, K)``.
        filled: which slots hold a key point, shape ``(B, U, K)``; none in maps that are constant or not finite.
    """

    descriptors: Tensor
    centres: Tensor
    reach: Tensor
    filled: Tensor


class Matches(NamedTuple):
    """Matched key points of two maps, in each map's own pixels (column, row), first pixel at 0.

    Attributes:
        points_a: shape ``(M, 2)``.
        points_b: the partners, shape ``(M, 2)``.
        distance: Euclidean distance of the descriptors, in [0, 2], shape ``(M,)``.
    """

    points_a: Tensor
    points_b: Tensor
    distance: Tensor


def map_grid(size: Sequence[int], min_size: int = 64, max_size: int = 256) -> tuple[int, int]:
    """Height and width that an activation map and the feature it meets are brought to: the map's own, within limits.

    Args:
        size: shape of the activation map; the last two numbers count.
        min_size: smallest side; small maps have few key points or none.
        max_size: largest side, to bound the work.

    Example:
        >>> map_grid((32, 108))
        (64, 108)
    """
    height, width = (max(min_size, min(max_size, side)) for side in size[-2:])
    return height, width


def key_points(maps: Tensor, grid: tuple[int, int], num_features: int = 64) -> KeyPoints:
    """Find and describe the key points of maps by SIFT (Lowe 2004), upright.

    Each map is scaled to [0, 1] by its own range and brought to the grid bilinearly. Key points are the strongest
    extrema of the difference of Gaussians over three levels an octave, from twice the grid's resolution on;
    descriptors are RootSIFT. What makes this faster than a general implementation on small maps: see
    :func:`~lightning_dissect.metrics.functional.scale_space.octaves`.

    Args:
        maps: shape ``(B, U, H, W)``, rows are frequency and columns time.
        grid: height and width, from :func:`map_grid`.
        num_features: slots a map; stronger key points come first.

    Returns:
        The key points.
    """
    clips, units, height, width = maps.shape
    flat = maps.detach().reshape(clips * units, height, width).float()
    low, high = flat.amin((-2, -1), keepdim=True), flat.amax((-2, -1), keepdim=True)
    span = high - low
    usable = (span > CONSTANT_RANGE * torch.maximum(low.abs(), high.abs())) & torch.isfinite(span)
    flat = torch.where(usable, (flat - low) / span, 0)
    steps = octaves((height, width), grid, flat.device)
    at_once = _MAPS_AT_ONCE if flat.device.type == "cpu" else _MAPS_AT_ONCE_ON_GPU
    found = [_find(part, steps, num_features) for part in flat.split(at_once)]
    descriptors, centres, radius, filled = (torch.cat(parts) for parts in zip(*found, strict=True))
    return KeyPoints(
        descriptors.unflatten(0, (clips, units)),
        centres.unflatten(0, (clips, units)),
        ((centres[..., 0] + radius[..., 0] + 0.5) / grid[1]).unflatten(0, (clips, units)),
        (filled[..., 0] & usable.view(-1, 1)).unflatten(0, (clips, units)),
    )


def _find(maps: Tensor, steps: tuple[Octave, ...], num_features: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Descriptors, centres, radius and whether there is a key point, of maps ``(N, H, W)`` in [0, 1]."""
    space = scale_space(maps, steps)
    extrema = strongest_extrema(space, num_features, CONTRAST)
    if maps.device.type == "cpu":  # a look that waits for nothing here, and most slots are empty on small maps
        used = int((extrema.strength > 0).sum(1).max())
        extrema = Extrema(*(part[:, :used] for part in extrema))
    column, row, sigma = locate(space, extrema)
    descriptors = describe(space, extrema, column, row, sigma)
    # The first octave has twice the grid's resolution.
    scale = torch.exp2(extrema.octave - 1.0)
    centres = torch.stack([column, row], -1) * scale.unsqueeze(-1)
    empty = num_features - descriptors.shape[1]
    found = descriptors, centres, (6 * sigma * scale).unsqueeze(-1), (extrema.strength > 0).unsqueeze(-1)
    return tuple(pad(part, (0, 0, 0, empty)) for part in found)  # type: ignore[return-value]


def mutual_matches(a: KeyPoints, b: KeyPoints, ratio: float = 0.9) -> tuple[Tensor, Tensor, Tensor]:
    """Match key points that are each other's nearest and clearly nearer than the second nearest, both ways.

    Args:
        a: key points of ``U`` maps a clip.
        b: key points of 1 map a clip, of the same clips.
        ratio: largest ratio of the distances to the nearest and to the second nearest (Lowe 2004, section 7.1).

    Returns:
        For each slot of ``a``, shape ``(B, U, K)``: whether it is matched, the partner's slot in ``b``, and the squared
        distance of the descriptors (infinite for empty slots).
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
    """Keep the matches that agree with one another on how far the maps are shifted.

    Both maps are on one grid that spans the same time and frequency, so that pooling changes no positions there and
    what padding does is a shift. The shift that most matches share, within the tolerance along each axis, is the maps'
    own.

    Args:
        a: key points of ``U`` maps a clip.
        b: key points of 1 map a clip.
        matched: from :func:`mutual_matches`, shape ``(B, U, K)``.
        partner: from :func:`mutual_matches`.
        tolerance: pixels of the grid.

    Returns:
        Which matches are kept, shape ``(B, U, K)``; a match that no other agrees with is not.
    """
    there = b.centres.expand(-1, partner.shape[1], -1, -1).gather(2, partner.unsqueeze(-1).expand(-1, -1, -1, 2))
    shift = there - a.centres
    agree = ((shift.unsqueeze(2) - shift.unsqueeze(3)).abs() <= tolerance).all(-1)
    agree &= matched.unsqueeze(2) & matched.unsqueeze(3)
    votes = agree.sum(-1)
    most, leader = votes.max(-1, keepdim=True)
    with_leader = agree.gather(2, leader.unsqueeze(-1).expand(-1, -1, -1, agree.shape[-1]))[:, :, 0]
    return with_leader & (most >= 2)


def match_rate(a: KeyPoints, b: KeyPoints, ratio: float = 0.9, tolerance: float | None = None) -> Tensor:
    """Matches as a part of the smaller number of key points.

    Args:
        a: key points of ``U`` maps a clip.
        b: key points of 1 map a clip, of the same clips.
        ratio: as in :func:`mutual_matches`.
        tolerance: keep only matches that agree on one shift, see :func:`consistent_matches`; None keeps all.

    Returns:
        Rates in [0, 1], shape ``(B, U)``; NaN where either map has fewer than two key points.
    """
    matched, partner, _ = mutual_matches(a, b, ratio)
    if tolerance is not None:
        matched = consistent_matches(a, b, matched, partner, tolerance)
    fewer = torch.minimum(a.filled.sum(-1), b.filled.sum(-1)).float()
    return matched.sum(-1) / fewer.where(fewer >= 2, torch.nan)


def sift_matches(
    map_a: Tensor,
    map_b: Tensor,
    num_features: int = 64,
    ratio: float = 0.9,
    tolerance: float | None = None,
    min_size: int = 64,
    max_size: int = 256,
) -> Matches:
    """The matches of one pair of maps, for drawing.

    Args:
        map_a: shape ``(H, W)``.
        map_b: shape ``(H', W')``.
        num_features: largest number of key points a map.
        ratio: as in :func:`mutual_matches`.
        tolerance: as in :func:`match_rate`.
        min_size: as in :func:`map_grid`.
        max_size: as in :func:`map_grid`.

    Returns:
        Matched points, best first; none where a map is constant.

    Example:
        >>> import torch
        >>> spots = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).cumsum(0).cumsum(1)
        >>> matches = sift_matches(spots, spots)
        >>> len(matches.distance) > 5, torch.equal(matches.points_a, matches.points_b)
        (True, True)
    """
    grid = map_grid(map_a.shape, min_size, max_size)
    a, b = (key_points(m.view(1, 1, *m.shape), grid, num_features) for m in (map_a, map_b))
    pairs, partner, distance = mutual_matches(a, b, ratio)
    if tolerance is not None:
        pairs = consistent_matches(a, b, pairs, partner, tolerance)
    matched, slot, square = (t[0, 0] for t in (pairs, partner, distance))
    order = square[matched].argsort()
    slot_a, slot_b = matched.nonzero()[order, 0], slot[matched][order]
    points_a = _on_map(a.centres[0, 0, slot_a], map_a, grid)
    points_b = _on_map(b.centres[0, 0, slot_b], map_b, grid)
    return Matches(points_a, points_b, square[matched][order].sqrt())


def _on_map(points: Tensor, of: Tensor, grid: tuple[int, int]) -> Tensor:
    """From pixels of the grid to pixels of the map that was brought to it."""
    scale = points.new_tensor([of.shape[1] / grid[1], of.shape[0] / grid[0]])
    return (points + 0.5) * scale - 0.5
