"""Loudness of a frame: Stevens' power law and the root mean square."""

import torch
from torch import Tensor

from lightning_dissect.features.functional.spectrum import as_waveform, check_framing, frame, frame_mask, trim

__all__ = ["loudness_stevens", "rms"]


def loudness_stevens(
    y: Tensor, *, frame_length: int = 2048, hop_length: int = 512, lengths: Tensor | None = None
) -> Tensor:
    """Loudness by Stevens' power law: the energy of a frame to the power 0.67, as Essentia's `Loudness`.

    The energy is a sum, not a mean, so the loudness depends on the length of the frame.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        frame_length: Samples of a frame.
        hop_length: Samples between frames.
        lengths: Valid samples of each clip, shape ``(...)``.

    Returns:
        Loudness, not negative, shape ``(..., frames)``; frame t is centred at sample ``t * hop_length``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or an argument is out of range.

    Example:
        >>> round(loudness_stevens(torch.ones(4096), frame_length=1024)[2].item(), 2)
        103.97
    """
    return _energy(y, frame_length, hop_length, lengths) ** 0.67


def rms(y: Tensor, *, frame_length: int = 2048, hop_length: int = 512, lengths: Tensor | None = None) -> Tensor:
    """Root mean square of each frame, as `librosa.feature.rms` (without its axis of one row).

    Args:
        y: Waveforms, shape ``(..., samples)``.
        frame_length: Samples of a frame.
        hop_length: Samples between frames.
        lengths: Valid samples of each clip, shape ``(...)``.

    Returns:
        Root mean squares, shape ``(..., frames)``; frame t is centred at sample ``t * hop_length``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or an argument is out of range.

    Example:
        >>> rms(torch.ones(4096))[4].item()
        1.0
    """
    return (_energy(y, frame_length, hop_length, lengths) / frame_length).sqrt()


def _energy(y: Tensor, frame_length: int, hop_length: int, lengths: Tensor | None) -> Tensor:
    """Sum of squares of each frame, zero past each item's own frames."""
    y = as_waveform(y)
    check_framing(frame_length, hop_length)
    energy = frame(trim(y, lengths).square(), frame_length, hop_length).sum(dim=-1)
    if lengths is None:
        return energy
    return torch.where(frame_mask(1 + lengths.to(torch.int64) // hop_length, energy.shape[-1]), energy, 0.0)
