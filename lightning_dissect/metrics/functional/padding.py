"""Which frames and points of padded clips are audio."""

from __future__ import annotations

import math

from torch import Tensor

from lightning_dissect.levels import valid_frames


def valid_points(fraction: Tensor | None, values: Tensor) -> Tensor | None:
    """Tell which points of series or maps lie inside the audio, the points of a map one row after another.

    Args:
        fraction: Part of each clip's padded length that is audio, in [0, 1], shape (clips,); None if nothing is padded.
        values: Shape (clips, rows, frames) or (clips, rows, frequency, frames).

    Returns:
        Booleans, shape (clips, points); None if nothing is padded.
    """
    if fraction is None:
        return None
    return valid_frames(fraction, values.shape[-1]).repeat(1, math.prod(values.shape[2:-1]))
