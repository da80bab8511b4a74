"""Decibels of power."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def power_to_db(
    S: Tensor,
    *,
    ref: float | Callable[..., Tensor] = 1.0,
    amin: float = 1e-10,
    top_db: float | None = 80.0,
) -> Tensor:
    """Convert power to decibels, as `librosa.power_to_db` item by item.

    librosa takes the maximum of the whole array; here each item has its own, so that a batch equals its items.

    Args:
        S: Powers, shape ``(..., frequency, frames)``.
        ref: Power of 0 dB, or a function that finds it in each item, such as `torch.amax`: it gets ``S``, and ``dim``
            and ``keepdim``.
        amin: Smallest power that is told from zero.
        top_db: Range kept below the item's maximum, in dB; None keeps everything.

    Returns:
        Decibels, shape of ``S``.

    Raises:
        ValueError: If ``amin`` or ``ref`` is not positive, or ``top_db`` is negative.

    Example:
        >>> power_to_db(torch.tensor([[1.0, 0.1, 1e-12]]))
        tensor([[  0., -10., -80.]])
    """
    if amin <= 0 or (not callable(ref) and ref <= 0):
        raise ValueError(f"amin and ref must be positive, found {amin} and {ref}.")
    item = (-2, -1)
    level = 10 * torch.log10(S.clamp(min=amin))
    if callable(ref):
        level = level - 10 * torch.log10(ref(S, dim=item, keepdim=True).clamp(min=amin))
    else:
        level = level - 10 * math.log10(max(amin, ref))
    if top_db is None:
        return level
    if top_db < 0:
        raise ValueError(f"top_db must not be negative, found {top_db}.")
    return torch.maximum(level, level.amax(dim=item, keepdim=True) - top_db)
