"""How much of each item of a padded batch is valid."""

import torch
from torch import Tensor


def check_lengths(lengths: Tensor, shape: torch.Size, size: int, of: str) -> Tensor:
    """Return ``lengths`` as int64, one for each item of the leading axes; values are clamped to 1 … ``size``."""
    if lengths.is_floating_point() or lengths.shape != shape:
        raise ValueError(
            f"lengths must be integers of shape {tuple(shape)}, one for each item of {of}; found {lengths.dtype} of "
            f"shape {tuple(lengths.shape)}."
        )
    return lengths.to(torch.int64).clamp(1, size)


def frame_mask(lengths: Tensor, n: int) -> Tensor:
    """Return True where a position along an axis of ``n`` lies within each item's length.

    Args:
        lengths: Valid positions of each item, shape ``(...)``.
        n: Size of the axis.

    Returns:
        Booleans, shape ``(..., n)``.

    Example:
        >>> frame_mask(torch.tensor([2, 3]), 3)
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """
    return torch.arange(n, device=lengths.device) < lengths[..., None]


def trim(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero what lies past each item's length along the last axis."""
    if lengths is None:
        return y
    return torch.where(frame_mask(check_lengths(lengths, y.shape[:-1], y.shape[-1], "y"), y.shape[-1]), y, 0.0)


def trim_frames(x: Tensor, n_frames: Tensor | None) -> Tensor:
    """Zero what lies past each item's frames along the last axis.

    Args:
        x: Values, shape ``(..., frames)`` or with axes of rows before the frames.
        n_frames: Valid frames of each item, shape ``(...)``; None leaves all.

    Example:
        >>> trim_frames(torch.ones(2, 1, 3), torch.tensor([3, 1]))
        tensor([[[1., 1., 1.]],
        <BLANKLINE>
                [[1., 0., 0.]]])
    """
    if n_frames is None:
        return x
    rows = [1] * (x.dim() - n_frames.dim() - 1)
    return torch.where(frame_mask(n_frames, x.shape[-1]).view(*n_frames.shape, *rows, -1), x, 0.0)


def without_empty(y: Tensor, lengths: Tensor) -> Tensor:
    """Return NaN in place of each item, along the first axis, whose length is 0: nothing is known of it.

    Example:
        >>> without_empty(torch.zeros(2, 2), torch.tensor([2, 0]))
        tensor([[0., 0.],
                [nan, nan]])
    """
    return torch.where(lengths.to(y.device).view(-1, *[1] * (y.dim() - 1)) > 0, y, torch.nan)
