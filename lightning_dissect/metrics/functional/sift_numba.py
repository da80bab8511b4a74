"""The key points of maps on the CPU, compiled, one map after another: what sift.py does with tensor functions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_dissect.compiled import in_threads
from lightning_dissect.metrics.functional.descriptors_numba import describe_octave
from lightning_dissect.metrics.functional.scale_space_numba import ScaleSpaces, make_bands


def find_key_points(
    maps: Tensor, grid: tuple[int, int], slots: int, contrast: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find and describe the key points of maps, the strongest first.

    Args:
        maps: In [0, 1], shape (maps, height, width), on the CPU.
        grid: Height and width that the maps are brought to.
        slots: Key points a map.
        contrast: Weakest difference of Gaussians that counts.

    Returns:
        Descriptors (maps, slots, 128), centres on the grid (maps, slots, 2), their blur on the grid (maps, slots),
        and their strength (maps, slots), 0 in empty slots.
    """
    count, height, width = maps.shape
    bands, upright = make_bands((height, width), grid), maps.mT.contiguous().numpy()
    descriptors, centres, sigmas, strengths = (
        np.zeros((count, slots, *size), np.float32) for size in ((128,), (2,), (), ())
    )

    def work(part: slice) -> None:
        spaces = ScaleSpaces((height, width), bands)
        for n in range(count)[part]:
            spaces.fill(upright[n])
            strength, place = spaces.strongest(slots, contrast)
            strengths[n, : len(strength)] = strength
            for octave, space in enumerate(spaces.octaves):
                describe_octave(space, octave, place, descriptors[n], centres[n], sigmas[n])

    in_threads(work, count)
    found = (torch.from_numpy(array) for array in (descriptors, centres, sigmas, strengths))
    return tuple(found)  # type: ignore[return-value]
