"""Gaussian scale space of many small maps, as matrix products, and the extrema of its differences."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

LEVELS = 6
"""Gaussian images an octave: three intervals, and what their differences need around them."""

SIGMA = 1.6
_SMALLEST = 12
BORDER = 5


class Octave(NamedTuple):
    """Matrices that bring maps to one octave of the scale space.

    Attributes:
        rows: Resizing, doubling, blurring and sampling along frequency, shape (6, h, height).
        columns: The same along time, transposed, shape (6, width, w).
    """

    rows: Tensor
    columns: Tensor


class ScaleSpace(NamedTuple):
    """Scale space of maps of one size.

    Attributes:
        gaussian: All Gaussian images, flat: octave by octave (6, h, maps, w), which is what matrix products put out.
        maps: Number of maps.
        sizes: Height and width of each octave.
    """

    gaussian: Tensor
    maps: int
    sizes: tuple[tuple[int, int], ...]


class Extrema(NamedTuple):
    """The strongest extrema of the differences of Gaussians of maps, in so many slots a map, strongest first.

    Attributes:
        strength: Magnitude of the difference, 0 in empty slots, shape (maps, slots).
        octave: Shape (maps, slots), integer.
        level: 1 to 3, shape (maps, slots), integer.
        row: On the octave's grid, shape (maps, slots), integer.
        column: The same.
    """

    strength: Tensor
    octave: Tensor
    level: Tensor
    row: Tensor
    column: Tensor


def sigma_at(level: Tensor) -> Tensor:
    """Blur of a level, in pixels of its octave."""
    return SIGMA * torch.exp2(level / 3)


@lru_cache(maxsize=64)
def sizes_on(sizes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Heights and widths as a tensor, kept: sending them to a GPU would wait for it each time."""
    with torch.inference_mode(False):
        return torch.tensor(sizes, device=device)


@lru_cache(maxsize=32)
def octaves(size: tuple[int, int], grid: tuple[int, int], device: torch.device) -> tuple[Octave, ...]:
    """The octaves of maps of a size that are first brought to a grid bilinearly and then doubled (Lowe 2004).

    A blurred and sampled image is linear in the map and separable, so that each level of each octave is two small
    matrix products away from the map itself; nothing is enlarged on the way.

    Args:
        size: Height and width of the maps.
        grid: Height and width of the grid.
        device: Where the matrices shall be.
    """
    built = []
    octave = 0
    # What is kept must be of use outside inference mode too.
    with torch.inference_mode(False), torch.no_grad():
        while octave == 0 or min(2 * side >> octave for side in grid) >= _SMALLEST:
            rows, columns = (_axis(length, side, octave) for length, side in zip(size, grid, strict=True))
            built.append(Octave(rows.float().to(device), columns.mT.contiguous().float().to(device)))
            octave += 1
    return tuple(built)


def scale_space(maps: Tensor, steps: tuple[Octave, ...]) -> ScaleSpace:
    """Blur and sample maps.

    Args:
        maps: Shape (maps, height, width).
        steps: From :func:`octaves`, for maps of this size.
    """
    count, height, width = maps.shape
    sizes = tuple((step.rows.shape[1], step.columns.shape[2]) for step in steps)
    space = ScaleSpace(maps.new_empty(sum(LEVELS * count * h * w for h, w in sizes)), count, sizes)
    side_by_side = maps.transpose(0, 1).reshape(height, count * width)
    for step, octave in zip(steps, split_octaves(space), strict=True):
        half = (step.rows.flatten(0, 1) @ side_by_side).view(LEVELS, -1, width)
        torch.bmm(half, step.columns, out=octave.view(LEVELS, len(half[0]), -1))
    return space


def split_octaves(space: ScaleSpace) -> list[Tensor]:
    """Views (6, h, maps, w) of the octaves."""
    parts = space.gaussian.split([LEVELS * space.maps * h * w for h, w in space.sizes])
    return [part.view(LEVELS, h, space.maps, w) for part, (h, w) in zip(parts, space.sizes, strict=True)]


