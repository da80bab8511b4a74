"""SIFT descriptors at regular places of maps, and how much those of two maps agree."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.descriptors import CELLS, orientation_votes, root_sift
from lightning_dissect.metrics.functional.scale_space import resizing
from lightning_dissect.metrics.functional.sift import CONTRAST, unit_range

_CELL = 4
_STEP = 2
_PIXELS_AT_ONCE = 1 << 18
_PIXELS_AT_ONCE_ON_GPU = 1 << 24


class DenseDescriptors(NamedTuple):
    """Descriptors of a batch of maps at the places of one grid.

    Attributes:
        descriptors: RootSIFT descriptors of length 1, shape (clips, units, places, 128).
        reach: Right end of what each covers, as a part of the grid's width, shape (clips, units, places).
        filled: Where the map has a shape, shape (clips, units, places); nowhere in maps that are constant or not
            finite.
    """

    descriptors: Tensor
    reach: Tensor
    filled: Tensor


def dense_descriptors(maps: Tensor, grid: tuple[int, int], min_size: int = 32) -> DenseDescriptors:
    """Describe maps at regular places by SIFT's histograms of gradients (Lowe 2004, section 6; Bosch et al. 2007).

    Each map is scaled to [0, 1] by its own range, brought to the grid, so that it is as fine as the map it meets, and
    where that is small, enlarged. Its gradients vote for 8 angles in
    cells of about 4 by 4 pixels, linearly between neighbours; a place is 4 by 4 cells, every second cell begins one,
    and its histogram is made a RootSIFT descriptor. A map has a shape at a place where the mean gradient is above
    0.001.

    Args:
        maps: Shape (clips, units, frequency, time), rows are frequency and columns time.
        grid: Height and width.
        min_size: Smallest height and width that gradients are taken at, at least 16.

    Returns:
        The descriptors.

    Example:
        >>> import torch
        >>> dense_descriptors(torch.rand(2, 3, 24, 40), (6, 10)).descriptors.shape
        torch.Size([2, 3, 9, 128])
    """
    clips, units, height, width = maps.shape
    flat, usable = unit_range(maps)
    sides = [max(min_size, side) for side in grid]
    rows, columns = (_matrices(*sizes, flat.device) for sizes in zip((height, width), grid, sides, strict=True))
    pixels = _PIXELS_AT_ONCE if flat.device.type == "cpu" else _PIXELS_AT_ONCE_ON_GPU
    parts = [_histograms(part, rows, columns) for part in flat.split(max(1, pixels // (sides[0] * sides[1])))]
    histograms = torch.cat(parts).flatten(1, 2)
    area = (CELLS * _CELL) ** 2
    filled = (histograms.sum(-1) > 2 * CONTRAST * area) & usable.view(-1, 1)
    across = len(columns[1])
    right = torch.arange(CELLS, across + 1, _STEP, device=flat.device) / across
    reach = right.repeat(filled.shape[1] // len(right)).expand(filled.shape)
    described = root_sift(histograms), reach, filled
    return DenseDescriptors(*(part.unflatten(0, (clips, units)) for part in described))


def dense_cosine(a: DenseDescriptors, b: DenseDescriptors) -> Tensor:
    """Mean cosine of the descriptors at the same places, 0 where only one map has a shape.

    Args:
        a: Descriptors of any number of maps a clip.
        b: Descriptors of 1 map a clip, of the same clips and on the same grid.

    Returns:
        Means in [0, 1], shape (clips, units); NaN where either map has no shape anywhere.
    """
    first, second = ((part.descriptors * part.filled.unsqueeze(-1)).flatten(2) for part in (a, b))
    total = (first @ second.mT).squeeze(-1)
    places = (a.filled | b.filled).sum(-1)
    defined = a.filled.any(-1) & b.filled.any(-1)
    return (total / places).where(defined, torch.nan)


def _histograms(maps: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Votes at each place of maps, shape (maps, rows, columns, 128)."""
    image = rows[0] @ maps @ columns[0].mT
    dy, dx = (torch.gradient(image, dim=axis)[0] for axis in (1, 2))
    votes = orientation_votes(2 * dy, 2 * dx).movedim(-1, 1)
    cells = rows[1] @ votes @ columns[1].mT
    places = cells.unfold(2, CELLS, _STEP).unfold(3, CELLS, _STEP)
    return places.permute(0, 2, 3, 4, 5, 1).flatten(3)


@lru_cache(maxsize=64)
def _matrices(length: int, grid: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrices of one axis: from a map by the grid to pixels ``(side, length)``, and from these to cells."""
    # What is kept must be of use outside inference mode too.
    with torch.inference_mode(False), torch.no_grad():
        number = max(CELLS, round(side / _CELL))
        width = side / number
        centres = (torch.arange(number, dtype=torch.float64) + 0.5) * width - 0.5
        shares = (1 - (torch.arange(side) - centres[:, None]).abs() / width).clamp(min=0)
        pixels = resizing(grid, side) @ resizing(length, grid)
        return pixels.float().to(device), shares.float().to(device)
