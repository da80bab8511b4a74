"""The shape of each frame's spectrum in one number, or one for each octave."""

import math
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.frames import Framing
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.spectrum import fft_frequencies, spectrogram


def spectral_centroid(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    freq: Tensor | None = None,
    lengths: Tensor | None = None,
    **framing: Unpack[Framing],
) -> Tensor:
    """Mean frequency of the magnitude spectrum, as `librosa.feature.spectral_centroid` (without its axis of one row).

    Returns:
        Hz, between 0 and ``sr / 2``, shape ``(..., frames)``; 0 for silent frames.

    Raises:
        ValueError: If ``freq`` does not fit the bins, or an argument that all share is malformed.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(22050) / 22050)
        >>> 1000 < spectral_centroid(tone)[20].item() < 1010
        True
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=1, lengths=lengths, **framing)
    return torch.matmul(_frequencies(freq, sr, n_fft, S), normalize(S, norm=1, dim=-2))


def spectral_bandwidth(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    freq: Tensor | None = None,
    centroid: Tensor | None = None,
    norm: bool = True,
    p: float = 2.0,
    lengths: Tensor | None = None,
    **framing: Unpack[Framing],
) -> Tensor:
    """Spread of the magnitude spectrum around its centroid, as `librosa.feature.spectral_bandwidth`.

    Args:
        centroid: Centre of each frame in Hz, shape ``(..., frames)``; `spectral_centroid` if None.
        norm: Divide by the sum of the magnitudes.
        p: Power of the deviations; 2 gives a standard deviation.

    Returns:
        Hz, shape ``(..., frames)``; 0 for silent frames.

    Raises:
        ValueError: If ``p`` is not positive, or as `spectral_centroid`.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(22050) / 22050)
        >>> noise = torch.randn(22050)
        >>> bool(spectral_bandwidth(tone)[20] < 500 < spectral_bandwidth(noise)[20])
        True
    """
    if not p > 0:
        raise ValueError(f"p must be positive, found {p}.")
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=1, lengths=lengths, **framing)
    frequencies = _frequencies(freq, sr, n_fft, S)
    share = normalize(S, norm=1, dim=-2)
    centroid = torch.matmul(frequencies, share) if centroid is None else centroid
    deviation = (frequencies[:, None] - centroid[..., None, :]).abs()
    deviation = deviation.square() if p == 2 else deviation**p
    return ((share if norm else S) * deviation).sum(dim=-2) ** (1 / p)


def _frequencies(freq: Tensor | None, sr: float, n_fft: int, S: Tensor) -> Tensor:
    """Return the frequency of each bin of ``S``, shape ``(frequency,)``."""
    if freq is None:
        return fft_frequencies(sr, n_fft).to(S)
    if freq.shape != S.shape[-2:-1]:
        raise ValueError(f"freq must have shape ({S.shape[-2]},), one for each bin; found {tuple(freq.shape)}.")
    return freq.to(S)


def spectral_rolloff(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    freq: Tensor | None = None,
    roll_percent: float = 0.85,
    lengths: Tensor | None = None,
    **framing: Unpack[Framing],
) -> Tensor:
    """Frequency below which a share of the magnitudes lies, as `librosa.feature.spectral_rolloff`.

    Args:
        roll_percent: The share, between 0 and 1.

    Returns:
        Hz, the centre of a bin, shape ``(..., frames)``; 0 for silent frames.

    Raises:
        ValueError: If the share is out of range, or as `spectral_centroid`.

    Example:
        >>> spectral_rolloff(S=torch.ones(1025, 1)).item() / 11025
        0.8505...
    """
    if not 0 < roll_percent < 1:
        raise ValueError(f"roll_percent must be between 0 and 1, found {roll_percent}.")
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=1, lengths=lengths, **framing)
    total = _running_sums(S.detach().mT)
    threshold = roll_percent * total[..., -1:]
    below = torch.searchsorted(total, threshold).masked_fill(threshold.isnan(), 0).squeeze(-1)
    if freq is None:
        return below * (sr / n_fft)
    return _frequencies(freq, sr, n_fft, S)[below.clamp(max=S.shape[-2] - 1)]


def _running_sums(x: Tensor) -> Tensor:
    """Return the sums of all values up to each along the last axis, contiguous.

    On CPUs, float32 is added up in float32, one value after the other, as librosa does it: torch would add in float64,
    and end at the neighbouring bin now and then.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return torch.from_numpy(np.cumsum(x.numpy(), axis=-1)).contiguous()
    return x.contiguous().cumsum(dim=-1)


