"""Pearson's correlation of units with feature rows, over clips or within them."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import (
    MIN_CLIPS,
    CrossMoments,
    correlation,
    cross_moments_update,
)


def pearson_over_clips(activations: Tensor, features: Tensor) -> Tensor:
    """Pearson's correlation of every unit with every feature row over clips.

    Args:
        activations: One value a clip, shape (clips, units).
        features: One value a clip, shape (clips, rows).

    Returns:
        Correlations in [-1, 1], shape (units, rows), float64 on the CPU, as ``scipy.stats.pearsonr``; NaN for
        constants, for units that are not finite and with fewer than four clips.

    Example:
        >>> import torch
        >>> loudness = torch.tensor([[1.0], [2.0], [4.0], [3.0]])
        >>> units = torch.cat([2 * loudness - 7, torch.ones(4, 1)], dim=1)
        >>> pearson_over_clips(units, loudness)
        tensor([[1.0000],
                [   nan]], dtype=torch.float64)
    """
    moments = cross_moments_update(CrossMoments.zeros(), activations.float(), features.float())
    return correlation(CrossMoments(*(t.double().cpu() for t in moments)))


def pearson_within_clips(activations: Tensor, features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Pearson's correlation of every unit with every feature row over the frames of each clip.

    Args:
        activations: Shape (clips, units, frames).
        features: Shape (clips, rows, frames).
        mask: Valid frames, booleans (clips, frames); None if all are.

    Returns:
        Correlations in [-1, 1], shape (clips, units, rows); NaN where either is constant or not finite within the clip,
        and with fewer than four valid frames.

    Example:
        >>> import torch
        >>> envelope = torch.tensor([[[0.0, 1.0, 3.0, 2.0, 1.0]]])
        >>> pearson_within_clips(5 - envelope, envelope)
        tensor([[[-1.0000]]])
    """
    x = standardised(activations.float(), mask)
    f = standardised(features.float(), mask)
    return (x @ f.mT).clamp(-1, 1)


def standardised(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Bring each series to mean zero and length one over its valid frames.

    Args:
        values: Shape (clips, series, frames).
        mask: Valid frames (clips, frames); None if all are.

    Returns:
        The same shape, zero at invalid frames; NaN for series that are constant (up to rounding), not finite, or of
        fewer than four valid frames.
    """
    if mask is None:
        frames = values.new_full((1, 1, 1), values.shape[-1])
        mean = values.mean(-1, keepdim=True)
        deviation = values - mean
    else:
        valid = mask.unsqueeze(1)
        frames = valid.sum(-1, keepdim=True, dtype=values.dtype)
        mean = values.masked_fill(~valid, 0).sum(-1, keepdim=True) / frames
        deviation = (values - mean).masked_fill(~valid, 0)
    length = torch.linalg.vector_norm(deviation, dim=-1, keepdim=True)
    # Of the series itself, without another pass over it.
    whole = torch.hypot(length, mean * frames.sqrt())
    defined = (length > 8 * torch.finfo(torch.float32).eps * whole) & (frames >= MIN_CLIPS)
    length = length.where(defined, torch.nan)
    scaled: Tensor = deviation / length if deviation.requires_grad else deviation.div_(length)
    return scaled
