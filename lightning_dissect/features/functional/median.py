"""Median filters along one axis of a batch, equal to `scipy.ndimage.median_filter` with its default edge handling."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.median_network import has_network


def median_filter(
    x: Tensor,
    kernel_size: int,
    dim: int = -1,
    lengths: Tensor | None = None,
    span: tuple[int, int] | None = None,
) -> Tensor:
    r"""Replace each value by the median of the ``kernel_size`` values around it along one axis.

    Edges are half-sample symmetric (``d c b a | a b c d | d c b a``), also where the kernel is longer than the axis. An
    even kernel takes the rank ``kernel_size // 2`` of a window that reaches one value further back than ahead, as scipy
    does. Every result is one of the input's values, so equality with scipy is exact.

    Kernels of 2\ :sup:`m` − 1 values (31, the default of HPSS, among them) share work between neighbouring windows: the
    windows of G neighbours have ``kernel_size + 1 - G`` values in common, which are sorted once. Going down, each
    group is halved, the values that its halves have in common beyond that are merged in, and only the ranks that can
    still be the median are kept. That is a fixed network of minima and maxima, about 24 a value for 31.

    Args:
        x: Values, any shape.
        kernel_size: Number of values of the window, at least 1.
        dim: The axis to filter along.
        lengths: Valid values along ``dim`` of each item of the first axis, shape ``(x.shape[0],)``, each at least 1.
            Each item is then reflected at its own end, and what lies beyond is unspecified.
        span: Return only the medians ``first … last - 1`` along ``dim``, as if all were taken.

    Returns:
        The medians, shape and dtype of ``x``.

    Raises:
        ValueError: If ``kernel_size`` is below 1, or ``lengths`` does not fit the first axis.

    Example:
        >>> median_filter(torch.tensor([1.0, 9.0, 2.0, 3.0, 8.0]), 3)
        tensor([1., 2., 3., 3., 8.])
    """
    if kernel_size < 1:
        raise ValueError(f"kernel_size must be at least 1, found {kernel_size}.")
    dim = dim % x.dim()
    if lengths is not None and (dim == 0 or lengths.shape != x.shape[:1]):
        raise ValueError(
            f"lengths must have shape (items,) for x of shape (items, ...) filtered along a later axis; found lengths "
            f"of shape {tuple(lengths.shape)}, x of shape {tuple(x.shape)} and dim {dim}."
        )
    first, last = span or (0, x.shape[dim])
    if kernel_size == 1 or x.numel() == 0 or first == last:
        return x.narrow(dim, first, last - first).clone()
    # (items, filtered axis, rest): the network compares whole rows, so it runs along contiguous memory.
    rows = x.movedim(dim, 1) if dim else x.unsqueeze(0)
    medians = _filter_rows(rows.reshape(*rows.shape[:2], -1), kernel_size, first, last, lengths)
    medians = medians.reshape(rows.shape[0], last - first, *rows.shape[2:])
    return medians.movedim(1, dim) if dim else medians.squeeze(0)


def reflect(positions: Tensor, n: int | Tensor) -> Tensor:
    """Map positions beyond ``0 … n - 1`` into that range by half-sample symmetric reflection, period ``2 n``."""
    folded = torch.remainder(positions, 2 * n)
    return torch.minimum(folded, 2 * n - 1 - folded)


def _filter_rows(x: Tensor, kernel_size: int, first: int, last: int, lengths: Tensor | None) -> Tensor:
    """Return the medians ``first … last - 1`` along the middle axis of ``(items, values, rest)``, a piece at a time."""
    group = (kernel_size + 1) // 2
    # Minima with `out=` are not differentiable, and only 2^m - 1 values have the network.
    shared = has_network(kernel_size) and not (x.requires_grad and torch.is_grad_enabled())
    n_medians = last - first
    n_padded = (-(-n_medians // group) + 2) * group - 2 if shared else n_medians + kernel_size - 1
    positions = torch.arange(n_padded, device=x.device) + (first - kernel_size // 2)
    source = reflect(positions, x.shape[1] if lengths is None else lengths.to(positions)[:, None])
    medians = torch.empty_like(x[:, first:last])
    for piece in _pieces(x, n_padded):
        part = x[piece]
        if lengths is None:
            padded = part.index_select(1, source)
        else:
            padded = part.gather(1, source[piece[0], :, None].expand(-1, -1, part.shape[2]))
        filtered = _shared_median(padded, kernel_size) if shared else _windowed_median(padded, kernel_size)
        medians[piece] = filtered[:, :n_medians]
    return medians


def _pieces(x: Tensor, n_padded: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut ``(items, values, rest)`` into index tuples of a bounded number of values each."""
    budget = chunk_size(x.device) // n_padded
    width = min(x.shape[2], max(budget, 1))
    height = max(budget // x.shape[2], 1)
    for first in range(0, x.shape[0], height):
        for column in range(0, x.shape[2], width):
            yield slice(first, first + height), slice(None), slice(column, column + width)


def _windowed_median(x: Tensor, kernel_size: int) -> Tensor:
    """Sort every window: any kernel, differentiable, and slow."""
    windows = x.unfold(1, kernel_size, 1)
    if kernel_size % 2:
        return windows.median(dim=-1).values
    return windows.kthvalue(kernel_size // 2 + 1, dim=-1).values


def _shared_median(x: Tensor, kernel_size: int) -> Tensor:
    """Median of 2^m − 1 values by the shared network; ``x`` is padded so that it holds whole groups.

    Sorted blocks are tensors ``(ranks, items, blocks, rest)``. Blocks of s values start at s − 1, 2s − 1, …, so that
    two neighbours make one block of the next size, and every group finds the values that it needs as one block.
    """
    group = (kernel_size + 1) // 2
    n_groups = (x.shape[1] + 2) // group - 2
    sorted_blocks = [x.unsqueeze(0)]
    while sorted_blocks[-1].shape[0] < group:
        sorted_blocks.append(_merge_neighbours(sorted_blocks[-1]))
    ranks = sorted_blocks.pop()[:, :, :n_groups]
    for blocks in reversed(sorted_blocks):
        ranks = _halve_groups(ranks, blocks, 2 * group // blocks.shape[0] - 1)
    return ranks[0]


def _merge_neighbours(blocks: Tensor) -> Tensor:
    """Merge the sorted blocks 1 and 2, 3 and 4, … into blocks of twice their size."""
    size = blocks.shape[0]
    n_pairs = (blocks.shape[2] - 1) // 2
    first = blocks[:, :, 1::2][:, :, :n_pairs]
    second = blocks[:, :, 2::2].flip(0)
    merged = torch.empty((2 * size, *first.shape[1:]), dtype=blocks.dtype, device=blocks.device)
    torch.minimum(first, second, out=merged[:size])
    torch.maximum(first, second, out=merged[size:])
    return _sort_bitonic(merged, size // 2)


def _halve_groups(ranks: Tensor, blocks: Tensor, offset: int) -> Tensor:
    """Go from groups of 2h outputs to groups of h, whose own windows have one block of h values more in common.

    Of the 3h values, h can still be the median: those that a clamp of the new values between the ranks h apart leaves.
    """
    size = blocks.shape[0]
    n_groups = ranks.shape[2]
    extra = blocks.flip(0)
    kept = torch.empty((size, ranks.shape[1], 2 * n_groups, ranks.shape[3]), dtype=ranks.dtype, device=ranks.device)
    lower, upper = ranks[:size], ranks[size:]
    torch.clamp(extra[:, :, 0::2][:, :, :n_groups], lower, upper, out=kept[:, :, 0::2])
    torch.clamp(extra[:, :, offset::2][:, :, :n_groups], lower, upper, out=kept[:, :, 1::2])
    return _sort_bitonic(kept, size // 2)


def _sort_bitonic(values: Tensor, stride: int) -> Tensor:
    """Sort each run of ``2 * stride`` bitonic ranks along the first axis (Batcher 1968)."""
    while stride:
        pairs = values.view(-1, 2, stride, *values.shape[1:])
        ordered = torch.empty_like(pairs)
        torch.minimum(pairs[:, 0], pairs[:, 1], out=ordered[:, 0])
        torch.maximum(pairs[:, 0], pairs[:, 1], out=ordered[:, 1])
        values = ordered.view(values.shape)
        stride //= 2
    return values
