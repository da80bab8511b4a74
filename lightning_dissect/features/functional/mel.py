"""Mel spectrograms and their cepstrum."""

import math
from functools import lru_cache
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.filters import mel_filters
from lightning_dissect.features.functional.frames import Framing
from lightning_dissect.features.functional.spectrum import spectrogram


class MelBands(TypedDict, total=False):
    """Bands of a mel spectrogram: arguments that `melspectrogram` takes, too."""

    power: float
    n_mels: int
    fmin: float
    fmax: float | None
    htk: bool


class FramedMelBands(MelBands, Framing, total=False):
    """Bands of a mel spectrogram, and how its frames are cut."""


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
    **framing: Unpack[Framing],
) -> Tensor:
    """Spectrogram in mel bands, as `librosa.feature.melspectrogram`.

    Args:
        S: Spectrograms instead of ``y``, shape ``(..., frequency, frames)``; used as they are.
        power: Exponent of the magnitudes: 1 for amplitude, 2 for power.
        norm: ``slaney`` gives bands of equal area, None bands of equal height.

    Returns:
        Band levels, shape ``(..., n_mels, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or an argument is out of range.

    Example:
        >>> melspectrogram(torch.zeros(2, 22050)).shape
        torch.Size([2, 128, 44])
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=power, lengths=lengths, **framing)
    bank = mel_filters(sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm)
    return bank.to(S) @ S


def mfcc(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_mfcc: int = 20,
    norm: str | None = "ortho",
    lifter: float = 0,
    mel_norm: str | None = "slaney",
    n_fft: int = 2048,
    hop_length: int = 512,
    lengths: Tensor | None = None,
    **bands: Unpack[FramedMelBands],
) -> Tensor:
    """Mel-frequency cepstral coefficients, as `librosa.feature.mfcc` (DCT II), each item on its own.

    Args:
        S: Mel spectrograms in dB instead of ``y``, shape ``(..., n_mels, frames)``.
        n_mfcc: Number of coefficients, at most ``n_mels``.
        norm: ``ortho`` makes the cosine transform orthonormal; None leaves it as scipy has it.
        lifter: Order of the liftering ``1 + lifter / 2 · sin(π (n + 1) / lifter)``; 0 leaves it out.
        mel_norm: ``slaney`` gives bands of equal area, None bands of equal height.
        **bands: Further arguments of `melspectrogram`.

    Returns:
        Coefficients in dB, shape ``(..., n_mfcc, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or an argument is out of range.

    Example:
        >>> mfcc(torch.randn(2, 22050)).shape
        torch.Size([2, 20, 44])
    """
    if S is None:
        S = power_to_db(
            melspectrogram(y, sr=sr, n_fft=n_fft, hop_length=hop_length, norm=mel_norm, lengths=lengths, **bands)
        )
    elif y is not None or lengths is not None:
        raise ValueError("give exactly one of y (a waveform, with its lengths) and S (a mel spectrogram in dB).")
    if not 1 <= n_mfcc <= S.shape[-2]:
        raise ValueError(f"n_mfcc must be between 1 and the number of mel bands ({S.shape[-2]}), found {n_mfcc}.")
    if lifter < 0:
        raise ValueError(f"lifter must not be negative, found {lifter}.")
    if norm not in ("ortho", None):
        raise ValueError(f"norm must be 'ortho' or None, found {norm!r}.")
    coefficients = dct_matrix(n_mfcc, S.shape[-2], orthonormal=norm == "ortho").to(S) @ S
    if lifter == 0:
        return coefficients
    order = torch.arange(1, n_mfcc + 1, dtype=S.dtype, device=S.device)[:, None]
    return coefficients * (1 + lifter / 2 * torch.sin(math.pi * order / lifter))


@lru_cache(maxsize=8)
def dct_matrix(n_out: int, n_in: int, orthonormal: bool = True) -> Tensor:
    """Return the first rows of the DCT II, shape ``(n_out, n_in)``, float64. Do not write to it."""
    rows = torch.arange(n_out, dtype=torch.float64)[:, None]
    columns = torch.arange(n_in, dtype=torch.float64) + 0.5
    matrix = torch.cos(math.pi / n_in * rows * columns)
    if not orthonormal:
        return 2 * matrix
    matrix[0] /= math.sqrt(2)
    return matrix * math.sqrt(2 / n_in)
