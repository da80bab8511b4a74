"""The descriptors of one map's key points on the CPU, compiled: what descriptors.py says, in tensors there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lightning_dissect.compiled import compile_and_keep
from lightning_dissect.metrics.functional.descriptors import ANGLES, CELL_WIDTH, CELLS, CLIP, SAMPLES
from lightning_dissect.metrics.functional.scale_space import SIGMA

Array = NDArray[Any]

_compile = njit(nogil=True, fastmath=True)

_TINY = float(np.finfo(np.float32).tiny)


@compile_and_keep("void(f4[:, :, ::1], i8, i8[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1])", nogil=True, fastmath=True)
def describe_octave(space: Array, octave: int, place: Array, descriptors: Array, centres: Array, sigmas: Array) -> None:
    """Refine and describe the extrema of an octave, each in its own slot."""
    scale = 2.0 ** (octave - 1)
    for slot in range(len(place)):
        if place[slot, 0] == octave:
            level, row, column = place[slot, 1], place[slot, 2], place[slot, 3]
            x, y, sigma = _refine(space, level, row, column)
            centres[slot, 0], centres[slot, 1], sigmas[slot] = x * scale, y * scale, sigma * scale
            _describe(space[level], x, y, sigma, descriptors[slot])


@_compile
def _refine(space: Array, level: int, row: int, column: int) -> tuple[float, float, float]:
    """Column, row and blur of an extremum by a parabola along each axis."""
    centre = _difference(space, level, row, column)
    x = _vertex(_difference(space, level, row, column - 1), centre, _difference(space, level, row, column + 1))
    y = _vertex(_difference(space, level, row - 1, column), centre, _difference(space, level, row + 1, column))
    z = _vertex(_difference(space, level - 1, row, column), centre, _difference(space, level + 1, row, column))
    return column + x, row + y, SIGMA * 2.0 ** ((level + z) / 3)


@_compile
def _difference(space: Array, level: int, row: int, column: int) -> Any:
    return space[level + 1, row, column] - space[level, row, column]


@_compile
def _vertex(before: float, centre: float, after: float) -> float:
    curvature = after + before - 2 * centre
    if curvature == 0:
        curvature = 1.0
    return min(max(0.5 * (before - after) / curvature, -0.5), 0.5)


@_compile
def _describe(image: Array, x: float, y: float, sigma: float, descriptor: Array) -> None:
    """RootSIFT of a point: 16 by 16 gradients vote in 4 by 4 cells, as in descriptors.py."""
    columns, rows = np.empty(SAMPLES, np.int64), np.empty(SAMPLES, np.int64)
    across, down = np.empty((SAMPLES, 3), np.float32), np.empty((SAMPLES, 3), np.float32)
    _sample(x, CELL_WIDTH * sigma, image.shape[1], columns, across)
    _sample(y, CELL_WIDTH * sigma, len(image) - 1, rows, down)
    # One cell more on each side takes what belongs to none.
    votes = np.zeros((CELLS + 2, CELLS + 2, ANGLES), np.float32)
    for i in range(SAMPLES):
        j_row, row = int(down[i, 0]), rows[i]
        for j in range(SAMPLES):
            j_column, column = int(across[j, 0]), columns[j]
            dx = image[row, column + 1] - image[row, column - 1]
            dy = image[row + 1, column] - image[row - 1, column]
            angle = _angle(dy, dx)
            whole = int(angle)
            lower, upper = whole % ANGLES, (whole + 1) % ANGLES
            length = math.sqrt(dx * dx + dy * dy)
            second = length * (angle - whole)
            first = length - second
            for v in range(2):
                for u in range(2):
                    weight = down[i, 1 + v] * across[j, 1 + u]
                    votes[j_row + v, j_column + u, lower] += weight * first
                    votes[j_row + v, j_column + u, upper] += weight * second
    _root(votes, descriptor)


@_compile
def _sample(centre: float, cell: float, size: int, pixels: Array, weights: Array) -> None:
    """Along one axis the pixel of each sample, its lower cell, and what it gives to this and the next cell."""
    for i in range(SAMPLES):
        pixel = np.rint(centre + (i - (SAMPLES - 1) / 2) * (CELLS / SAMPLES) * cell)
        distance = (pixel - centre) / cell
        at = distance + (CELLS + 1) / 2
        lower = min(max(math.floor(at), 0), CELLS)
        pixels[i] = min(max(int(pixel), 1), size - 2)
        weight = math.exp(-0.5 * (distance / (CELLS / 2)) ** 2) if pixels[i] == pixel else 0.0
        part = min(max(at - lower, 0.0), 1.0)
        weights[i, 0], weights[i, 1], weights[i, 2] = lower, weight * (1 - part), weight * part


@_compile
def _angle(dy: float, dx: float) -> float:
    """Angle in eighths of a circle, in [0, 8], 3 to the right (Abramowitz and Stegun 1964, 4.4.49: right to 1e-5)."""
    x, y = abs(dx), abs(dy)
    ratio = min(x, y) / max(max(x, y), _TINY)
    t = ratio * ratio
    part = ratio * (0.999866 + t * (-0.3302995 + t * (0.180141 + t * (-0.085133 + t * 0.0208351)))) * (4 / math.pi)
    if y > x:
        part = 2 - part
    if dx < 0:
        part = 4 - part
    angle = 3 - part if dy < 0 else 3 + part
    return angle if angle >= 0 else angle + ANGLES


@_compile
def _root(votes: Array, descriptor: Array) -> None:
    """Normalise, clip, and take the square root of what then sums to 1."""
    square, total, k = 0.0, 0.0, 0
    for v in range(1, CELLS + 1):
        for u in range(1, CELLS + 1):
            for angle in range(ANGLES):
                square += votes[v, u, angle] ** 2
                descriptor[k] = votes[v, u, angle]
                k += 1
    norm = 1 / max(math.sqrt(square), _TINY)
    for k in range(len(descriptor)):
        descriptor[k] = min(descriptor[k] * norm, CLIP)
        total += descriptor[k]
    scale = 1 / max(total, _TINY)
    for k in range(len(descriptor)):
        descriptor[k] = math.sqrt(descriptor[k] * scale)
