"""Frames: how they are cut from waveforms, and how many there are."""

from typing import TypedDict

import torch
import torch.nn.functional as nnf
from torch import Tensor


class Framing(TypedDict, total=False):
    """How frames are cut besides their length and distance: arguments that `functional` describes once for all."""

    win_length: int | None
    window: str | Tensor
    center: bool
    pad_mode: str


def frame(
    y: Tensor,
    frame_length: int,
    hop_length: int,
    *,
    center: bool = True,
    pad_mode: str = "constant",
    lengths: Tensor | None = None,
) -> Tensor:
    """Cut frames, as `librosa.util.frame`; centred ones after padding half a frame on both sides.

    Args:
        lengths: Samples after which each clip is padded, shape ``(...)``.

    Returns:
        Frames, shape ``(..., frames, frame_length)``.

    Raises:
        ValueError: If ``pad_mode`` is unknown, or an uncentred ``y`` is shorter than a frame.

    Example:
        >>> frame(torch.tensor([1.0, 2.0, 3.0]), 2, 1)
        tensor([[0., 1.],
                [1., 2.],
                [2., 3.],
                [3., 0.]])
    """
    padded, reach = pad(y, frame_length, center, pad_mode, lengths)
    return nnf.pad(padded, (reach, reach)).unfold(-1, frame_length, hop_length)


def pad(y: Tensor, frame_length: int, center: bool, pad_mode: str, lengths: Tensor | None) -> tuple[Tensor, int]:
    """Return waveforms padded for frames, and how many zeros are missing still on both sides.

    Zeros are left to the caller, who may need only some of the frames, and not a copy of the audio. The arguments are
    those of `frame`, and it raises as that does.
    """
    if pad_mode not in ("constant", "edge", "reflect"):
        raise ValueError(f"pad_mode must be constant, edge or reflect, found {pad_mode!r}.")
    if not center and y.shape[-1] < frame_length:
        raise ValueError(
            f"y must have at least the {frame_length} samples of a frame where center is False, found {y.shape[-1]}."
        )
    half = frame_length // 2 if center else 0
    if pad_mode == "constant" or not half:
        return y, half
    position = torch.arange(-half, y.shape[-1] + half, device=y.device)
    last = torch.tensor(y.shape[-1] - 1, device=y.device) if lengths is None else lengths[..., None] - 1
    if pad_mode == "reflect":
        position = last - (position.remainder((2 * last).clamp(min=1)) - last).abs()
    return y.gather(-1, torch.minimum(position, last).clamp(min=0).expand(*y.shape[:-1], -1)), 0


def frame_lengths(lengths: Tensor | None, frame_length: int, hop_length: int, *, center: bool = True) -> Tensor | None:
    """Return how many frames each clip of ``lengths`` samples has, shape of ``lengths``; None for None."""
    if lengths is None:
        return None
    padding = 2 * (frame_length // 2) if center else 0
    return (1 + (lengths.to(torch.int64).clamp(min=1) + padding - frame_length) // hop_length).clamp(min=0)
