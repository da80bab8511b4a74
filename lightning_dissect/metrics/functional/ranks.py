"""Ranks of many series at once."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Rank each series over its valid points, from 1; equal values share the mean of their ranks.

    Args:
        values: Shape (clips, series, frames).
        mask: Valid points, booleans (clips, frames); None if all are.

    Returns:
        Ranks of the same shape, float32, as ``scipy.stats.rankdata``; NaN throughout a series that is not finite at
        each valid point, and of no meaning at invalid points.

    Example:
        >>> import torch
        >>> ranks(torch.tensor([[[0.3, 7.0, 0.3, -2.0]]]))
        tensor([[[2.5000, 4.0000, 2.5000, 1.0000]]])
    """
    finite = torch.isfinite(values)
    if mask is not None:
        valid = mask.unsqueeze(1)
        # Beyond all others, invalid points change no rank.
        values, finite = values.masked_fill(~valid, torch.inf), finite | ~valid
    values = values.contiguous()
    ordered = values.sort(-1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (0.5 * (below + up_to + 1)).to(torch.float32).where(finite.all(-1, keepdim=True), torch.nan)
