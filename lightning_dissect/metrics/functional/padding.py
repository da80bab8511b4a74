"""Which frames and points of padded clips are audio."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def valid_frames(fraction: Tensor, frames: int) -> Tensor:
    """Tell which frames of padded clips lie wholly inside the audio.

    Args:
        fraction: Part of each clip's padded length that is audio, in [0, 1], shape (clips,).
        frames: Number of frames over the padded length.

    Returns:
        Booleans, shape (clips, frames).

    Example:
        >>> import torch
        >>> valid_frames(torch.tensor([1.0, 0.6]), 4)
        tensor([[ True,  True,  True,  True],
                [ True,  True, False, False]])
    """
    ends = torch.arange(1, frames + 1, device=fraction.device) / frames
    # A fraction is a rounded ratio: rounding shall not cost a clip its last frame.
    return ends <= fraction.unsqueeze(1) + 1e-4


def valid_points(fraction: Tensor | None, values: Tensor) -> Tensor | None:
    """Tell which points of series or maps lie inside the audio, the points of a map one row after another.

    Args:
        fraction: As in `valid_frames`; None if nothing is padded.
        values: Shape (clips, rows, frames) or (clips, rows, frequency, frames).

    Returns:
        Booleans, shape (clips, points); None if nothing is padded.
    """
    if fraction is None:
        return None
    return valid_frames(fraction, values.shape[-1]).repeat(1, math.prod(values.shape[2:-1]))
