"""The masks of `hpss`, compiled by numba for CPUs; equal, bit by bit, to what `hpss` computes without it.

numba is imported with this module, so only `hpss` imports it, where it is installed and the first time that it helps.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, typeof, types
from numpy.typing import NDArray
from torch import Tensor

from lightning_dissect.compiled import compile_and_keep, in_threads
from lightning_dissect.features.functional.median_network import MedianNetwork, median_network

Array = NDArray[Any]

_compile = njit(nogil=True, error_model="numpy")

_MEDIANS = 64
"""Medians that a network takes at once along the filtered axis."""

_LANES = 32
"""Neighbours for which it does so side by side: all rows of the network then fit the first-level cache."""

_TINY = np.finfo(np.float32).tiny


def compiled_masks(
    items: Tensor,
    kernels: tuple[int, int],
    margins: tuple[float, float],
    first: int,
    last: int,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the masks of some frames, for float32 on the CPU, a power of 2, and kernels of 2^m − 1 up to 127.

    Args:
        items: Magnitudes, shape ``(items, frequency, frames)``.
        kernels: Values of the median along time and along frequency.
        margins: Of the harmonic and the percussive part.
        first: The first frame.
        last: The frame after the last one.
        lengths: Valid frames of each item, or None.

    Returns:
        The masks of the harmonic and the percussive part, each of shape ``(items, frequency, last - first)``.
    """
    magnitude = items.detach().mT.contiguous().numpy()
    along_time, along_frequency = (median_network(size, _MEDIANS) for size in kernels)
    # Compiled code does not check its indices.
    n_frames = [items.shape[2]] * len(items) if lengths is None else lengths.clamp(1, items.shape[2]).tolist()
    masks = [torch.empty(len(items), last - first, items.shape[1]) for _ in range(2)]
    harmonic, percussive = (part.numpy() for part in masks)

    jobs = [(item, start) for item in range(len(items)) for start in range(0, last - first, _MEDIANS)]

    def write(part: slice) -> None:
        for item, start in jobs[part]:
            rows = slice(start, start + _MEDIANS)
            _soft_masks(
                magnitude[item],
                first + start,
                n_frames[item],
                along_time,
                along_frequency,
                np.array(margins, np.float32),
                harmonic[item, rows],
                percussive[item, rows],
            )

    in_threads(write, len(jobs))
    return masks[0].mT, masks[1].mT


_MATRIX, _NETWORK = types.float32[:, ::1], typeof(median_network(3, _MEDIANS))


@compile_and_keep(
    types.void(_MATRIX, types.intp, types.intp, _NETWORK, _NETWORK, types.float32[::1], _MATRIX, _MATRIX),
    nogil=True,
    error_model="numpy",
)
def _soft_masks(
    magnitude: Array,
    first: int,
    n_frames: int,
    along_time: MedianNetwork,
    along_frequency: MedianNetwork,
    margins: Array,
    harmonic: Array,
    percussive: Array,
) -> None:
    """Write the masks of some frames of one item, for a power of 2.

    Args:
        magnitude: The item, contiguous, shape ``(frames, bins)``.
        first: The first frame to write.
        n_frames: Valid frames of the item, at whose end the time axis is reflected.
        along_time: Network of the medians along time, `_MEDIANS` at once.
        along_frequency: Network of the medians along frequency.
        margins: Of the harmonic and the percussive part.
        harmonic: Where to write, contiguous, shape ``(frames to write, bins)``.
        percussive: The same.
    """
    _medians_along_time(magnitude, first, n_frames, along_time, harmonic)
    _medians_along_frequency(magnitude, first, along_frequency, percussive)
    margin_h, margin_p = margins
    undefined = np.float32(0.5 if margin_h == 1 and margin_p == 1 else 0.0)
    for frame in range(harmonic.shape[0]):
        for k in range(harmonic.shape[1]):
            steady, broad = harmonic[frame, k], percussive[frame, k]
            harmonic[frame, k] = _share(steady, broad * margin_h, undefined)
            percussive[frame, k] = _share(broad, steady * margin_p, undefined)


@_compile
def _share(x: Any, reference: Any, undefined: Any) -> Any:
    """Return ``x² / (x² + reference²)``, as `softmask`."""
    larger = x if x > reference else reference
    share, other = x / larger, reference / larger
    share, other = share * share, other * other
    return undefined if larger < _TINY else share / (share + other)


@_compile
def _medians_along_time(magnitude: Array, first: int, n_frames: int, network: MedianNetwork, medians: Array) -> None:
    """Write the medians of frames ``first``, ``first + 1``, …, one strip of bins after the other."""
    rows = np.empty((network.n_rows, _LANES), np.float32)
    reach = (network.n_inputs - _MEDIANS) // 2
    n_bins = magnitude.shape[1]
    for start in range(0, medians.shape[0], _MEDIANS):
        for k in range(0, n_bins, _LANES):
            lanes = min(_LANES, n_bins - k)
            for row in range(network.n_inputs):
                frame = _reflect(first + start + row - reach, n_frames)
                for lane in range(lanes):
                    rows[row, lane] = magnitude[frame, k + lane]
            _follow(network.steps, rows)
            for row in range(min(_MEDIANS, medians.shape[0] - start)):
                result = network.results[row]
                for lane in range(lanes):
                    medians[start + row, k + lane] = rows[result, lane]


@_compile
def _medians_along_frequency(magnitude: Array, first: int, network: MedianNetwork, medians: Array) -> None:
    """Write the medians of frames ``first``, ``first + 1``, …, one strip of frames after the other."""
    rows = np.empty((network.n_rows, _LANES), np.float32)
    reach = (network.n_inputs - _MEDIANS) // 2
    n_bins = magnitude.shape[1]
    for start in range(0, medians.shape[0], _LANES):
        lanes = min(_LANES, medians.shape[0] - start)
        for k in range(0, n_bins, _MEDIANS):
            for row in range(network.n_inputs):
                source = _reflect(k + row - reach, n_bins)
                for lane in range(lanes):
                    rows[row, lane] = magnitude[first + start + lane, source]
            _follow(network.steps, rows)
            for row in range(min(_MEDIANS, n_bins - k)):
                result = network.results[row]
                for lane in range(lanes):
                    medians[start + lane, k + row] = rows[result, lane]


@_compile
def _reflect(position: int, n: int) -> int:
    """Map a position beyond ``0 … n - 1`` into that range, as `median.reflect`."""
    folded = position % (2 * n)
    return min(folded, 2 * n - 1 - folded)


@_compile
def _follow(steps: Array, rows: Array) -> None:
    """Take the steps of a network (see `MedianNetwork`)."""
    for step in range(steps.shape[0]):
        kind, a, b, c, d = steps[step]
        first, second, third, fourth = rows[a], rows[b], rows[c], rows[d]
        if kind == 0:
            for lane in range(_LANES):
                x, y = first[lane], second[lane]
                third[lane] = x if x < y else y
                fourth[lane] = y if x < y else x
        else:
            for lane in range(_LANES):
                x, low, high = first[lane], second[lane], third[lane]
                x = x if x > low else low
                fourth[lane] = x if x < high else high
