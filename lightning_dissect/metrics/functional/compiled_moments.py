"""Deviations of a batch on the CPU and its moments, in one reading, compiled; moments.py says the same plainly."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lightning_dissect.compiled import compile_and_keep

Array = NDArray[Any]


@compile_and_keep(
    "b1(f4[:, ::1], f4[:, ::1], f4[::1], f4[::1], f4[::1], f8, f4[:, ::1], f4[:, ::1], f4[:, ::1])",
    nogil=True,
    error_model="numpy",
)
def add_vectors(
    x: Array, f: Array, mean: Array, low: Array, m2: Array, n: float, dx: Array, df: Array, out: Array
) -> bool:
    """Add a batch to means and squares, and write the deviations whose product adds it to the covariance.

    All arrays are float32; the moments are those of :class:`CrossMoments`.

    Args:
        x: activations, shape ``(B, U)``.
        f: feature values, shape ``(B, F)``.
        mean: shape ``(U + F,)``, as ``low`` and ``m2``.
        low: what rounding took from the mean.
        m2: sums of squared deviations.
        n: number of clips before.
        dx: gets ``x`` less its mean before, shape ``(B, U)``.
        df: gets ``f`` less its mean after, shape ``(B, F)``.
        out: gets the new mean, low and m2, zeros before, shape ``(3, U + F)``.

    Returns:
        Whether all means are finite.
    """
    units = x.shape[1]
    linear, square = out[1], out[2]
    _deviations(x, mean[:units], low[:units], dx, linear[:units], square[:units])
    _deviations(f, mean[units:], low[units:], df, linear[units:], square[units:])
    total, sum_of_means = np.float32(n + len(x)), np.float32(0)
    for k in range(len(mean)):
        step = linear[k] / total
        if k >= units:
            for clip in range(len(df)):
                df[clip, k - units] -= step
        left = m2[k] + square[k] - total * step * step
        square[k] = np.float32(0) if left < 0 else left
        step += low[k]
        out[0, k] = mean[k] + step
        linear[k] = (mean[k] - out[0, k]) + step
        sum_of_means += out[0, k]
    return bool(np.isfinite(sum_of_means))


@njit(nogil=True)
def _deviations(x: Array, mean: Array, low: Array, dx: Array, linear: Array, square: Array) -> None:
    """Write deviations, and add their sum over clips to ``linear`` and that of their squares to ``square``."""
    clips, units = x.shape
    # Four clips at a time: the sums are read and written a quarter as often.
    for clip in range(0, clips - 3, 4):
        for unit in range(units):
            a = (x[clip, unit] - mean[unit]) - low[unit]
            b = (x[clip + 1, unit] - mean[unit]) - low[unit]
            c = (x[clip + 2, unit] - mean[unit]) - low[unit]
            d = (x[clip + 3, unit] - mean[unit]) - low[unit]
            dx[clip, unit] = a
            dx[clip + 1, unit] = b
            dx[clip + 2, unit] = c
            dx[clip + 3, unit] = d
            linear[unit] += (a + b) + (c + d)
            square[unit] += (a * a + b * b) + (c * c + d * d)
    for clip in range(clips - clips % 4, clips):
        for unit in range(units):
            a = (x[clip, unit] - mean[unit]) - low[unit]
            dx[clip, unit] = a
            linear[unit] += a
            square[unit] += a * a
