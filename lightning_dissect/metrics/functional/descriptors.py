"""SIFT descriptors of extrema in scale space."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.scale_space import LEVELS, Extrema, ScaleSpace, sigma_at, sizes_on

CELLS = 4
ANGLES = 8
SAMPLES = 16
CELL_WIDTH = 3
CLIP = 0.2


class _Points(NamedTuple):
    """Where extrema lie in the flat scale space; each of shape (maps, slots)."""

    place: Tensor
    width: Tensor
    height: Tensor
    between_rows: Tensor
    between_levels: Tensor


def locate(space: ScaleSpace, extrema: Extrema) -> tuple[Tensor, Tensor, Tensor]:
    """Refine extrema by a parabola along each axis.

    Args:
        space: The scale space.
        extrema: Its extrema.

    Returns:
        Column, row and blur sigma, each (maps, slots), in pixels of the octave.
    """
    points = _points(space, extrema)
    steps = torch.stack([torch.ones_like(points.width), points.between_rows, points.between_levels])
    centre = _difference(space, points.place, points.between_levels)
    after = _difference(space, points.place + steps, points.between_levels)
    before = _difference(space, points.place - steps, points.between_levels)
    curvature = after + before - 2 * centre
    shift = (0.5 * (before - after) / curvature.where(curvature != 0, 1)).clamp(-0.5, 0.5)
    return extrema.column + shift[0], extrema.row + shift[1], sigma_at(extrema.level + shift[2])


def describe(space: ScaleSpace, extrema: Extrema, column: Tensor, row: Tensor, sigma: Tensor) -> Tensor:
    """Upright SIFT descriptors (Lowe 2004, section 6), as RootSIFT (Arandjelovic and Zisserman 2012).

    16 by 16 gradients around each point, weighted by a Gaussian of half the descriptor's width, vote for 8 angles in 4
    by 4 cells, linearly between neighbours; each cell is 3 sigma wide. Gradients are taken at the pixels nearest to a
    regular grid, and weighted by where these pixels are.

    Args:
        space: The scale space.
        extrema: Its extrema.
        column: Refined column, shape (maps, slots), pixels of the octave.
        row: Refined row.
        sigma: Refined blur.

    Returns:
        Descriptors of length 1, shape (maps, slots, 128).
    """
    points = _points(space, extrema)
    cell = CELL_WIDTH * sigma
    x, u, inside_x = _sample(column, cell, points.width)
    y, v, inside_y = _sample(row, cell, points.height)
    down = points.between_rows[..., None, None]
    corner = points.place - extrema.row * points.between_rows - extrema.column
    index = corner[..., None, None] + y.unsqueeze(-1) * down + x.unsqueeze(-2)
    flat = space.gaussian
    dx, dy = flat[index + 1] - flat[index - 1], flat[index + down] - flat[index - down]
    votes = orientation_votes(dy, dx)
    weight_y, weight_x = _cell_weights(v, inside_y), _cell_weights(u, inside_x)
    rows = weight_y @ votes.flatten(-2)
    histogram = weight_x.unsqueeze(-3) @ rows.unflatten(-1, (SAMPLES, ANGLES))
    return root_sift(histogram.flatten(-3))


def orientation_votes(dy: Tensor, dx: Tensor) -> Tensor:
    """Votes of gradients for 8 angles, linearly between neighbours, as a last axis of 8 (from -135 degrees on)."""
    angle = torch.atan2(dy, dx).mul_(ANGLES / (2 * math.pi)).unsqueeze(-1)
    # Distance on a circle of 8: the vote falls linearly to the neighbouring angles.
    bins = torch.arange(ANGLES, device=angle.device) - ANGLES // 2 + 1
    votes = (angle - bins).abs_().sub_(ANGLES // 2).abs_().sub_(ANGLES // 2 - 1).clamp_(min=0)
    votes *= torch.hypot(dx, dy).unsqueeze(-1)
    return votes


def _points(space: ScaleSpace, extrema: Extrema) -> _Points:
    sizes = sizes_on(space.sizes, extrema.octave.device)
    images = space.maps * sizes.prod(1)
    begin = (LEVELS * (images.cumsum(0) - images))[extrema.octave]
    height, width = sizes[extrema.octave].unbind(-1)
    rows, levels = space.maps * width, images[extrema.octave]
    item = torch.arange(space.maps, device=width.device).unsqueeze(1)
    place = begin + extrema.level * levels + extrema.row * rows + item * width + extrema.column
    return _Points(place, width, height, rows, levels)


def _difference(space: ScaleSpace, index: Tensor, between_levels: Tensor) -> Tensor:
    """Difference of Gaussians at flat indices of its lower level."""
    return space.gaussian[index + between_levels] - space.gaussian[index]


def _sample(centre: Tensor, cell: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels along one axis, their distance from the centre in cells, and whether they have both neighbours."""
    offset = (torch.arange(SAMPLES, device=centre.device) - (SAMPLES - 1) / 2) * (CELLS / SAMPLES)
    pixel = (centre.unsqueeze(-1) + offset * cell.unsqueeze(-1)).round()
    distance = (pixel - centre.unsqueeze(-1)) / cell.unsqueeze(-1)
    last = size.unsqueeze(-1) - 2
    inside = (pixel >= 1) & (pixel <= last)
    return torch.minimum(pixel.long().clamp(min=1), last), distance, inside


def _cell_weights(distance: Tensor, inside: Tensor) -> Tensor:
    """Weight of each sample in each cell of one axis, shape (maps, slots, 4, 16)."""
    centres = torch.arange(CELLS, device=distance.device) - (CELLS - 1) / 2
    linear = (1 - (distance.unsqueeze(-2) - centres.unsqueeze(-1)).abs()).clamp(min=0)
    return linear * (torch.exp(-0.5 * (distance / (CELLS / 2)).square()) * inside).unsqueeze(-2)


def root_sift(histogram: Tensor) -> Tensor:
    """Normalise histograms, shape ``(..., 128)``, clip, and take the square root of what then sums to 1."""
    tiny = torch.finfo(histogram.dtype).tiny
    clipped = (histogram / torch.linalg.vector_norm(histogram, dim=-1, keepdim=True).clamp(min=tiny)).clamp(max=CLIP)
    root: Tensor = (clipped / clipped.sum(-1, keepdim=True).clamp(min=tiny)).sqrt()
    return root
