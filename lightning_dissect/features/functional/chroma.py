"""Pitch-class profiles."""

import math
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from lightning_dissect.features.functional.cqt import cqt
from lightning_dissect.features.functional.cqt_plan import C1
from lightning_dissect.features.functional.filters import chroma_filters
from lightning_dissect.features.functional.frames import Framing
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.spectrum import spectrogram
from lightning_dissect.features.functional.tuning import tuning_index, tuning_values


class ConstantQChroma(TypedDict, total=False):
    """How pitch classes are found in a constant-Q transform: arguments that `chroma_cqt` describes."""

    fmin: float
    threshold: float
    tuning: float | None
    n_chroma: int
    n_octaves: int
    bins_per_octave: int


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
    **framing: Unpack[Framing],
) -> Tensor:
    """Chromagram of the power spectrum, as `librosa.feature.chroma_stft`, each item on its own.

    Args:
        S: Power spectrograms instead of ``y``, shape ``(..., frequency, frames)``.
        n_chroma: Pitch classes of an octave, the first of which is C.

    Returns:
        Energy of each pitch class, shape ``(..., n_chroma, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or one is malformed.

    Example:
        >>> a4 = torch.sin(2 * torch.pi * 440 * torch.arange(22050) / 22050)
        >>> chroma_stft(a4).mean(dim=-1).argmax().item()  # C is 0
        9
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=2, lengths=lengths, **framing)
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


def chroma_cqt(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    C: Tensor | None = None,
    hop_length: int = 512,
    fmin: float = C1,
    norm: float | None = math.inf,
    threshold: float = 0.0,
    tuning: float | None = None,
    n_chroma: int = 12,
    n_octaves: int = 7,
    bins_per_octave: int = 36,
    lengths: Tensor | None = None,
) -> Tensor:
    """Chromagram of the constant-Q transform, as `librosa.feature.chroma_cqt`, each item on its own.

    Args:
        C: Constant-Q magnitudes instead of ``y``, shape ``(..., bins, frames)``.
        threshold: Energies below it count as zero.
        n_chroma: Pitch classes of an octave, the first of which is C.
        n_octaves: Number of octaves.
        bins_per_octave: Bins of an octave of the transform, a multiple of ``n_chroma``.

    Returns:
        Energy of each pitch class, shape ``(..., n_chroma, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``C`` is given, or an argument is out of range.

    Example:
        >>> a4 = torch.sin(2 * torch.pi * 440 * torch.arange(22050) / 22050)
        >>> chroma_cqt(a4).mean(dim=-1).argmax().item()  # C is 0
        9
    """
    if (y is None) == (C is None) or (C is not None and lengths is not None):
        raise ValueError("give exactly one of y (a waveform, with its lengths) and C (constant-Q magnitudes).")
    if C is None:
        assert y is not None
        C = cqt(
            y,
            sr=sr,
            hop_length=hop_length,
            fmin=fmin,
            n_bins=n_octaves * bins_per_octave,
            bins_per_octave=bins_per_octave,
            tuning=tuning,
            lengths=lengths,
        ).abs()
    fold = cqt_to_chroma(C.shape[-2], bins_per_octave=bins_per_octave, n_chroma=n_chroma, fmin=fmin)
    chroma = fold.to(C) @ C
    return normalize(torch.where(chroma < threshold, 0.0, chroma), norm=norm, dim=-2)


def cqt_to_chroma(n_bins: int, *, bins_per_octave: int = 36, n_chroma: int = 12, fmin: float = C1) -> Tensor:
    """Return the matrix that adds up constant-Q bins of the same pitch class, shape ``(n_chroma, n_bins)``, float64."""
    if bins_per_octave % n_chroma:
        raise ValueError(f"bins_per_octave must be a multiple of n_chroma ({n_chroma}), found {bins_per_octave}.")
    merged = bins_per_octave // n_chroma
    first = round((12 * math.log2(fmin / 440) + 69) % 12 * n_chroma / 12)
    classes = (torch.arange(n_bins) % bins_per_octave + merged // 2) // merged + first
    return (classes % n_chroma == torch.arange(n_chroma)[:, None]).double()


def tonnetz(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    chroma: Tensor | None = None,
    hop_length: int = 512,
    lengths: Tensor | None = None,
    **options: Unpack[ConstantQChroma],
) -> Tensor:
    """Tonal centroid, as `librosa.feature.tonnetz` (Harte et al. 2006).

    Args:
        chroma: Chromagrams instead of ``y``, of which `chroma_cqt` is taken, shape ``(..., n_chroma, frames)``.
        **options: Further arguments of `chroma_cqt`.

    Returns:
        Sine and cosine of the fifths, the minor and the major thirds, shape ``(..., 6, frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``chroma`` is given, or ``y`` is malformed.

    Example:
        >>> tonnetz(chroma=torch.eye(12)).shape
        torch.Size([6, 12])
    """
    if (y is None) == (chroma is None):
        raise ValueError("give exactly one of y (a waveform) and chroma (its chromagram).")
    if chroma is None:
        chroma = chroma_cqt(y, sr=sr, hop_length=hop_length, lengths=lengths, **options)
    n_chroma = chroma.shape[-2]
    angle = torch.arange(n_chroma, dtype=torch.float64) * (12 / n_chroma)
    scale = torch.tensor([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3], dtype=torch.float64)
    phase = scale[:, None] * angle - torch.tensor([0.5, 0.0] * 3, dtype=torch.float64)[:, None]
    radius = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    basis = radius[:, None] * torch.cos(math.pi * phase)
    return basis.to(chroma) @ normalize(chroma, norm=1, dim=-2)
