"""The filters of constant-Q and variable-Q transforms, octave by octave."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_framing, check_rate

C1 = 440 * 2 ** (-45 / 12)
"""Frequency of the note C1 in Hz, where constant-Q transforms start."""

_EAR_BANDWIDTH = 24.7 / 0.108
"""Bandwidth of the ear at 0 Hz over its growth with frequency, in Hz (Glasberg and Moore 1990)."""

_WINDOW_BANDWIDTH = 1.50018310546875
"""Equivalent noise bandwidth of the Hann window in bins, as librosa has it."""

_SPARSITY = 0.01
"""Share of each filter's magnitude that is dropped, smallest coefficients first, as librosa does."""


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
        scale: Factor of each bin, shape ``(tunings, n_bins)``: one over the root of its filter's length, so that white
            noise has the same level in all bins.
    """

    downsample: int
    octaves: tuple[Octave, ...]
    scale: Tensor


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
) -> CQTPlan:
    """Make the filters of a constant-Q transform, for one or more tunings; see `vqt` for the arguments.

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
    frequencies = np.stack(
        [cqt_frequencies(n_bins, fmin=fmin, bins_per_octave=bins_per_octave, tuning=t).numpy() for t in tunings]
    )
    alpha = relative_bandwidth(bins_per_octave)
    added = _EAR_BANDWIDTH * alpha if gamma is None else gamma
    cutoff = float(frequencies.max() * (1 + 0.5 * _WINDOW_BANDWIDTH * alpha) + 0.5 * added)
    if cutoff > sr / 2:
        raise ValueError(
            f"n_bins: the highest of {n_bins} bins reaches up to {cutoff:.0f} Hz, beyond half the sampling rate "
            f"({sr / 2:.0f} Hz); use fewer bins, a lower fmin or a higher rate."
        )
    # The rate is lowered early where the spectrum above the top octave is not needed, as long as hops stay whole.
    spare_octaves = max(0, math.ceil(math.log2(sr / 2 / cutoff)) - 2)
    n_octaves = -(-n_bins // bins_per_octave)
    spare_hops = max(0, (hop_length & -hop_length).bit_length() - n_octaves)
    downsample = 2 ** min(spare_octaves, spare_hops)
    rate = sr / downsample
    widths = alpha * frequencies + added
    octaves = _octaves(frequencies, widths, rate, hop_length // downsample, bins_per_octave)
    return CQTPlan(downsample, octaves, torch.from_numpy(np.sqrt(widths / rate)))


def _octaves(
    frequencies: np.ndarray, widths: np.ndarray, top_rate: float, hop_length: int, bins_per_octave: int
) -> tuple[Octave, ...]:
    """Make the filters at frequencies and of bandwidths ``(tunings, bins)`` in Hz, an octave after the other."""
    octaves: list[Octave] = []
    rate, top = top_rate, frequencies.shape[1]
    while top > 0:
        bottom = max(top - bins_per_octave, 0)
        here, above = slice(bottom, top), slice(top, 2 * top - bottom)
        # A filter of half the bandwidth is the same one at half the rate. With bandwidth added, none are alike.
        same = bool(octaves) and octaves[-1].halve and top - bottom == bins_per_octave
        if not (same and np.allclose(2 * widths[:, here], widths[:, above], rtol=1e-12, atol=0)):
            filters, first_bin, n_fft = _filters(frequencies[:, here], rate / widths[:, here], rate)
        halve = hop_length % 2 == 0
        octaves.append(Octave(filters, first_bin, math.sqrt(top_rate / rate), n_fft, hop_length, halve))
        # Odd hops cannot be halved: octaves from there on are taken at the same rate, with longer and longer filters.
        rate, hop_length, top = (rate / 2, hop_length // 2, bottom) if halve else (rate, hop_length, bottom)
    return tuple(octaves)


def relative_bandwidth(bins_per_octave: int) -> float:
    """Return the bandwidth of a bin over its frequency."""
    return (2 ** (2 / bins_per_octave) - 1) / (2 ** (2 / bins_per_octave) + 1)


def highest_octave(sr: float, bins_per_octave: int) -> int:
    """Return how many whole octaves from C1 fit under half the sampling rate, in any tuning."""
    width = 0.5 * _WINDOW_BANDWIDTH * relative_bandwidth(bins_per_octave)
    return max(math.floor(math.log2(sr / 2 / (C1 * (1 + width) * 2 ** (-0.5 / bins_per_octave)))), 0)


def _filters(frequencies: np.ndarray, lengths: np.ndarray, rate: float) -> tuple[Tensor, int, int]:
    """Return the spectra of the filters at ``(tunings, bins)`` frequencies, their first bin and their common size."""
    n_fft = 1 << max(math.ceil(math.log2(lengths.max())), 1)
    banks = [_sparse_spectra(row, length, rate, n_fft) for row, length in zip(frequencies, lengths, strict=True)]
    used = [np.flatnonzero(np.abs(bank).max(axis=0)) for bank in banks]
    first, last = min(int(bins[0]) for bins in used), max(int(bins[-1]) for bins in used)
    # One octave lies in a narrow band: only its bins are kept.
    return torch.from_numpy(np.stack([bank[:, first : last + 1] for bank in banks])), first, n_fft


def _sparse_spectra(frequencies: np.ndarray, lengths: np.ndarray, rate: float, n_fft: int) -> np.ndarray:
    """Return spectra of windowed tones, shape ``(bins, 1 + n_fft // 2)``, without their smallest coefficients."""
    tones = np.zeros((len(frequencies), n_fft), dtype=np.complex64)
    for padded, frequency, length in zip(tones, frequencies, lengths.tolist(), strict=True):
        time = np.arange(-length // 2, length // 2)
        window = torch.hann_window(len(time), dtype=torch.float64).numpy()
        tone = np.exp(2j * np.pi * frequency / rate * time) * window
        start = (n_fft - len(time)) // 2
        padded[start : start + len(time)] = tone / np.abs(tone).sum() * (length / n_fft)
    spectra = np.fft.fft(tones)[:, : n_fft // 2 + 1].astype(np.complex64)
    magnitude = np.abs(spectra)
    order = np.sort(magnitude, axis=-1)
    share = np.cumsum(order / order.sum(axis=-1, keepdims=True), axis=-1)
    first_kept = np.argmax(share >= _SPARSITY, axis=-1)
    threshold = np.take_along_axis(order, first_kept[:, None], axis=-1)
    return np.where(magnitude >= threshold, spectra, 0)
