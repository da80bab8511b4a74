"""The network of minima and maxima that takes running medians, as a table for a compiled loop to follow."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class MedianNetwork(NamedTuple):
    """Steps that take the medians of all windows of a strip of values.

    Attributes:
        steps: One step a row, int32, shape ``(steps, 5)``. ``0, a, b, c, d`` puts the smaller of rows a and b into row
            c and the larger into d; ``1, x, low, high, y`` puts x, clamped between low and high, into row y.
        results: The rows that hold the medians in the end, int32, shape ``(n_medians,)``.
        n_inputs: Rows 0 … ``n_inputs - 1`` hold the values at first.
        n_rows: Rows needed; a row is used again once nothing needs its values any more.
    """

    steps: NDArray[np.int32]
    results: NDArray[np.int32]
    n_inputs: int
    n_rows: int


def has_network(kernel_size: int) -> bool:
    r"""Return whether windows of this size have a network: 3, 7, 15, 31, …, 2\ :sup:`m` − 1."""
    return kernel_size >= 3 and kernel_size & (kernel_size + 1) == 0


@lru_cache(maxsize=8)
def median_network(kernel_size: int, n_medians: int) -> MedianNetwork:
    r"""Write the network of `median_filter` down as a table, about 13 steps a median for windows of 31.

    Args:
        kernel_size: Values of a window, 2\ :sup:`m` − 1.
        n_medians: Medians of neighbouring windows to take, a multiple of ``(kernel_size + 1) // 2``.

    Returns:
        The steps from ``n_medians + kernel_size - 1`` values to ``n_medians`` medians. The arrays are shared: do not
        write to them.

    Raises:
        ValueError: If the sizes have no network.

    Example:
        >>> network = median_network(3, 2)
        >>> network.steps.tolist(), network.results.tolist()
        ([[0, 1, 2, 4, 5], [1, 0, 4, 5, 2], [1, 3, 4, 5, 0]], [2, 0])
    """
    group = (kernel_size + 1) // 2
    if not has_network(kernel_size) or n_medians < group or n_medians % group:
        raise ValueError(
            f"kernel_size must be 2^m - 1, at least 3, and n_medians a multiple of {group}; found {kernel_size} and "
            f"{n_medians}."
        )
    draft = _Draft(n_medians + kernel_size - 1)
    sorted_blocks = [[[value] for value in range(draft.n_values)]]
    while len(sorted_blocks[-1][0]) < group:
        blocks = sorted_blocks[-1]
        sorted_blocks.append([draft.merge(*pair) for pair in zip(blocks[1::2], blocks[2::2], strict=False)])
    groups = sorted_blocks.pop()[: n_medians // group]
    for blocks in reversed(sorted_blocks):
        offset = 2 * group // len(blocks[0]) - 1
        groups = [
            draft.narrow(ranks, blocks[2 * place + side]) for place, ranks in enumerate(groups) for side in (0, offset)
        ]
    return _with_rows(draft.steps, [ranks[0] for ranks in groups], n_medians + kernel_size - 1)


class _Step(NamedTuple):
    """A step of the network; every value is made once and has a number of its own."""

    kind: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Draft:
    """Steps in the order in which they are asked for."""

    def __init__(self, n_values: int) -> None:
        self.n_values = n_values
        self.steps: list[_Step] = []

    def merge(self, first: list[int], second: list[int]) -> list[int]:
        """Merge two sorted blocks into one."""
        return self._sort_bitonic(first + second[::-1])

    def narrow(self, ranks: list[int], block: list[int]) -> list[int]:
        """Take a sorted block in, and keep only the ranks that can still be the median."""
        size = len(block)
        bounds = zip(block[::-1], ranks[:size], ranks[size:], strict=True)
        return self._sort_bitonic([self._step(1, trio, 1)[0] for trio in bounds])

    def _sort_bitonic(self, values: list[int]) -> list[int]:
        half = len(values) // 2
        if not half:
            return values
        pairs = [self._step(0, pair, 2) for pair in zip(values[:half], values[half:], strict=True)]
        low, high = ([pair[side] for pair in pairs] for side in (0, 1))
        return self._sort_bitonic(low) + self._sort_bitonic(high)

    def _step(self, kind: int, inputs: tuple[int, ...], n_outputs: int) -> tuple[int, ...]:
        outputs = tuple(range(self.n_values, self.n_values + n_outputs))
        self.n_values += n_outputs
        self.steps.append(_Step(kind, inputs, outputs))
        return outputs


def _with_rows(steps: Sequence[_Step], results: list[int], n_inputs: int) -> MedianNetwork:
    """Leave out what no result needs, and give each value a row for as long as it is needed."""
    last_use = dict.fromkeys(results, len(steps))
    needed = []
    for index, step in reversed(list(enumerate(steps))):
        if any(value in last_use for value in step.outputs):
            needed.append((index, step))
            for value in (*step.inputs, *step.outputs):
                last_use.setdefault(value, index)
    row = {value: value for value in range(n_inputs)}
    free: list[int] = []
    table, n_rows = [], n_inputs
    for index, step in reversed(needed):
        values = (*step.inputs, *step.outputs)
        for value in step.outputs:
            row[value], n_rows = (free.pop(), n_rows) if free else (n_rows, n_rows + 1)
        table.append((step.kind, *(row[value] for value in values)))
        # Freed after the step, so that no step writes over what it reads.
        free.extend(sorted({row[value] for value in values if last_use[value] == index}))
    return MedianNetwork(np.array(table, np.int32), np.array([row[v] for v in results], np.int32), n_inputs, n_rows)
