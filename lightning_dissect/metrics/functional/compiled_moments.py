"""Deviations of a batch on the CPU and their sums in one reading, compiled; moments.py says the same plainly."""

from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(nogil=True, cache=True)
def deviations(x: Array, origin: Array, dx: Array, linear: Array, square: Array) -> None:
    """Write ``x - origin`` to ``dx``, and add its sum over clips to ``linear`` and that of its square to ``square``.

    Args:
        x: values, float32, shape ``(B, U)``.
        origin: shape ``(U,)``.
        dx: shape ``(B, U)``.
        linear: shape ``(U,)``.
        square: shape ``(U,)``.
    """
    clips, units = x.shape
    # Four clips at a time: the sums are read and written a quarter as often.
    for clip in range(0, clips - 3, 4):
        for unit in range(units):
            at = origin[unit]
            a = x[clip, unit] - at
            b = x[clip + 1, unit] - at
            c = x[clip + 2, unit] - at
            d = x[clip + 3, unit] - at
            dx[clip, unit] = a
            dx[clip + 1, unit] = b
            dx[clip + 2, unit] = c
            dx[clip + 3, unit] = d
            linear[unit] += (a + b) + (c + d)
            square[unit] += (a * a + b * b) + (c * c + d * d)
    for clip in range(clips - clips % 4, clips):
        for unit in range(units):
            a = x[clip, unit] - origin[unit]
            dx[clip, unit] = a
            linear[unit] += a
            square[unit] += a * a
