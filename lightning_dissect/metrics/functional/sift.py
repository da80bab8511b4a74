"""SIFT key points of maps, and the matches of two maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_dissect.compiled import compiled_code
from lightning_dissect.metrics.functional.descriptors import CELL_WIDTH, CELLS, describe, locate
from lightning_dissect.metrics.functional.matching import KeyPoints, consistent_matches, mutual_matches
from lightning_dissect.metrics.functional.scale_space import (
    Extrema,
    Octave,
    octaves,
    scale_space,
    strongest_extrema,
)

_compiled_code = compiled_code("lightning_dissect.metrics.functional.sift_numba")

CONSTANT_RANGE = 1e-5
"""A map whose range is at most this part of its largest magnitude counts as constant: rounding has key points too."""

CONTRAST = 1e-3
"""Weakest difference of Gaussians that is a key point, for maps of range 1."""

_SCALED_AT_ONCE = 64
_MAPS_AT_ONCE = 16
_MAPS_AT_ONCE_ON_GPU = 512


class Matches(NamedTuple):
    """Matched key points of two maps, in each map's own pixels (column, row), first pixel at 0.

    Attributes:
        points_a: Shape (matches, 2).
        points_b: The partners, shape (matches, 2).
        distance: Euclidean distance of the descriptors, in [0, 2], shape (matches,).
    """

    points_a: Tensor
    points_b: Tensor
    distance: Tensor


def map_grid(size: Sequence[int], min_size: int = 64, max_size: int = 256) -> tuple[int, int]:
    """Height and width that an activation map and the feature it meets are brought to: the map's own, within limits.

    Args:
        size: Shape of the activation map; the last two numbers count.
        min_size: Smallest side; small maps have few key points or none.
        max_size: Largest side, to bound the work.

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
    :func:`~lightning_dissect.metrics.functional.scale_space.octaves`. On a CPU where numba is installed the same is
    done by compiled code.

    Args:
        maps: Shape (clips, units, height, width), rows are frequency and columns time.
        grid: Height and width, from :func:`map_grid`.
        num_features: Slots a map; stronger key points come first.

    Returns:
        The key points.
    """
    # A few clips at a time: scaled maps take twice the memory of the maps.
    limit = _SCALED_AT_ONCE if maps.device.type == "cpu" else _MAPS_AT_ONCE_ON_GPU
    at_once = max(1, limit // max(maps.shape[1], 1))
    parts = [_key_points(part, grid, num_features) for part in maps.split(at_once)]
    return parts[0] if len(parts) == 1 else KeyPoints(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _key_points(maps: Tensor, grid: tuple[int, int], slots: int) -> KeyPoints:
    """The same of all maps at once."""
    clips, units = maps.shape[:2]
    flat, usable = unit_range(maps)
    descriptors, centres, sigma, strength = _find(flat, grid, slots)
    # A descriptor is 4 cells of 3 sigma wide.
    reach = (centres[..., 0] + CELLS * CELL_WIDTH / 2 * sigma + 0.5) / grid[1]
    found = descriptors, centres, sigma, reach, (strength > 0) & usable.view(-1, 1)
    return KeyPoints(*(part.unflatten(0, (clips, units)) for part in found))


def unit_range(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Scale maps (clips, units, height, width) to [0, 1], each by its own range.

    Returns:
        The maps, shape (maps, height, width), 0 where they are constant or not finite; which are neither.
    """
    flat = maps.detach().flatten(0, 1).float()
    low, high = flat.amin((-2, -1), keepdim=True), flat.amax((-2, -1), keepdim=True)
    span = high - low
    usable = (span > CONSTANT_RANGE * torch.maximum(low.abs(), high.abs())) & torch.isfinite(span)
    return torch.where(usable, (flat - low) / span, 0), usable.flatten()


def _find(maps: Tensor, grid: tuple[int, int], slots: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Descriptors, centres, blur and strength of the key points of maps in [0, 1]."""
    compiled = _compiled_code() if maps.device.type == "cpu" else None
    if compiled is not None:
        found: tuple[Tensor, Tensor, Tensor, Tensor] = compiled.find_key_points(maps, grid, slots, CONTRAST)
        return found
    steps = octaves((maps.shape[1], maps.shape[2]), grid, maps.device)
    most, pixels = (_MAPS_AT_ONCE, 2**17) if maps.device.type == "cpu" else (_MAPS_AT_ONCE_ON_GPU, 2**23)
    at_once = min(most, max(1, pixels // (grid[0] * grid[1])))  # blurred maps take 100 bytes a pixel and more
    parts = [_find_plainly(part, steps, slots) for part in maps.split(at_once)]
    descriptors, centres, sigma, strength = (torch.cat(part) for part in zip(*parts, strict=True))
    return descriptors, centres, sigma, strength


def _find_plainly(maps: Tensor, steps: tuple[Octave, ...], slots: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same by tensor functions alone."""
    space = scale_space(maps, steps)
    extrema = strongest_extrema(space, slots, CONTRAST)
    if maps.device.type == "cpu":  # a look that waits for nothing here, and most slots are empty on small maps
        used = int((extrema.strength > 0).sum(1).max())
        extrema = Extrema(*(part[:, :used] for part in extrema))
    column, row, sigma = locate(space, extrema)
    descriptors = describe(space, extrema, column, row, sigma)
    # The first octave has twice the grid's resolution.
    scale = torch.exp2(extrema.octave - 1.0)
    centres = torch.stack([column, row], -1) * scale.unsqueeze(-1)
    empty = slots - descriptors.shape[1]
    wide = (pad(part, (0, 0, 0, empty)) for part in (descriptors, centres))
    flat = (pad(part, (0, empty)) for part in (sigma * scale, extrema.strength))
    return *wide, *flat  # type: ignore[return-value]


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
        map_a: Shape (height, width).
        map_b: The other, of any size.
        num_features: Largest number of key points a map.
        ratio: As in :func:`mutual_matches`.
        tolerance: As in :func:`match_scores`.
        min_size: As in :func:`map_grid`.
        max_size: As in :func:`map_grid`.

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
