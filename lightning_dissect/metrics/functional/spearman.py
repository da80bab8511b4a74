"""Spearman's rank correlation of units with feature rows, over clips or within them."""

from __future__ import annotations

from torch import Tensor

from lightning_dissect.metrics.functional.pearson import pearson_within_clips
from lightning_dissect.metrics.functional.ranks import ranks


def spearman_over_clips(activations: Tensor, features: Tensor) -> Tensor:
    """Spearman's rank correlation of every unit with every feature row over clips.

    Args:
        activations: One value a clip, shape (clips, units).
        features: One value a clip, shape (clips, rows).

    Returns:
        Correlations in [-1, 1], shape (units, rows), as ``scipy.stats.spearmanr``; NaN for constants, for what is not
        finite and with fewer than four clips.

    Example:
        >>> import torch
        >>> loudness = torch.tensor([[1.0], [2.0], [4.0], [3.0]])
        >>> spearman_over_clips(loudness.exp(), loudness).round(decimals=3)
        tensor([[1.]])
    """
    return spearman_within_clips(activations.T.unsqueeze(0), features.T.unsqueeze(0))[0]


def spearman_within_clips(activations: Tensor, features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Spearman's rank correlation of every unit with every feature row over the frames of each clip.

    Args:
        activations: Shape (clips, units, frames).
        features: Shape (clips, rows, frames).
        mask: Valid frames, booleans (clips, frames); None if all are.

    Returns:
        Correlations in [-1, 1], shape (clips, units, rows); NaN where either is constant or not finite within the clip,
        and with fewer than four valid frames.

    Example:
        >>> import torch
        >>> envelope = torch.tensor([[[0.0, 1.0, 3.0, 2.0, 5.0]]])
        >>> spearman_within_clips(-envelope.exp(), envelope).round(decimals=3)
        tensor([[[-1.]]])
    """
    return pearson_within_clips(ranks(activations, mask), ranks(features, mask), mask)
