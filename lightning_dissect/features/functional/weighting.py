"""How loud the ear hears each frequency."""

import torch
from torch import Tensor

__all__ = ["A_weighting"]


def A_weighting(frequencies: Tensor, *, min_db: float | None = -80.0) -> Tensor:  # noqa: N802
    """A-weighting of frequencies (IEC 61672-1), as `librosa.A_weighting`.

    Args:
        frequencies: Hz, any shape.
        min_db: Floor in dB, or None.

    Returns:
        Weights in dB, shape of ``frequencies``.

    Example:
        >>> A_weighting(torch.tensor([100.0, 1000.0])).round(decimals=1)
        tensor([-19.1000,   0.0000])
    """
    c = [constant**2 for constant in (12194.217, 20.598997, 107.65265, 737.86223)]
    squared = frequencies.square()
    logs = 2 * torch.log10(squared) - torch.log10(squared + c[0]) - torch.log10(squared + c[1])
    logs = logs - 0.5 * torch.log10(squared + c[2]) - 0.5 * torch.log10(squared + c[3])
    weights = 2.0 + 20 * (torch.log10(torch.tensor(c[0])).to(logs) + logs)
    return weights if min_db is None else weights.clamp(min=min_db)
