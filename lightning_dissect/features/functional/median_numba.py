"""Medians of neighbouring windows on the CPU, compiled by numba; equal, bit by bit, to those of median.py.

numba is imported with this module, so only `median_filter` imports it, where it is installed and the first time that it
helps.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, typeof, types
from numpy.typing import NDArray
from torch import Tensor

from lightning_dissect.compiled import compile_and_keep, in_threads
from lightning_dissect.features.functional.median_network import MedianNetwork, median_network

__all__ = ["compiled_medians"]

Array = NDArray[Any]

_MEDIANS = 64
"""Medians that a network takes at once along the filtered axis."""

_LANES = 32
"""Neighbours for which it does so side by side: all rows of the network then fit the first-level cache."""

_MATRIX, _NETWORK = types.float32[:, ::1], typeof(median_network(3, _MEDIANS))


def compiled_medians(x: Tensor, kernel_size: int, first: int, last: int, lengths: Tensor | None) -> Tensor:
    """Return the medians ``first … last - 1`` along the middle axis.

    Args:
        x: Values, float32 on the CPU, shape ``(items, values, rest)``.
        kernel_size: 2^m − 1 values of a window, up to 127.
        first: The first median.
        last: The one after the last.
        lengths: Valid values of each item, shape ``(items,)``, or None.

    Returns:
        Shape ``(items, last - first, rest)``.
    """
    network = median_network(kernel_size, _MEDIANS)
    # Compiled code does not check its indices.
    n_values = [x.shape[1]] * len(x) if lengths is None else lengths.clamp(1, x.shape[1]).tolist()
    medians = torch.empty(len(x), last - first, x.shape[2])
    values, found = x.detach().contiguous().numpy(), medians.numpy()
    jobs = [(item, start) for item in range(len(x)) for start in range(0, last - first, _MEDIANS)]

    def work(part: slice) -> None:
        for item, start in jobs[part]:
            to = found[item, start : start + _MEDIANS]
            _take_medians(values[item], first + start, n_values[item], network, to)

    in_threads(work, len(jobs))
    return medians


@compile_and_keep(types.void(_MATRIX, types.intp, types.intp, _NETWORK, _MATRIX), nogil=True, error_model="numpy")
def _take_medians(values: Array, first: int, n_values: int, network: MedianNetwork, medians: Array) -> None:
    """Write up to `_MEDIANS` medians of windows along the first axis, one strip of the other axis after the other."""
    rows = np.empty((network.n_rows, _LANES), np.float32)
    reach = (network.n_inputs - _MEDIANS) // 2
    for k in range(0, values.shape[1], _LANES):
        lanes = min(_LANES, values.shape[1] - k)
        for row in range(network.n_inputs):
            folded = (first + row - reach) % (2 * n_values)  # the edge is reflected
            source = min(folded, 2 * n_values - 1 - folded)
            for lane in range(lanes):
                rows[row, lane] = values[source, k + lane]
        _follow(network.steps, rows)
        for row in range(medians.shape[0]):
            result = network.results[row]
            for lane in range(lanes):
                medians[row, k + lane] = rows[result, lane]


@njit(nogil=True, error_model="numpy")
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
