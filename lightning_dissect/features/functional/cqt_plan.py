"""The filters of constant-Q and variable-Q transforms, octave by octave."""

import math
from functools import lru_cache
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_framing, check_rate
from lightning_dissect.features.functional.windows import Window, window_bandwidth, window_taps

__all__ = ["C1", "CQTPlan", "Octave", "Wavelets", "cqt_frequencies", "cqt_plan", "highest_octave"]

C1 = 440 * 2 ** (-45 / 12)
"""Frequency of the note C1 in Hz, where constant-Q transforms start."""

_EAR_BANDWIDTH = 24.7 / 0.108
"""Bandwidth of the ear at 0 Hz over its growth with frequency, in Hz (Glasberg and Moore 1990)."""


class Wavelets(TypedDict, total=False):
    """The filters of constant-Q and variable-Q transforms, and how they are applied, as `cqt` and `vqt` have it.

    Attributes:
        filter_scale: Factor of the filters' lengths: below 1, they tell times apart better, and pitches worse.
        norm: Norm of each filter that becomes 1 (1, 2, infinity, …); None leaves the window's height.
        sparsity: Share of each filter's magnitude that is dropped, smallest coefficients first, from 0 to below 1.
        window: Name (hann, hamming, blackman, bartlett, ones; periodic), or a function of the number of samples.
        scale: Divide by the root of the filters' lengths, so that white noise has the same level in all bins.
        pad_mode: What lies before and past the audio: ``constant`` (zeros), ``edge`` or ``reflect``.
    """

    filter_scale: float
    norm: float | None
    sparsity: float
    window: Window
    scale: bool
    pad_mode: str


class Octave(NamedTuple):
    """The filters of one octave, and how they are applied.

    Attributes:
        filters: Spectra of the filters, shape ``(tunings, bins, width)``, complex. Octaves at half the rate
            of the one above have its filters, the same tensor.
        first_bin: The spectrum's bin at which the filters start.
        gain: Factor that makes up for the lower rate.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        halve: Whether the signal is brought to half its rate for the octave below.
    """

    filters: Tensor
    first_bin: int
    gain: float
    n_fft: int
    hop_length: int
    halve: bool


class CQTPlan(NamedTuple):
    """All that a constant-Q transform needs besides the audio.

    Attributes:
        downsample: Factor by which the signal's rate is lowered before the first octave.
        octaves: The filters, highest octave first.
        scale: Factor of each bin, shape ``(tunings, n_bins)``.
        pad_mode: What lies before and past the audio.
    """

    downsample: int
    octaves: tuple[Octave, ...]
    scale: Tensor
    pad_mode: str


def cqt_frequencies(n_bins: int, *, fmin: float = C1, bins_per_octave: int = 12, tuning: float = 0.0) -> Tensor:
    """Return the centre frequencies of a constant-Q transform in Hz, shape ``(n_bins,)``, float64.

    Example:
        >>> cqt_frequencies(3, fmin=440.0, bins_per_octave=1)
        tensor([ 440.,  880., 1760.], dtype=torch.float64)
    """
    return fmin * 2 ** ((torch.arange(n_bins, dtype=torch.float64) + tuning) / bins_per_octave)


