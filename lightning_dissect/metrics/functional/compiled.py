"""The key points of maps on the CPU, compiled: what scale_space.py and descriptors.py say, one map after another.

A map's scale space stays in a core's cache, a blur reads only the pixels under it, and only the key points that are
there are described. Tests hold both ways equal.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from lightning_dissect.compiled import compile_and_keep
from lightning_dissect.metrics.functional.descriptors import ANGLES, CELL_WIDTH, CELLS, CLIP, SAMPLES
from lightning_dissect.metrics.functional.scale_space import BORDER, LEVELS, SIGMA, octaves

Array = NDArray[Any]

_compile = njit(nogil=True, fastmath=True)
_compile_and_keep = partial(compile_and_keep, nogil=True, fastmath=True)
"""For the functions that are called from Python."""

_TINY = float(np.finfo(np.float32).tiny)

_AT_ONCE = 4
"""Pixels that a blur adds up in one go."""


class _Bands(NamedTuple):
    """The octaves' matrices without their zeros; octaves and levels lie one after another along the first axis.

    Attributes:
        sizes: height and width of each octave, ``(octaves, 2)``.
        row_spans: the map rows that two rows of a level are made of, first and number, ``(6 · octaves, h / 2, 2)``.
        row_weights: what each of the two takes of them, ``(6 · octaves, h / 2, length, 2)``.
        column_spans: the same along time, ``(6 · octaves, w / 2, 2)``.
        column_weights: ``(6 · octaves, w / 2, length, 2)``.
    """

    sizes: Array
    row_spans: Array
    row_weights: Array
    column_spans: Array
    column_weights: Array


def find_key_points(
    maps: Tensor, grid: tuple[int, int], slots: int, contrast: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Key points of maps, the strongest first.

    Args:
        maps: in [0, 1], shape ``(N, H, W)``, on the CPU.
        grid: height and width that the maps are brought to.
        slots: key points a map.
        contrast: weakest difference of Gaussians that counts.

    Returns:
        Descriptors ``(N, slots, 128)``, centres on the grid ``(N, slots, 2)``, their blur on the grid ``(N, slots)``,
        and their strength ``(N, slots)``, 0 in empty slots.
    """
    count, height, width = maps.shape
    bands = _bands((height, width), grid)
    upright = maps.mT.contiguous().numpy()
    found = tuple(np.zeros((count, slots, *size), np.float32) for size in ((128,), (2,), (), ()))
    workers = max(1, min(torch.get_num_threads(), count))

    def work(worker: int) -> None:
        part = slice(count * worker // workers, count * (worker + 1) // workers)
        _find(upright[part], bands, contrast, *(array[part] for array in found))

    if workers == 1:
        work(0)
    else:
        # Python's threads, since the kernels let go of its lock: those of numba do not survive a fork.
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
    descriptors, centres, sigmas, strengths = (torch.from_numpy(array) for array in found)
    return descriptors, centres, sigmas, strengths


def _find(
    maps: Array,
    bands: _Bands,
    contrast: float,
    descriptors: Array,
    centres: Array,
    sigmas: Array,
    strengths: Array,
) -> None:
    """Fill the last four from transposed maps ``(N, W, H)``."""
    _, width, height = maps.shape
    sizes = bands.sizes
    # One line more than there are, since lines are made two by two, and some that no blur needs, but that it reads.
    spaces = [np.zeros((LEVELS, h + 1, w), np.float32) for h, w in sizes]
    halves = [np.zeros((height + _AT_ONCE, w), np.float32) for _, w in sizes]
    source = np.zeros((width + _AT_ONCE, height), np.float32)
    # Of neighbours only one is an extremum: one of each 2 by 2 pixels and 3 levels.
    strength = np.zeros(sizes[0].prod() // 2, np.float32)
    place = np.zeros((len(strength), 4), np.int64)
    for n in range(len(maps)):
        source[:width] = maps[n]
        _fill(spaces, halves, source, bands)
        found = 0
        for octave, space in enumerate(spaces):
            found = _add_extrema(space, octave, contrast, strength, place, found)
        order = np.argsort(-strength[:found])[: strengths.shape[1]]
        strengths[n, : len(order)] = strength[order]
        for octave, space in enumerate(spaces):
            _describe_octave(space, octave, place[order], descriptors[n], centres[n], sigmas[n])


def _fill(spaces: list[Array], halves: list[Array], source: Array, bands: _Bands) -> None:
    """Fill the levels of all octaves from one transposed map."""
    for octave, (space, half) in enumerate(zip(spaces, halves, strict=True)):
        if octave:
            # The first levels of an octave are the last ones of the octave before, at every other pixel.
            (h, w), done = bands.sizes[octave], LEVELS // 2
            space[:done, :h] = spaces[octave - 1][done:, : 2 * h : 2, : 2 * w : 2]
        _blur(source, half, octave, *bands[1:], space)


@lru_cache(maxsize=8)
def _bands(size: tuple[int, int], grid: tuple[int, int]) -> _Bands:
    steps = octaves(size, grid, torch.device("cpu"))
    sizes = np.array([(step.rows.shape[1], step.columns.shape[2]) for step in steps])
    return _Bands(
        sizes, *_band([step.rows.numpy() for step in steps]), *_band([step.columns.mT.numpy() for step in steps])
    )


def _band(matrices: list[Array]) -> tuple[Array, Array]:
    """Spans and weights of the rows of matrices ``(6, samples, length)``, two by two."""
    most, length = max(-(-matrix.shape[1] // 2) for matrix in matrices), matrices[0].shape[2]
    spans = np.zeros((LEVELS * len(matrices), most, 2), np.int64)
    weights = np.zeros((LEVELS * len(matrices), most, length + _AT_ONCE, 2), np.float32)
    for octave, matrix in enumerate(matrices):
        pairs = np.pad(matrix, ((0, 0), (0, matrix.shape[1] % 2), (0, 0))).reshape(LEVELS, -1, 2, length)
        used = pairs.max(2) > 0
        first, last = used.argmax(-1), length - used[..., ::-1].argmax(-1)
        place = slice(LEVELS * octave, LEVELS * (octave + 1)), slice(0, pairs.shape[1])
        spans[place] = np.stack([first, last - first], -1)
        for level, pair in np.ndindex(first.shape):
            begin, end = first[level, pair], last[level, pair]
            weights[LEVELS * octave + level, pair, : end - begin] = pairs[level, pair, :, begin:end].T
    return spans, weights


@_compile_and_keep(
    "void(f4[:, ::1], f4[:, ::1], i8, i8[:, :, ::1], f4[:, :, :, ::1], i8[:, :, ::1], f4[:, :, :, ::1], f4[:, :, ::1])"
)
def _blur(
    source: Array,
    half: Array,
    octave: int,
    row_spans: Array,
    row_weights: Array,
    column_spans: Array,
    column_weights: Array,
    space: Array,
) -> None:
    """Fill the levels of an octave; of all but the first octave, those that are not known yet."""
    for level in range(LEVELS // 2 if octave else 0, LEVELS):
        k = LEVELS * octave + level
        _blur_columns(source, column_spans[k], column_weights[k], half)
        _blur_rows(half, row_spans[k], row_weights[k], space[level])


@_compile
def _blur_columns(source: Array, spans: Array, weights: Array, half: Array) -> None:
    """Blur along time: from columns ``(W, H)`` to rows ``(H, w)``, both with more lines at the end."""
    width = half.shape[1]
    a, b = np.empty(source.shape[1], np.float32), np.empty(source.shape[1], np.float32)
    for pair in range((width + 1) // 2):
        _weigh(source, spans[pair, 0], spans[pair, 1], weights[pair], a, b)
        for y in range(len(a)):
            half[y, 2 * pair] = a[y]
        if 2 * pair + 1 < width:
            for y in range(len(b)):
                half[y, 2 * pair + 1] = b[y]


@_compile
def _blur_rows(half: Array, spans: Array, weights: Array, image: Array) -> None:
    """Blur along frequency: from rows ``(H, w)`` to rows ``(h, w)``, both with more lines at the end."""
    for pair in range(len(image) // 2):
        _weigh(half, spans[pair, 0], spans[pair, 1], weights[pair], image[2 * pair], image[2 * pair + 1])


@_compile
def _weigh(lines: Array, first: int, number: int, weights: Array, a: Array, b: Array) -> None:
    """Two weighted sums of lines, four lines at once; beyond the last the weights are 0."""
    a[:] = 0
    b[:] = 0
    for k in range(0, number, _AT_ONCE):
        p, q, r, s = lines[first + k], lines[first + k + 1], lines[first + k + 2], lines[first + k + 3]
        ap, aq, ar, as_ = weights[k, 0], weights[k + 1, 0], weights[k + 2, 0], weights[k + 3, 0]
        bp, bq, br, bs = weights[k, 1], weights[k + 1, 1], weights[k + 2, 1], weights[k + 3, 1]
        for x in range(len(a)):
            a[x] += ap * p[x] + aq * q[x] + ar * r[x] + as_ * s[x]
            b[x] += bp * p[x] + bq * q[x] + br * r[x] + bs * s[x]


@_compile_and_keep("i8(f4[:, :, ::1], i8, f8, f4[::1], i8[:, ::1], i8)")
def _add_extrema(space: Array, octave: int, contrast: float, strength: Array, place: Array, found: int) -> int:
    """Append an octave's extrema; returns how many there are in all."""
    _, lines, width = space.shape
    magnitude = np.empty((LEVELS - 1, lines, width), np.float32)
    for level in range(LEVELS - 1):
        for y in range(lines):
            above, below, to = space[level + 1, y], space[level, y], magnitude[level, y]
            for x in range(width):
                to[x] = abs(above[x] - below[x])
    candidates = np.zeros(-(-(width - 2 * BORDER) // 8) * 8, np.uint8)
    eights = candidates.view(np.uint64)
    for level in range(1, LEVELS - 2):
        for y in range(BORDER, lines - 1 - BORDER):
            _mark(magnitude, level, y, np.float32(contrast), candidates)
            for k in range(len(eights)):
                if eights[k]:
                    for x in range(8 * k + BORDER, 8 * k + BORDER + 8):
                        if candidates[x - BORDER] and found < len(strength) and _is_largest(magnitude, level, y, x):
                            strength[found] = magnitude[level, y, x]
                            place[found, 0], place[found, 1], place[found, 2], place[found, 3] = octave, level, y, x
                            found += 1
    return found


@_compile
def _mark(magnitude: Array, level: int, y: int, least: Any, candidates: Array) -> None:
    """Which pixels of a row inside the border are no smaller than six of their neighbours, and large enough."""
    line = magnitude[level, y]
    here, left, right = line[BORDER:-BORDER], line[BORDER - 1 :], line[BORDER + 1 :]
    before, after = magnitude[level, y - 1, BORDER:], magnitude[level, y + 1, BORDER:]
    finer, coarser = magnitude[level - 1, y, BORDER:], magnitude[level + 1, y, BORDER:]
    for x in range(len(here)):
        v = here[x]
        beside = (v >= left[x]) & (v >= right[x]) & (v >= before[x]) & (v >= after[x])
        candidates[x] = beside & (v >= finer[x]) & (v >= coarser[x]) & (v > least)


@_compile
def _is_largest(magnitude: Array, level: int, y: int, x: int) -> bool:
    """Whether none of the 26 neighbours is larger."""
    here = magnitude[level, y, x]
    for k in range(level - 1, level + 2):
        for j in range(y - 1, y + 2):
            for i in range(x - 1, x + 2):
                if magnitude[k, j, i] > here:
                    return False
    return True


@_compile_and_keep("void(f4[:, :, ::1], i8, i8[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1])")
def _describe_octave(
    space: Array, octave: int, place: Array, descriptors: Array, centres: Array, sigmas: Array
) -> None:
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
