"""Mel spectrograms and their cepstrum."""

from torch import Tensor

from lightning_dissect.features.functional.filters import mel_filters
from lightning_dissect.features.functional.spectrum import spectrogram

__all__ = ["melspectrogram"]


def melspectrogram(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    power: float = 2.0,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: str | None = "slaney",
    lengths: Tensor | None = None,
) -> Tensor:
    """Spectrogram in mel bands, as `librosa.feature.melspectrogram`.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        S: Spectrograms instead of ``y``, shape ``(..., frequency, frames)``; used as they are.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        power: Exponent of the magnitudes: 1 for amplitude, 2 for power.
        n_mels: Number of bands.
        fmin: Lowest frequency in Hz.
        fmax: Highest frequency in Hz; None takes ``sr / 2``.
        htk: HTK's mel scale instead of Slaney's.
        norm: ``slaney`` gives bands of equal area, None bands of equal height.
        lengths: Valid samples of each clip (valid frames where ``S`` is given), shape ``(...)``.

    Returns:
        Band levels, shape ``(..., n_mels, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or an argument is out of range.

    Example:
        >>> import torch
        >>> melspectrogram(torch.zeros(2, 22050)).shape
        torch.Size([2, 128, 44])
    """
    S, n_fft, _ = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=power, lengths=lengths)
    bank = mel_filters(sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm)
    return bank.to(S) @ S