def strongest_extrema(space: ScaleSpace, slots: int, contrast: float) -> Extrema:
    """Find points where the difference of Gaussians is larger in magnitude than at its 26 neighbours.

    Args:
        space: The scale space.
        slots: Extrema a map.
        contrast: Weakest magnitude that counts, for maps of range 1.

    Returns:
        The extrema. No edge or contrast is rejected otherwise: lines are what spectrograms are made of.
    """
    blocks, corners = [], []
    for gaussian in split_octaves(space):
        peaks = _peaks(gaussian)
        height, width = (side // 2 * 2 for side in (peaks.shape[1], peaks.shape[3]))
        # Of neighbours only one is an extremum: one of each 2 by 2 pixels and 3 levels tells all.
        block = torch.cat([peaks[:, y:height:2, :, x:width:2] for y in (0, 1) for x in (0, 1)])
        value, corner = block.max(0)
        blocks.append(value.transpose(0, 1).flatten(1))
        corners.append(corner.transpose(0, 1).flatten(1))
    strength = torch.cat(blocks, 1)
    found = strength.topk(min(slots, strength.shape[1]), 1)
    # What follows reads octave, row, column and level back from the place among the blocks of all octaves.
    corner = torch.cat(corners, 1).gather(1, found.indices)
    half = sizes_on(space.sizes, corner.device) // 2
    ends = half.prod(1).cumsum(0)
    octave = torch.bucketize(found.indices, ends, right=True)
    begin = torch.cat([ends.new_zeros(1), ends])[octave]
    across = half[octave, 1]
    row, column = (found.indices - begin) // across, (found.indices - begin) % across
    pixel, level = corner // 3, corner % 3 + 1
    strong = found.values.where(found.values > contrast, 0)
    return Extrema(strong, octave, level, 2 * row + pixel // 2, 2 * column + pixel % 2)


def _peaks(gaussian: Tensor) -> Tensor:
    """Magnitude at extrema and 0 elsewhere, levels 1 to 3 of an octave: (6, h, maps, w) to (3, h, maps, w)."""
    magnitude = (gaussian[1:] - gaussian[:-1]).abs_()
    around = torch.maximum(torch.maximum(magnitude[:-2], magnitude[1:-1]), magnitude[2:])
    around = torch.maximum(torch.maximum(around[:, :-2], around[:, 1:-1]), around[:, 2:])
    around = torch.maximum(torch.maximum(around[..., :-2], around[..., 1:-1]), around[..., 2:])
    inside, cut = slice(BORDER, -BORDER), slice(BORDER - 1, 1 - BORDER)
    inner = magnitude[1:-1, inside, :, inside]
    peaks = torch.zeros_like(magnitude[1:-1])
    torch.mul(inner, inner >= around[:, cut, :, cut], out=peaks[:, inside, :, inside])
    return peaks


def resizing(length: int, side: int) -> Tensor:
    """Matrix of bilinear resizing along one axis, averaging where it shrinks, shape ``(side, length)``, float64."""
    same = torch.eye(length, dtype=torch.float64)
    if side == length:
        return same
    return interpolate(same[None, None], (side, length), mode="bilinear", antialias=True)[0, 0]


def _axis(length: int, side: int, octave: int) -> Tensor:
    """Matrices of one axis, shape ``(6, samples, length)``, float64."""
    resize = resizing(length, side)
    # A pixel of the doubled image lies on a pixel of the grid or halfway between two.
    position = torch.arange(2 * side, dtype=torch.float64) / 2
    low = position.floor().long().clamp(max=side - 1)
    share = (position - low).unsqueeze(1)
    doubled = (1 - share) * resize[low] + share * resize[(low + 1).clamp(max=side - 1)]
    centre = torch.arange(2 * side >> octave, dtype=torch.float64) * 2**octave
    # The camera's blur of half a pixel is one pixel of the doubled image.
    sigma = ((SIGMA * 2**octave * torch.exp2(torch.arange(LEVELS, dtype=torch.float64) / 3)).square() - 1).sqrt()
    reach = 2 * side
    source = torch.arange(-reach, 2 * side + reach)
    weight = torch.exp(-0.5 * ((source - centre[:, None]) / sigma[:, None, None]).square())
    # Beyond its borders the image is continued by its mirror image about the outermost pixel: what the kernel weighs
    # there is added to the pixels that are mirrored.
    mirrored = source.remainder(4 * side - 2)
    mirrored = torch.minimum(mirrored, 4 * side - 2 - mirrored)
    blur = weight.new_zeros(LEVELS, len(centre), 2 * side).index_add_(2, mirrored, weight)
    matrix = blur / blur.sum(-1, keepdim=True) @ doubled
    # Beyond 4.8 sigma: two parts in a million. As denormal numbers, far tails would slow processors down tenfold.
    matrix = matrix.where(matrix > 1e-5 * matrix.amax(-1, keepdim=True), 0)
    return matrix / matrix.sum(-1, keepdim=True)