@lru_cache(maxsize=16)
def cqt_plan(
    *,
    sr: float,
    hop_length: int,
    fmin: float,
    n_bins: int,
    bins_per_octave: int,
    tunings: tuple[float, ...],
    gamma: float | None = 0.0,
    intervals: tuple[float, ...] | None = None,
    filter_scale: float = 1.0,
    norm: float | None = 1.0,
    sparsity: float = 0.01,
    window: Window = "hann",
    scale: bool = True,
    pad_mode: str = "constant",
) -> CQTPlan:
    """Make the filters of a constant-Q transform, for one or more tunings.

    Args:
        sr: Sampling rate in Hz.
        hop_length: Samples between frames.
        fmin: Lowest frequency in Hz.
        n_bins: Number of bins.
        bins_per_octave: Bins of an octave.
        tunings: Deviations from A440 in fractions of a bin.
        gamma: Bandwidth in Hz that is added to each bin's; None takes that of the ear.
        intervals: Frequencies of an octave's bins over the lowest one's; None has them equally far apart.
        filter_scale: Factor of the filters' lengths; for this and what follows see `Wavelets`.
        norm: Norm of each filter that becomes 1.
        sparsity: Share of each filter's magnitude that is dropped.
        window: Name of the window, or a function of the number of samples.
        scale: Divide by the root of the filters' lengths.
        pad_mode: What lies before and past the audio.

    Raises:
        ValueError: If an argument is out of range, or the highest bin reaches beyond half the sampling rate.
    """
    check_rate(sr)
    check_framing(2, hop_length)
    if n_bins < 1 or bins_per_octave < 1 or not fmin > 0:
        raise ValueError(
            f"n_bins and bins_per_octave must be at least 1 and fmin positive, found {n_bins}, {bins_per_octave}, "
            f"{fmin}."
        )
    if gamma is not None and not gamma >= 0:
        raise ValueError(f"gamma must not be negative, found {gamma}.")
    shape = _Shape(filter_scale, norm, sparsity, window).checked()
    frequencies, alpha = _bins(n_bins, fmin, bins_per_octave, tunings, intervals)
    added = np.full(n_bins, gamma) if gamma is not None else _EAR_BANDWIDTH * alpha
    reach = frequencies * (1 + 0.5 * window_bandwidth(window) * alpha / filter_scale) + 0.5 * added
    cutoff = float(reach.max())
    if cutoff > sr / 2:
        raise ValueError(
            f"n_bins: the highest of {n_bins} bins reaches up to {cutoff:.0f} Hz, beyond half the sampling rate "
            f"({sr / 2:.0f} Hz); use fewer bins, a lower fmin or a higher rate."
        )
    # An early lowering of the rate, where the spectrum above the top octave is not needed.
    spare_octaves = max(0, math.ceil(math.log2(sr / 2 / cutoff)) - 2)
    n_octaves = -(-n_bins // bins_per_octave)
    spare_hops = max(0, (hop_length & -hop_length).bit_length() - n_octaves)
    downsample = 2 ** min(spare_octaves, spare_hops)
    octaves = _octaves(frequencies, alpha, added, sr / downsample, hop_length // downsample, bins_per_octave, shape)
    gain = np.full_like(frequencies, math.sqrt(downsample))
    if scale:
        gain = np.sqrt((alpha * frequencies + added) / (filter_scale * sr / downsample))
    return CQTPlan(downsample, octaves, torch.from_numpy(gain), pad_mode)


class _Shape(NamedTuple):
    """The shape of filters; see `Wavelets`."""

    filter_scale: float
    norm: float | None
    sparsity: float
    window: Window

    def checked(self) -> "_Shape":
        """Return the same, if it is in range."""
        if not 0 < self.filter_scale < math.inf:
            raise ValueError(f"filter_scale must be positive, found {self.filter_scale}.")
        if self.norm is not None and not self.norm > 0:
            raise ValueError(f"norm must be positive, infinity or None, found {self.norm}.")
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must be from 0 to below 1, found {self.sparsity}.")
        return self


def _bins(
    n_bins: int, fmin: float, bins_per_octave: int, tunings: tuple[float, ...], intervals: tuple[float, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies ``(tunings, bins)`` and the bandwidth over the frequency ``(bins,)``."""
    if intervals is None:
        rows = [cqt_frequencies(n_bins, fmin=fmin, bins_per_octave=bins_per_octave, tuning=t).numpy() for t in tunings]
        return np.stack(rows), np.full(n_bins, relative_bandwidth(bins_per_octave))
    octaves = 2.0 ** np.arange(-(-n_bins // bins_per_octave))
    ratios = np.sort(np.outer(octaves, np.asarray(intervals, dtype=np.float64)).ravel()[:n_bins])
    if not (ratios[0] > 0 and ratios[-1] < math.inf and (np.diff(ratios) > 0).all()):
        raise ValueError(f"intervals must be positive and no two an octave or nothing apart, found {intervals}.")
    frequencies = fmin * ratios * 2 ** (np.array(tunings)[:, None] / bins_per_octave)
    if n_bins == 1:
        return frequencies, np.full(1, relative_bandwidth(bins_per_octave))
    spacing = np.gradient(np.log2(ratios))
    return frequencies, (4**spacing - 1) / (4**spacing + 1)


def _octaves(
    frequencies: np.ndarray,
    alpha: np.ndarray,
    added: np.ndarray,
    top_rate: float,
    hop_length: int,
    bins_per_octave: int,
    shape: _Shape,
) -> tuple[Octave, ...]:
    octaves: list[Octave] = []
    rate, top = top_rate, len(alpha)
    while top > 0:
        bottom = max(top - bins_per_octave, 0)
        here, above = slice(bottom, top), slice(top, 2 * top - bottom)
        same = octaves and octaves[-1].halve and top - bottom == bins_per_octave and not added.any()
        same = same and np.allclose(alpha[here], alpha[above], rtol=1e-12, atol=0)
        if not (same and np.allclose(2 * frequencies[:, here], frequencies[:, above], rtol=1e-12, atol=0)):
            lengths = shape.filter_scale * rate / (alpha[here] * frequencies[:, here] + added[here])
            filters, first_bin, n_fft = _filters(frequencies[:, here], lengths, rate, shape)
        halve = hop_length % 2 == 0
        octaves.append(Octave(filters, first_bin, math.sqrt(top_rate / rate), n_fft, hop_length, halve))
        rate, hop_length, top = (rate / 2, hop_length // 2, bottom) if halve else (rate, hop_length, bottom)
    return tuple(octaves)


def relative_bandwidth(bins_per_octave: int) -> float:
    """Return the bandwidth of a bin over its frequency."""
    return (2 ** (2 / bins_per_octave) - 1) / (2 ** (2 / bins_per_octave) + 1)


def highest_octave(sr: float, bins_per_octave: int) -> int:
    """Return how many whole octaves from C1 fit under half the sampling rate, in any tuning."""
    width = 0.5 * window_bandwidth("hann") * relative_bandwidth(bins_per_octave)
    return max(math.floor(math.log2(sr / 2 / (C1 * (1 + width) * 2 ** (-0.5 / bins_per_octave)))), 0)


def _filters(frequencies: np.ndarray, lengths: np.ndarray, rate: float, shape: _Shape) -> tuple[Tensor, int, int]:
    """Return the spectra of the wavelets at ``(tunings, bins)`` frequencies, their first bin and their common size."""
    n_fft = 1 << max(math.ceil(math.log2(lengths.max())), 1)
    banks = [_sparse_spectra(row, length, rate, n_fft, shape) for row, length in zip(frequencies, lengths, strict=True)]
    used = [np.flatnonzero(np.abs(bank).max(axis=0)) for bank in banks]
    first, last = min(int(bins[0]) for bins in used), max(int(bins[-1]) for bins in used)
    # One octave lies in a narrow band: only its bins are kept.
    return torch.from_numpy(np.stack([bank[:, first : last + 1] for bank in banks])), first, n_fft


def _sparse_spectra(frequencies: np.ndarray, lengths: np.ndarray, rate: float, n_fft: int, shape: _Shape) -> np.ndarray:
    """Return spectra of windowed tones, shape ``(bins, 1 + n_fft // 2)``, without their smallest coefficients."""
    wavelets = np.zeros((len(frequencies), n_fft), dtype=np.complex64)
    for wavelet, frequency, length in zip(wavelets, frequencies, lengths.tolist(), strict=True):
        time = np.arange(-length // 2, length // 2)
        tone = np.exp(2j * np.pi * frequency / rate * time) * window_taps(shape.window, len(time)).numpy()
        size = 1.0 if shape.norm is None else np.linalg.norm(tone, shape.norm)
        start = (n_fft - len(time)) // 2
        wavelet[start : start + len(time)] = tone / (size if size > 0 else 1.0) * (length / n_fft)
    spectra = np.fft.fft(wavelets)[:, : n_fft // 2 + 1].astype(np.complex64)
    magnitude = np.abs(spectra)
    order = np.sort(magnitude, axis=-1)
    share = np.cumsum(order / order.sum(axis=-1, keepdims=True), axis=-1)
    first_kept = np.argmax(share >= shape.sparsity, axis=-1)
    threshold = np.take_along_axis(order, first_kept[:, None], axis=-1)
    return np.where(magnitude >= threshold, spectra, 0)
