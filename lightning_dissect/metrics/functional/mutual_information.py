"""Mutual information of units and feature rows, from ranks put into bins."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.ranks import ranks

POINTS_A_BIN = 4
"""With fewer points than this times the bins nothing is said."""


def mutual_information(activations: Tensor, features: Tensor, mask: Tensor | None = None, bins: int = 4) -> Tensor:
    """Mutual information of every unit with every feature row over the frames of each clip, in nats.

    Each series is cut into bins of equally many points (equal values stay together), and the information is that of the
    table of counts. Nothing is taken off for the bias of about `(bins - 1)**2 / (2 frames)` that independent series
    show,
    too: a comparison with other clips' features does that.

    Args:
        activations: Shape (clips, units, frames).
        features: Shape (clips, rows, frames).
        mask: Valid frames, booleans (clips, frames); None if all are.
        bins: Number of bins.

    Returns:
        Information in [0, log(bins)], shape (clips, units, rows), as ``sklearn.metrics.mutual_info_score`` of the bins;
        NaN where either is constant or not finite within the clip, and with fewer than ``4 * bins`` valid frames.

    Example:
        >>> import torch
        >>> envelope = torch.arange(32.0).view(1, 1, 32)
        >>> mutual_information((envelope - 15.5).square(), envelope, bins=4)
        tensor([[[0.6931]]])
    """
    x, f = (bin_ranks(ranks(values.float(), mask), mask, bins) for values in (activations, features))
    return information(joint_counts(x, f, bins))


def bin_ranks(ranked: Tensor, mask: Tensor | None, bins: int) -> Tensor:
    """Put ranks from 1 to the number of valid points into bins of equally many.

    Args:
        ranked: Shape (clips, series, frames).
        mask: Valid frames (clips, frames); None if all are.
        bins: Number of bins.

    Returns:
        Bins from 0 on, of the same shape and type; NaN at invalid points, and throughout undefined series.
    """
    n = torch.full_like(ranked[:, :1, :1], ranked.shape[-1])
    if mask is not None:
        n = mask.sum(-1, dtype=ranked.dtype).view(-1, 1, 1)
        ranked = ranked.masked_fill(~mask.unsqueeze(1), torch.nan)
    # A rank in the middle of ties may be a half: ranks 1/2 to n + 1/2 are cut, so that no whole rank is on a cut.
    binned = ((ranked - 0.5) * bins / n).floor().clamp(max=bins - 1)
    return binned.where(n >= POINTS_A_BIN * bins, torch.nan)


def joint_counts(x: Tensor, f: Tensor, bins: int) -> Tensor:
    """Count the points in each pair of bins.

    Args:
        x: Bins of units (clips, units, frames), NaN where there are none.
        f: Bins of rows (clips, rows, frames).
        bins: Number of bins.

    Returns:
        Counts, shape (clips, units, rows, bins, bins), float32.
    """
    inside = torch.stack([(f == k).to(f.dtype) for k in range(bins)], 2).flatten(1, 2)
    # One bin of the units at a time, which bounds the memory.
    rows = [((x == k).to(x.dtype) @ inside.mT).unflatten(-1, (-1, bins)) for k in range(bins)]
    return torch.stack(rows, -2)


def information(counts: Tensor) -> Tensor:
    """Mutual information of tables of counts, in nats.

    Args:
        counts: Shape (..., rows, columns).

    Returns:
        Shape ``(...)``; NaN where fewer than two rows or two columns hold anything.
    """
    n = counts.sum((-2, -1), keepdim=True)
    row, column = counts.sum(-1, keepdim=True), counts.sum(-2, keepdim=True)
    defined = ((row > 0).sum(-2) > 1) & ((column > 0).sum(-1) > 1)
    total = torch.special.xlogy(counts, counts * n / (row * column).clamp(min=1))
    mean: Tensor = total.sum((-2, -1)) / n[..., 0, 0]
    return mean.clamp(min=0).where(defined[..., 0], torch.nan)


def expected_information(rows: Tensor, columns: Tensor) -> Tensor:
    """Mean mutual information of two series of bins over all permutations of one of them, in nats.

    Under permutations a cell's count is hypergeometric, and the mean of each cell's part of the information is a sum
    over the values it can have (Vinh, Epps and Bailey 2010, eq. 12).

    Args:
        rows: Points in each bin of the units, float64, shape (units, bins).
        columns: Points in each bin of the rows, float64, shape (rows, bins).

    Returns:
        Shape (units, rows), as ``sklearn.metrics.cluster.expected_mutual_information``.
    """
    n = int(rows[0].sum()) if len(rows) else 0
    a, of_a = rows.nan_to_num().unique(return_inverse=True)
    b, of_b = columns.nan_to_num().unique(return_inverse=True)
    a, b, k = a.view(-1, 1, 1), b.view(1, -1, 1), torch.arange(1, n + 1, dtype=rows.dtype)
    possible = (k <= torch.minimum(a, b)) & (k >= a + b - n) & (a > 0) & (b > 0)
    ways = _log_choose(b, k) + _log_choose(n - b, a - k) - _log_choose(torch.full_like(b, n), a)
    share = torch.where(possible, ways, -torch.inf).exp()
    cell = (share * k / n * torch.where(possible, (k * n / (a * b)).log(), 0)).sum(-1)
    mean: Tensor = cell[of_a[:, None, :, None], of_b[None, :, None, :]].sum((-2, -1))
    return mean


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
