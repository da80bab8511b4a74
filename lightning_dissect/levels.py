"""Levels: where a layer and a feature meet, as one value a clip, one a frame, or a map of frequency × time."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

Level = Literal["clip", "frame", "map"]
"""Where a comparison takes place. Maps can be pooled to frames, and frames to clips, never the other way."""

SMALLEST_MAP = 4
"""An activation with fewer bins or frames is no map for any metric (most ask for more); what is left is compared frame
by frame."""

FEWEST_FRAMES = 3
"""Of fewer frames there is no correlation, and no frame level."""


class Extent(NamedTuple):
    """How far the clips of a batch reach.

    Attributes:
        clips: Number of clips.
        frames: Frames of the feature bank's grid, padding included.
        fraction: The part of each clip's padded length that is audio, in [0, 1], shape (clips,); None if nothing is
            padded.
        map_clips: How many clips, from the first on, are compared at map level.
    """

    clips: int
    frames: int
    fraction: Tensor | None
    map_clips: int

    def valid(self, frames: int) -> Tensor | None:
        """Return which frames of a grid over the padded length are audio, shape (clips, frames); None if all are."""
        return None if self.fraction is None else valid_frames(self.fraction, frames)


class Levels(NamedTuple):
    """The units of a layer, or the rows of a feature, at each level that they have.

    Attributes:
        clip: Shape (clips, rows); None for a feature that meets maps only.
        frame: Shape (clips, rows, frames), or None.
        map: Of the first clips, shape (map clips, rows, frequency, time); None also for an activation of fewer than 4
            bins or frames. A feature is one row, whatever the names of its bins.
    """

    clip: Tensor | None
    frame: Tensor | None
    map: Tensor | None

    @property
    def n_rows(self) -> int:
        """Number of units or rows; a feature that meets maps only is one."""
        return next(values.shape[1] for values in self if values is not None)


def pool_activation(output: Tensor, axes: Sequence[str], extent: Extent) -> Levels:
    """Bring a layer's output to every level that it has, in float32, keeping nothing of the output itself.

    Args:
        output: What the layer put out.
        axes: What each of its axes means: ``batch``, ``unit``, and ``frequency`` and ``time`` where there are such.
        extent: The batch's.

    Raises:
        ValueError: If the axes do not fit the output, or its batch axis does not hold one item a clip.
    """
    if len(axes) != output.ndim or output.shape[axes.index("batch")] != extent.clips:
        raise ValueError(
            f"its output {tuple(output.shape)} does not read as ({', '.join(axes)}) of {extent.clips} clips. "
            "Name its axes with the argument `axes`, or dissect another layer."
        )
    order = ("batch", "unit", "frequency", "time")
    ordered = output.detach().permute([axes.index(axis) for axis in order if axis in axes])
    has_maps = ordered.ndim == 4 and min(ordered.shape[2:]) >= SMALLEST_MAP and extent.map_clips > 0
    maps = ordered[: extent.map_clips].to(torch.float32, copy=True) if has_maps else None
    if "frequency" in axes:
        ordered = ordered.mean(2, dtype=torch.float32)
    if "time" not in axes:
        return Levels(ordered.to(torch.float32, copy=True), None, None)
    frames = ordered.to(torch.float32, copy=True)
    clip = _mean_over_time(frames, extent.valid(frames.shape[-1]))
    return Levels(clip, to_frames(frames, extent.frames) if frames.shape[-1] >= FEWEST_FRAMES else None, maps)


def pool_feature(values: Tensor, level: Level, rows: Sequence[str], valid: Tensor | None, extent: Extent) -> Levels:
    """Bring a feature to every level that it has.

    One whose rows are frequency bins meets maps only: averaged over its bins, it would be how loud the clip is.

    Args:
        values: Shape (clips, rows), or (clips, rows, frames) at frame and map level.
        level: Its finest level.
        rows: Names of its rows; none if they are frequency bins.
        valid: Which frames are audio, shape (clips, frames); None if all are.
        extent: The batch's.
    """
    if level == "clip":
        return Levels(values, None, None)
    maps = values[: extent.map_clips].unsqueeze(1) if level == "map" and extent.map_clips else None
    if level == "map" and not rows:
        return Levels(None, None, maps)
    return Levels(_mean_over_time(values, valid), values, maps)


def valid_frames(fraction: Tensor, frames: int) -> Tensor:
    """Return which frames of a grid over padded clips lie wholly inside the audio.

    Args:
        fraction: The part of each clip's padded length that is audio, in [0, 1], shape (clips,).
        frames: Frames of the grid.

    Returns:
        Booleans, shape (clips, frames).

    Example:
        >>> valid_frames(torch.tensor([1.0, 0.5]), 4)
        tensor([[ True,  True,  True,  True],
                [ True,  True, False, False]])
    """
    ends = torch.arange(1, frames + 1, device=fraction.device) / frames
    # What rounding takes from a fraction takes no frame.
    return ends <= fraction[:, None] + 1e-4


def to_frames(values: Tensor, frames: int) -> Tensor:
    """Average (..., finer frames) to a coarser grid over the same clips; a grid that is no finer stays."""
    if values.shape[-1] <= frames:
        return values
    pooled: Tensor = adaptive_avg_pool1d(values.flatten(0, -2), frames)
    return pooled.reshape(*values.shape[:-1], frames)


def to_one_map(activations: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Average maps (clips, rows, frequency, time) of two grids to the coarser size along each axis."""
    bins, frames = (min(a, b) for a, b in zip(activations.shape[-2:], features.shape[-2:], strict=True))
    return _to_map(activations, bins, frames), _to_map(features, bins, frames)


def _to_map(values: Tensor, bins: int, frames: int) -> Tensor:
    """As adaptive average pooling in two dimensions, which is slow where an axis or both stay as they are."""
    values = to_frames(values, frames)
    if values.shape[-2] <= bins:
        return values
    return torch.matmul(_averages(values.shape[-2], bins, values), values)


def _averages(finer: int, coarser: int, like: Tensor) -> Tensor:
    """The matrix (coarser, finer) that averages as adaptive average pooling does."""
    places = torch.arange(finer, device=like.device)
    rows = torch.arange(coarser, device=like.device)[:, None]
    inside = (places >= rows * finer // coarser) & (places < ((rows + 1) * finer + coarser - 1) // coarser)
    averages: Tensor = inside / inside.sum(1, keepdim=True)
    return averages.to(like.dtype)


def _mean_over_time(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.mean(-1)
    inside = valid[:, None, :]
    return values.where(inside, values.new_zeros(())).sum(-1) / inside.sum(-1)
