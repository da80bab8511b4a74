"""Pitch-class profiles."""

import math

from torch import Tensor

from lightning_dissect.features.functional.filters import chroma_filters
from lightning_dissect.features.functional.spectrum import normalize, spectrogram
from lightning_dissect.features.functional.tuning import tuning_index, tuning_values

__all__ = ["chroma_stft"]


def chroma_stft(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    norm: float | None = math.inf,
    n_fft: int = 2048,
    hop_length: int = 512,
    tuning: float | None = None,
    n_chroma: int = 12,
    lengths: Tensor | None = None,
) -> Tensor:
    """Chromagram of the power spectrum, as `librosa.feature.chroma_stft`, each item on its own.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        S: Power spectrograms instead of ``y``, shape ``(..., frequency, frames)``.
        norm: Norm of each frame, or None.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        tuning: Deviation from A440 in fractions of a class; None estimates it for each clip.
        n_chroma: Pitch classes of an octave, the first of which is C.
        lengths: Valid samples of each clip (valid frames where ``S`` is given), shape ``(...)``.

    Returns:
        Energy of each pitch class, shape ``(..., n_chroma, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or one is malformed.

    Example:
        >>> import torch
        >>> a4 = torch.sin(2 * torch.pi * 440 * torch.arange(22050) / 22050)
        >>> chroma_stft(a4).mean(dim=-1).argmax().item()  # C is 0
        9
    """
    S, n_fft, _ = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=2, lengths=lengths)
    if tuning is not None:
        bank = chroma_filters(sr=sr, n_fft=n_fft, n_chroma=n_chroma, tuning=tuning).to(S)
    else:
        banks = tuned_chroma_filters(sr=sr, n_fft=n_fft, n_chroma=n_chroma).to(S)
        bank = banks[tuning_index(S, sr=sr, n_fft=n_fft, bins_per_octave=n_chroma)]
    return normalize(bank @ S, norm=norm, dim=-2)


def tuned_chroma_filters(*, sr: float, n_fft: int, n_chroma: int = 12) -> Tensor:
    """Return the filter banks of all tunings that can be estimated, shape ``(100, n_chroma, 1 + n_fft // 2)``.

    They are made in advance so that a batch picks each clip's bank by index, without waiting for the device.
    """
    return chroma_filters(sr=sr, n_fft=n_fft, n_chroma=n_chroma, tuning=tuple(tuning_values().tolist()))