def spectral_flatness(
    y: Tensor | None = None,
    *,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    amin: float = 1e-10,
    power: float = 2.0,
    lengths: Tensor | None = None,
    **framing: Unpack[Framing],
) -> Tensor:
    """Geometric over arithmetic mean of the power spectrum, as `librosa.feature.spectral_flatness`.

    Args:
        amin: Smallest power that is told from zero.
        power: Exponent of the magnitudes.

    Returns:
        A ratio, near 0 for tones and 1 for silence, shape ``(..., frames)``.

    Raises:
        ValueError: If ``amin`` is not positive, or an argument that all share is malformed.

    Example:
        >>> spectral_flatness(S=torch.ones(1025, 1))
        tensor([1.])
    """
    if amin <= 0:
        raise ValueError(f"amin must be positive, found {amin}.")
    S, _ = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=1, lengths=lengths, **framing)
    powers = (S.square() if power == 2 else S**power).clamp(min=amin)
    return powers.log().mean(dim=-2).exp() / powers.mean(dim=-2)


def spectral_contrast(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    freq: Tensor | None = None,
    fmin: float = 200.0,
    n_bands: int = 6,
    quantile: float = 0.02,
    linear: bool = False,
    lengths: Tensor | None = None,
    **framing: Unpack[Framing],
) -> Tensor:
    """Peaks over valleys of each octave, in dB, as `librosa.feature.spectral_contrast` (Jiang et al. 2002).

    Args:
        fmin: Upper edge of the lowest band, in Hz.
        n_bands: Number of octaves above that.
        quantile: Share of a band's bins that make its peaks, and its valleys.
        linear: Differences of magnitudes instead of levels.

    Returns:
        dB (magnitudes if ``linear``), shape ``(..., n_bands + 1, frames)``. In dB, peaks and valleys are at most 80 dB
        below the clip's largest.

    Raises:
        ValueError: If an octave starts beyond ``sr / 2``, a band has no bins, or as `spectral_centroid`.

    Example:
        >>> spectral_contrast(torch.randn(22050)).shape
        torch.Size([7, 44])
    """
    _check_octaves(sr, fmin, n_bands, quantile)
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=1, lengths=lengths, **framing)
    frames = S.transpose(-1, -2)
    peaks, valleys = [], []
    frequencies = fft_frequencies(sr, n_fft) if freq is None else _frequencies(freq, sr, n_fft, S).cpu()
    for first, last, count in _octave_bins(frequencies, fmin, n_bands, quantile):
        band = frames[..., first : last + 1]
        peaks.append(band.topk(count, dim=-1, sorted=False).values.mean(dim=-1))
        valleys.append(band.topk(count, dim=-1, largest=False, sorted=False).values.mean(dim=-1))
    peak, valley = torch.stack(peaks, dim=-2), torch.stack(valleys, dim=-2)
    return peak - valley if linear else power_to_db(peak) - power_to_db(valley)


def _check_octaves(sr: float, fmin: float, n_bands: int, quantile: float) -> None:
    """Raise unless there can be so many octaves."""
    if n_bands < 1 or not fmin > 0 or not 0 < quantile < 1:
        raise ValueError(
            f"n_bands must be at least 1, fmin positive and quantile between 0 and 1; found {n_bands}, {fmin}, "
            f"{quantile}."
        )
    if fmin * 2 ** (n_bands - 1) >= sr / 2:
        raise ValueError(
            f"n_bands: octave {n_bands} above fmin {fmin} Hz starts beyond half the sampling rate ({sr / 2} Hz); up to "
            f"{max(math.ceil(math.log2(sr / 2 / fmin)), 0)} would fit."
        )


def _octave_bins(frequencies: Tensor, fmin: float, n_bands: int, quantile: float) -> list[tuple[int, int, int]]:
    """Return the first and last bin of each band, and how many of them make a peak.

    Bands overlap by the bin below, and all but the last leave out their top bin; it counts for the number all the same.
    """
    edges = [0.0] + [fmin * 2**octave for octave in range(n_bands + 1)]
    bands = []
    for octave in range(n_bands + 1):
        low, high = edges[octave], edges[octave + 1]
        first = int((frequencies < low).sum())
        last = int((frequencies <= high).sum()) - 1
        if last < first:
            raise ValueError(f"n_fft: {len(frequencies)} bins are too few for one between {low} and {high} Hz.")
        first -= octave > 0
        last = len(frequencies) - 1 if octave == n_bands else last
        count = max(round(quantile * (last - first + 1)), 1)
        last -= octave < n_bands
        if last < first:
            raise ValueError(f"n_fft: {len(frequencies)} bins have one between {low} and {high} Hz, two are needed.")
        bands.append((first, last, count))
    return bands
