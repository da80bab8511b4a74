"""Euclidean distance between normalised vectors of one value a clip."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import (
    MIN_CLIPS,
    CrossMoments,
    counted_clips,
    cross_moments_update,
    standard_deviation_or_nan,
)

Normalization = Literal["l2", "zscore", "minmax"]


def euclidean_over_clips(activations: Tensor, features: Tensor, normalization: Normalization = "l2") -> Tensor:
    """Euclidean distance of every unit's vector of clips to every feature row's, each normalised over clips.

    Args:
        activations: One value a clip, shape (clips, units).
        features: One value a clip, shape (clips, rows).
        normalization: ``"l2"`` divides each vector by its length, ``"zscore"`` takes its mean away and divides by its
            population standard deviation, ``"minmax"`` maps its range to [0, 1].

    Returns:
        Distances, shape (units, rows), float64 on the CPU; NaN for constants, for units that are not finite and with
        fewer than four clips.

    Raises:
        ValueError: If the normalization is unknown.

    Example:
        >>> import torch
        >>> loudness = torch.tensor([[1.0], [2.0], [4.0], [3.0]])
        >>> euclidean_over_clips(torch.cat([loudness, 5 - loudness], dim=1), loudness, "zscore").round(decimals=2)
        tensor([[0.],
                [4.]], dtype=torch.float64)
    """
    x, f = activations.float(), features.float()
    moments = cross_moments_update(CrossMoments.zeros(), x, f)
    ranges = extremes_update(None, x, f)
    distance, _ = normalised_distance(
        CrossMoments(*(t.double().cpu() for t in moments)), ranges.double().cpu(), normalization
    )
    return distance


def check_normalization(normalization: str) -> None:
    """Raise ValueError unless the normalization is known."""
    if normalization not in get_args(Normalization):
        raise ValueError(f"normalization={normalization!r} is not one of {', '.join(get_args(Normalization))}")


def largest_distance(n: Tensor, normalization: Normalization) -> Tensor:
    """Largest distance that two vectors of ``n`` clips can have: 2 (l2), 2 sqrt(n) (zscore), sqrt(n) (minmax)."""
    if normalization == "l2":
        return torch.full_like(n, 2.0)
    return n.sqrt() * (2.0 if normalization == "zscore" else 1.0)


def normalised_distance(
    moments: CrossMoments, extremes: Tensor, normalization: Normalization, r: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Distance in closed form, and its root mean square over all pairings of the clips.

    With a and b the two vectors after normalisation, ``d**2 = |a|**2 + |b|**2 - 2 sum(a * b)``. Under a random
    pairing of clips the expectation of ``sum(a * b)`` is ``n * mean(a) * mean(b)``, all else stays.

    Args:
        moments: Moments over clips, float64.
        extremes: Lowest and highest value of the units, then of the rows, shape (2, units + rows); used by minmax.
        normalization: As in :func:`euclidean_over_clips`.
        r: Correlations to take instead of those found, shape (units, rows): what the distance would be with them.

    Returns:
        The distance and its expectation under random pairing (square root of the mean square), each (units, rows).
    """
    check_normalization(normalization)
    n = moments.n.clamp(min=1)[..., None, None]
    units = moments.cov.shape[-1]
    sd, mean = standard_deviation_or_nan(moments), moments.mean
    if normalization == "l2":
        scale = (n.squeeze(-1) * (sd.square() + mean.square())).sqrt()
    elif normalization == "zscore":
        scale, mean = sd, torch.zeros_like(mean)
    else:
        low, high = extremes.unbind(-2)
        scale, mean = (high - low).where(~sd.isnan(), torch.nan), mean - low

    def pair(values: Tensor) -> tuple[Tensor, Tensor]:
        return values[..., :units, None], values[..., None, units:]

    (sd_x, sd_f), (scale_x, scale_f) = pair(sd), pair(scale)
    (mean_x, mean_f), (variance_x, variance_f) = pair(mean / scale), pair((sd / scale).square())
    by_chance = n * (variance_x + variance_f + (mean_x - mean_f).square())
    cov = moments.cov.mT if r is None else r * n * sd_x * sd_f
    square = by_chance - 2 * cov / (scale_x * scale_f)
    enough = moments.n[..., None, None] >= MIN_CLIPS
    return (
        torch.where(enough, square.clamp(min=0).sqrt(), torch.nan),
        torch.where(enough & ~square.isnan(), by_chance.sqrt(), torch.nan),
    )


def extremes_update(extremes: Tensor | None, x: Tensor, f: Tensor) -> Tensor:
    """Lowest and highest value of each unit and each feature row over the clips that count.

    Args:
        extremes: Those so far, shape (2, units + rows); None before the first batch.
        x: Activations, shape (clips, units).
        f: Feature values, shape (clips, rows).

    Returns:
        Extremes with this batch added, infinite where no clip counts yet.
    """
    values, counted = torch.cat([x, f], dim=-1), counted_clips(x, f)
    low, high = (values.masked_fill(~counted.unsqueeze(-1), outside) for outside in (torch.inf, -torch.inf))
    low, high = low.amin(-2), high.amax(-2)
    if extremes is not None:
        before_low, before_high = extremes.unbind(-2)
        low, high = torch.minimum(before_low, low), torch.maximum(before_high, high)
    return torch.stack([low, high], -2)
