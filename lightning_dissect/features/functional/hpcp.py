"""Harmonic pitch-class profiles (Gómez 2006), as Essentia computes them."""

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_framing, check_rate
from lightning_dissect.features.functional.frames import frame
from lightning_dissect.features.functional.lengths import trim, trim_frames

_LOWEST, _HIGHEST = 40.0, 5000.0
"""Range of the peaks that are heard, in Hz."""

_SPLIT = 500.0
"""Peaks below and above are collected and scaled to their maxima apart, in Hz."""


def hpcp(
    y: Tensor,
    *,
    sr: float = 44100,
    n_fft: int = 4096,
    hop_length: int = 2048,
    size: int = 12,
    harmonics: int = 0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Harmonic pitch-class profile, as Essentia's `Windowing` (hann), `Spectrum`, `SpectralPeaks` and `HPCP`.

    Spectral peaks between 40 and 5000 Hz vote with their energy for the nearest pitch classes. Class 0 is **A**, the
    reference frequency (librosa's chroma starts at C).

    Args:
        size: Classes of an octave, a multiple of 12.
        harmonics: Number of harmonics above the fundamental as which a peak may also be heard.

    Returns:
        Classes between 0 and 1 (each frame's largest), shape ``(..., size, frames)``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or an argument is out of range.

    Example:
        >>> a4 = torch.sin(2 * torch.pi * 440 * torch.arange(44100) / 44100)
        >>> hpcp(a4)[:, 5].argmax().item()  # A is 0
        0
    """
    check_rate(sr)
    check_framing(n_fft, hop_length)
    y = as_waveform(y)
    # Essentia's windows are symmetric and scaled to the sum 2.
    window = torch.hann_window(n_fft, periodic=False, dtype=torch.float64)
    window = (2 * window / window.sum()).to(y)
    spectrum: Tensor = torch.fft.rfft(frame(trim(y, lengths), n_fft, hop_length) * window)
    profile = hpcp_from_spectrum(spectrum.abs().transpose(-1, -2), sr=sr, size=size, harmonics=harmonics)
    return trim_frames(profile, None if lengths is None else 1 + lengths // hop_length)


def hpcp_from_spectrum(S: Tensor, *, sr: float = 44100, size: int = 12, harmonics: int = 0) -> Tensor:
    """Harmonic pitch-class profile of magnitude spectra, as Essentia's `SpectralPeaks` and `HPCP`; see `hpcp`.

    Returns:
        Classes between 0 and 1, shape ``(..., size, frames)``; 0 in frames without peaks.

    Raises:
        ValueError: If ``size`` is not a multiple of 12, or ``harmonics`` is negative.

    Example:
        >>> S = torch.zeros(2049, 1)
        >>> S[40] = 1.0  # 430.7 Hz at 44.1 kHz, a little below A4
        >>> hpcp_from_spectrum(S).squeeze().argmax().item()
        0
    """
    if size < 12 or size % 12:
        raise ValueError(f"size must be a multiple of 12, found {size}.")
    if harmonics < 0:
        raise ValueError(f"harmonics must not be negative, found {harmonics}.")
    frequency, magnitude = _peaks(S.transpose(-1, -2), sr)
    semitones = 12 * torch.log2(frequency.clamp(min=1.0) / 440)
    # So that loud bass does not hide the rest, both parts count alike.
    low = magnitude * (frequency < _SPLIT)
    parts = [_unit_maximum(_votes(semitones, part, size, harmonics)) for part in (low, magnitude - low)]
    return _unit_maximum(parts[0] + parts[1]).transpose(-1, -2)


def _peaks(S: Tensor, sr: float) -> tuple[Tensor, Tensor]:
    """Return frequency and height of the peak at each bin of ``(..., frames, bins)``; no peak has height 0."""
    step = sr / 2 / (S.shape[-1] - 1)
    first = min(math.ceil(_LOWEST / step), S.shape[-1] - 1)
    left = nnf.pad(S, (1, 0))[..., :-1]
    right = nnf.pad(S, (0, 1))[..., 1:]
    bins = torch.arange(S.shape[-1], device=S.device)
    inside = (left < S) & (right < S) & (bins > first) & (bins < S.shape[-1] - 1)
    curvature = left - 2 * S + right
    shift = torch.where(inside, 0.5 * (left - right) / torch.where(inside, curvature, -1.0), 0.0)
    height = S - 0.25 * (left - right) * shift
    # The search starts at the lowest bin, which needs no rise before it.
    peak = inside | ((bins == first) & (right < S))
    frequency = (bins + shift) * step
    return frequency, torch.where(peak & (frequency <= _HIGHEST), height, 0.0)


def _votes(semitones: Tensor, magnitude: Tensor, size: int, harmonics: int) -> Tensor:
    """Collect the energies of peaks ``(..., frames, bins)`` in pitch classes ``(..., frames, size)``."""
    profile = torch.zeros(*semitones.shape[:-1], size, dtype=magnitude.dtype, device=magnitude.device)
    # A peak votes for the classes up to half a semitone away.
    reach = math.floor(size / 24 + 0.5)
    for interval, strength in harmonic_intervals(harmonics):
        position = (semitones - interval) * (size / 12)
        nearest = position.round()
        for offset in range(-reach, reach + 1):
            distance = (position - nearest - offset) * (12 / size)
            weight = torch.where(distance.abs() <= 0.5, torch.cos(math.pi * distance), 0.0)
            energy = (magnitude * weight * strength).square()
            profile = profile.scatter_add(-1, torch.remainder(nearest + offset, size).long(), energy)
    return profile


def harmonic_intervals(harmonics: int) -> list[tuple[float, float]]:
    """Return by how many semitones a fundamental may lie below a peak (octaves aside), and how much it counts."""
    strengths: dict[float, float] = {}
    for harmonic in range(1, harmonics + 2):
        interval = round((12 * math.log2(harmonic)) % 12, 6) % 12
        strengths[interval] = strengths.get(interval, 0.0) + 1 / max(1.0, 0.5 * math.log2(harmonic))
    return list(strengths.items())


def _unit_maximum(x: Tensor) -> Tensor:
    largest = x.amax(dim=-1, keepdim=True)
    return x / torch.where(largest > 0, largest, 1.0)
