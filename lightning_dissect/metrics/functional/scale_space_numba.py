"""The scale space of one map at a time on the CPU, compiled: what scale_space.py says, in tensors there.

Tests hold both ways equal.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from lightning_dissect.compiled import compile_and_keep
from lightning_dissect.metrics.functional.scale_space import BORDER, LEVELS, octaves

Array = NDArray[Any]

_compile = njit(nogil=True, fastmath=True)

_AT_ONCE = 4
"""Pixels that a blur adds up in one go."""


class Bands(NamedTuple):
    """The octaves' matrices without their zeros; octaves and levels lie one after another along the first axis.

    Attributes:
        sizes: Height and width of each octave, ``(octaves, 2)``.
        row_spans: The map rows that two rows of a level are made of, first and number, ``(6 · octaves, h / 2, 2)``.
        row_weights: What each of the two takes of them, ``(6 · octaves, h / 2, length, 2)``.
        column_spans: The same along time, ``(6 · octaves, w / 2, 2)``.
        column_weights: ``(6 · octaves, w / 2, length, 2)``.
    """

    sizes: Array
    row_spans: Array
    row_weights: Array
    column_spans: Array
    column_weights: Array


class ScaleSpaces:
    """Room for the scale spaces of maps of one size, which are computed one after another in the same place.

    A map's scale space so stays in a core's cache, and a blur reads only the pixels under it.

    Args:
        size: Height and width of the maps.
        bands: Their octaves' matrices.
    """

    def __init__(self, size: tuple[int, int], bands: Bands) -> None:
        height, width = size
        self._bands = bands
        # One line more than there are, since lines are made two by two, and some that no blur needs, but that it reads.
        self.octaves = [np.zeros((LEVELS, h + 1, w), np.float32) for h, w in bands.sizes]
        self._halves = [np.zeros((height + _AT_ONCE, w), np.float32) for _, w in bands.sizes]
        self._source = np.zeros((width + _AT_ONCE, height), np.float32)
        # Of neighbours only one is an extremum: one of each 2 by 2 pixels and 3 levels.
        self._strength = np.zeros(bands.sizes[0].prod() // 2, np.float32)
        self._place = np.zeros((len(self._strength), 4), np.int64)

    def fill(self, upright: Array) -> None:
        """Compute the scale space of one transposed map (width, height)."""
        self._source[: len(upright)] = upright
        for octave, (space, half) in enumerate(zip(self.octaves, self._halves, strict=True)):
            if octave:
                # The first levels of an octave are the last ones of the octave before, at every other pixel.
                (h, w), done = self._bands.sizes[octave], LEVELS // 2
                space[:done, :h] = self.octaves[octave - 1][done:, : 2 * h : 2, : 2 * w : 2]
            _blur(self._source, half, octave, *self._bands[1:], space)

    def strongest(self, slots: int, contrast: float) -> tuple[Array, Array]:
        """Find the strongest extrema.

        Returns:
            Their strength, shape (found,), and octave, level, row and column, shape (found, 4), the strongest first.
        """
        found = 0
        for octave, space in enumerate(self.octaves):
            found = _add_extrema(space, octave, contrast, self._strength, self._place, found)
        order = np.argsort(-self._strength[:found])[:slots]
        return self._strength[order], self._place[order]


@lru_cache(maxsize=8)
def make_bands(size: tuple[int, int], grid: tuple[int, int]) -> Bands:
    """Drop the zeros of the matrices of the octaves of maps of a size that are brought to a grid."""
    steps = octaves(size, grid, torch.device("cpu"))
    sizes = np.array([(step.rows.shape[1], step.columns.shape[2]) for step in steps])
    return Bands(
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


@compile_and_keep(
    "void(f4[:, ::1], f4[:, ::1], i8, i8[:, :, ::1], f4[:, :, :, ::1], i8[:, :, ::1], f4[:, :, :, ::1], f4[:, :, ::1])",
    nogil=True,
    fastmath=True,
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
    """Blur along time: from columns (width, height) to rows (height, w), both with more lines at the end."""
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
    """Blur along frequency: from rows (height, w) to rows ``(h, w)``, both with more lines at the end."""
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


@compile_and_keep("i8(f4[:, :, ::1], i8, f8, f4[::1], i8[:, ::1], i8)", nogil=True, fastmath=True)
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
