"""Loudness of a frame: Stevens' power law and the root mean square."""

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_framing
from lightning_dissect.features.functional.frames import frame, frame_lengths
from lightning_dissect.features.functional.lengths import trim, trim_frames
from lightning_dissect.features.functional.spectrum import spectrogram


def loudness_stevens(
    y: Tensor, *, frame_length: int = 2048, hop_length: int = 512, lengths: Tensor | None = None
) -> Tensor:
    """Loudness by Stevens' power law: the energy of a frame to the power 0.67, as Essentia's `Loudness`.

    The energy is a sum, not a mean, so the loudness depends on the length of the frame.

    Returns:
        Loudness, not negative, shape ``(..., frames)``; frame t is centred at sample ``t * hop_length``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or an argument is out of range.

    Example:
        >>> round(loudness_stevens(torch.ones(4096), frame_length=1024)[2].item(), 2)
        103.97
    """
    return _energy(y, frame_length, hop_length, lengths=lengths) ** 0.67


def rms(
    y: Tensor | None = None,
    *,
    S: Tensor | None = None,
    frame_length: int = 2048,
    hop_length: int = 512,
    center: bool = True,
    pad_mode: str = "constant",
    lengths: Tensor | None = None,
) -> Tensor:
    """Root mean square of each frame, as `librosa.feature.rms` (without its axis of one row).

    Args:
        S: Magnitude spectrograms instead of ``y``, shape ``(..., frequency, frames)``; their frames are weighted by
            the window they were made with.

    Returns:
        Root mean squares, shape ``(..., frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, one is malformed, or an argument is out of range.

    Example:
        >>> rms(torch.ones(4096))[4].item()
        1.0
    """
    if S is None and y is not None:
        return (_energy(y, frame_length, hop_length, center, pad_mode, lengths) / frame_length).sqrt()
    S, _ = spectrogram(y, S, n_fft=frame_length, hop_length=hop_length, power=1, lengths=lengths)
    if S.shape[-2] != frame_length // 2 + 1:
        raise ValueError(
            f"S must have 1 + frame_length // 2 = {frame_length // 2 + 1} bins for frame_length {frame_length}, found "
            f"{S.shape[-2]}."
        )
    # Each bin stands for its mirror image too, which the first has not, nor the last where their number is even.
    weights = torch.full(S.shape[-2:-1], 2.0, dtype=S.dtype, device=S.device)
    weights[0] = 1.0
    if frame_length % 2 == 0:
        weights[-1] = 1.0
    return torch.matmul(weights, S.square()).sqrt() / frame_length


def _energy(
    y: Tensor,
    frame_length: int,
    hop_length: int,
    center: bool = True,
    pad_mode: str = "constant",
    lengths: Tensor | None = None,
) -> Tensor:
    """Sum of squares of each frame, zero past each item's own frames."""
    y = as_waveform(y)
    check_framing(frame_length, hop_length)
    squares = trim(y, lengths).square()
    frames = frame(squares, frame_length, hop_length, center=center, pad_mode=pad_mode, lengths=lengths)
    return trim_frames(frames.sum(dim=-1), frame_lengths(lengths, frame_length, hop_length, center=center))
