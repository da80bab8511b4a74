"""Checks of what is given to a metric's update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_dissect.levels import Level

_AXES: dict[Level, tuple[str, ...]] = {
    "clip": ("clips", "rows"),
    "frame": ("clips", "rows", "frames"),
    "map": ("clips", "rows", "frequency", "time"),
}


def check_same_clips(activations: Tensor, features: Tensor, level: Level) -> None:
    """Raise unless both have the axes of the level and the same number of clips.

    Raises:
        ValueError: Naming the argument and the shape found.
    """
    axes = _AXES[level]
    for argument, values in (("activations", activations), ("features", features)):
        if values.ndim != len(axes):
            one_map = level == "map" and values.ndim == 3
            hint = f"; for one map a clip use {argument}.unsqueeze(1)" if one_map else ""
            raise ValueError(
                f"{argument} of shape {tuple(values.shape)} should have {len(axes)} axes ({', '.join(axes)}){hint}"
            )
    if len(activations) != len(features):
        raise ValueError(
            f"activations are of {len(activations)} clips and features of {len(features)}: both need the same"
        )


def check_fraction(fraction: Tensor | None, clips: int) -> None:
    """Raise unless there is one number a clip, or nothing is padded.

    Raises:
        ValueError: Naming the shape found.
    """
    if fraction is not None and fraction.shape != (clips,):
        raise ValueError(
            f"fraction of shape {tuple(fraction.shape)} should be of shape ({clips},): the part of each clip's padded "
            "length that is audio"
        )


def check_same_grid(activations: Tensor, features: Tensor) -> None:
    """Raise unless all axes after the rows (frames, or frequency and time) are the same.

    Raises:
        ValueError: Naming both shapes.
    """
    if activations.shape[2:] != features.shape[2:]:
        raise ValueError(
            f"activations {tuple(activations.shape)} and features {tuple(features.shape)} should end in the same "
            f"{activations.ndim - 2} axes: bring both to one grid first"
        )


def check_same_units(before: Sequence[int], now: Sequence[int]) -> None:
    """Raise if an update has another number of units or rows than those before it.

    Args:
        before: Numbers of units and rows so far; 0 before the first update.
        now: Those of this update.

    Raises:
        ValueError: Naming both.
    """
    if 0 not in before and tuple(before) != tuple(now):
        raise ValueError(
            f"units and feature rows were {tuple(before)} so far and are {tuple(now)} now: "
            "use one metric for each layer and feature, or reset() first"
        )


def full_precision(tensor: Tensor) -> torch.autocast:
    """Context in which autocast leaves float32 alone, on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)
