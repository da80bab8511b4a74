"""Constant-Q and variable-Q transforms that agree with librosa's, differentiable and for batches.

Every octave is the same filter bank on the same signal at half the rate. nnAudio's transforms (see `nnaudio`) need no
resampling, but differ from librosa by a few per cent.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_framing, check_rate
from lightning_dissect.features.functional.device import precise
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask, trim
from lightning_dissect.features.functional.spectrum import spectrogram, stft
from lightning_dissect.features.functional.tuning import tuning_index, tuning_values

__all__ = ["C1", "cqt", "cqt_frequencies", "vqt"]

C1 = 440 * 2 ** (-45 / 12)
"""Frequency of the note C1 in Hz, where constant-Q transforms start."""

_HANN_BANDWIDTH = 1.50018310546875
"""Equivalent noise bandwidth of the Hann window in bins, as librosa has it (from 1000 samples)."""

_EAR_BANDWIDTH = 24.7 / 0.108
"""Bandwidth of the ear at 0 Hz over its growth with frequency, in Hz (Glasberg and Moore 1990)."""

_SPARSITY = 0.01
"""Share of each filter's magnitude that is dropped, smallest coefficients first."""


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


def cqt(
    y: Tensor,
    *,
    sr: float = 22050,
    hop_length: int = 512,
    fmin: float = C1,
    n_bins: int = 84,
    bins_per_octave: int = 12,
    tuning: float | None = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Constant-Q transform, as `librosa.cqt`, each item on its own: `vqt` with no added bandwidth.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        hop_length: Samples between frames.
        fmin: Lowest frequency in Hz, C1 by default.
        n_bins: Number of bins.
        bins_per_octave: Bins of an octave.
        tuning: Deviation from A440 in fractions of a bin; None estimates it for each clip.
        lengths: Valid samples of each clip, shape ``(...)``.

    Returns:
        Complex coefficients, shape ``(..., n_bins, frames)``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or a bin lies beyond half the sampling rate.

    Example:
        >>> a4 = torch.sin(2 * torch.pi * 440 * torch.arange(22050) / 22050)
        >>> cqt(a4).abs()[:, 20].argmax().item()  # bin 0 is C1
        45
    """
    return vqt(
        y,
        sr=sr,
        hop_length=hop_length,
        fmin=fmin,
        n_bins=n_bins,
        bins_per_octave=bins_per_octave,
        gamma=0.0,
        tuning=tuning,
        lengths=lengths,
    )


def vqt(
    y: Tensor,
    *,
    sr: float = 22050,
    hop_length: int = 512,
    fmin: float = C1,
    n_bins: int = 84,
    bins_per_octave: int = 12,
    gamma: float | None = None,
    tuning: float | None = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Variable-Q transform, as `librosa.vqt`, each item on its own.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        hop_length: Samples between frames.
        fmin: Lowest frequency in Hz, C1 by default.
        n_bins: Number of bins.
        bins_per_octave: Bins of an octave.
        gamma: Bandwidth in Hz that is added to each bin's; None takes that of the ear (equivalent rectangular
            bandwidth).
        tuning: Deviation from A440 in fractions of a bin; None estimates it for each clip.
        lengths: Valid samples of each clip, shape ``(...)``.

    Returns:
        Complex coefficients, shape ``(..., n_bins, frames)``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, ``gamma`` is negative, or a bin lies beyond half the
            sampling rate.

    Example:
        >>> vqt(torch.randn(2, 22050)).shape
        torch.Size([2, 84, 44])
    """
    y = trim(as_waveform(y), lengths)
    if gamma is None:
        gamma = _EAR_BANDWIDTH * relative_bandwidth(bins_per_octave)
    tunings = tuple(tuning_values().tolist()) if tuning is None else (float(tuning),)
    plan = cqt_plan(
        sr=sr,
        hop_length=hop_length,
        fmin=fmin,
        n_bins=n_bins,
        bins_per_octave=bins_per_octave,
        tunings=tunings,
        gamma=gamma,
    )
    index = None
    if tuning is None:
        index = estimate_tuning_index(y, sr=sr, bins_per_octave=bins_per_octave, lengths=lengths)
    response = cqt_from_plan(y, plan, index, lengths)
    if lengths is None:
        return response
    valid = 1 + check_lengths(lengths, y.shape[:-1], y.shape[-1], "y") // hop_length
    return torch.where(frame_mask(valid, response.shape[-1])[..., None, :], response, 0.0)


def estimate_tuning_index(y: Tensor, *, sr: float, bins_per_octave: int, lengths: Tensor | None = None) -> Tensor:
    """Return the index of each clip's tuning, estimated from the magnitude spectrum with librosa's default frames."""
    S, n_fft = spectrogram(y, None, n_fft=2048, hop_length=512, power=1, lengths=lengths)
    return tuning_index(S, sr=sr, n_fft=n_fft, bins_per_octave=bins_per_octave)


def cqt_from_plan(y: Tensor, plan: CQTPlan, tuning: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
    """Transform waveforms ``(..., samples)`` with filters made before.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        plan: What `cqt_plan` returned, on the device of ``y``.
        tuning: Index of each item's filters in the plan, shape ``(...)``; None takes the first.
        lengths: Valid samples of each clip, shape ``(...)``: at each lower rate, the clip ends there again.

    Returns:
        Complex coefficients, shape ``(..., n_bins, frames)``.
    """
    signal, lengths = decimate(y, plan.downsample, lengths)
    responses = []
    for octave in plan.octaves:
        filters = octave.filters.to(y.device)
        filters = (filters[0] if tuning is None else filters[tuning]).to(torch.promote_types(y.dtype, torch.complex64))
        spectra = stft(signal, n_fft=octave.n_fft, hop_length=octave.hop_length, window="ones")
        band = spectra[..., octave.first_bin : octave.first_bin + filters.shape[-1], :]
        responses.append((filters @ band) * octave.gain)
        if octave.halve:
            signal, lengths = decimate(signal, 2, lengths)
    # Octaves at lower rates, whose lengths are rounded up, may have a frame more.
    n_frames = 1 + y.shape[-1] // (plan.octaves[0].hop_length * plan.downsample)
    stacked = torch.cat([response[..., :n_frames] for response in reversed(responses)], dim=-2)
    scale = plan.scale.to(y)
    return stacked * (scale[0] if tuning is None else scale[tuning])[..., None]


@lru_cache(maxsize=16)
def cqt_plan(
    *,
    sr: float,
    hop_length: int,
    fmin: float,
    n_bins: int,
    bins_per_octave: int,
    tunings: tuple[float, ...],
    gamma: float = 0.0,
) -> CQTPlan:
    """Make the filters of a constant-Q transform, for one or more tunings.

    Raises:
        ValueError: If an argument is out of range, or the highest bin reaches beyond half the sampling rate.
    """
    check_rate(sr)
    check_framing(2, hop_length)
    if not gamma >= 0:
        raise ValueError(f"gamma must not be negative, found {gamma}.")
    if n_bins < 1 or bins_per_octave < 1 or not fmin > 0:
        raise ValueError(
            f"n_bins and bins_per_octave must be at least 1 and fmin positive, found {n_bins}, {bins_per_octave}, "
            f"{fmin}."
        )
    frequencies = np.stack(
        [cqt_frequencies(n_bins, fmin=fmin, bins_per_octave=bins_per_octave, tuning=t).numpy() for t in tunings]
    )
    alpha = relative_bandwidth(bins_per_octave)
    cutoff = float(frequencies.max() * (1 + 0.5 * _HANN_BANDWIDTH * alpha) + 0.5 * gamma)
    if cutoff > sr / 2:
        raise ValueError(
            f"n_bins: the highest of {n_bins} bins reaches up to {cutoff:.0f} Hz, beyond half the sampling rate "
            f"({sr / 2:.0f} Hz); use fewer bins, a lower fmin or a higher rate."
        )
    n_octaves = -(-n_bins // bins_per_octave)
    # An early lowering of the rate, where the spectrum above the top octave is not needed.
    spare_octaves = max(0, math.ceil(math.log2(sr / 2 / cutoff)) - 2)
    spare_hops = max(0, (hop_length & -hop_length).bit_length() - n_octaves)
    downsample = 2 ** min(spare_octaves, spare_hops)
    top_rate, hop = sr / downsample, hop_length // downsample
    octaves: list[Octave] = []
    rate, top = top_rate, n_bins
    while top > 0:
        bottom = max(top - bins_per_octave, 0)
        same = gamma == 0 and octaves and octaves[-1].halve and top - bottom == octaves[-1].filters.shape[1]
        if not same:
            filters, first_bin, n_fft = _filters(frequencies[:, bottom:top], rate, alpha, gamma)
        halve = hop % 2 == 0
        octaves.append(Octave(filters, first_bin, math.sqrt(top_rate / rate), n_fft, hop, halve))
        rate, hop, top = (rate / 2, hop // 2, bottom) if halve else (rate, hop, bottom)
    return CQTPlan(downsample, tuple(octaves), torch.from_numpy(np.sqrt((alpha * frequencies + gamma) / top_rate)))


def relative_bandwidth(bins_per_octave: int) -> float:
    """Return the bandwidth of a bin over its frequency."""
    return (2 ** (2 / bins_per_octave) - 1) / (2 ** (2 / bins_per_octave) + 1)


def highest_octave(sr: float, bins_per_octave: int) -> int:
    """Return how many whole octaves from C1 fit under half the sampling rate, in any tuning."""
    reach = C1 * (1 + 0.5 * _HANN_BANDWIDTH * relative_bandwidth(bins_per_octave)) * 2 ** (-0.5 / bins_per_octave)
    return max(math.floor(math.log2(sr / 2 / reach)), 0)


def _filters(frequencies: np.ndarray, rate: float, alpha: float, gamma: float) -> tuple[Tensor, int, int]:
    """Return the spectra of the wavelets at ``(tunings, bins)`` frequencies, their first bin and their common size."""
    lengths = rate / (alpha * frequencies + gamma)
    n_fft = 1 << math.ceil(math.log2(lengths.max()))
    banks = [_sparse_spectra(row, length, rate, n_fft) for row, length in zip(frequencies, lengths, strict=True)]
    used = [np.flatnonzero(np.abs(bank).max(axis=0)) for bank in banks]
    first, last = min(int(bins[0]) for bins in used), max(int(bins[-1]) for bins in used)
    # One octave lies in a narrow band: only its bins are kept.
    return torch.from_numpy(np.stack([bank[:, first : last + 1] for bank in banks])), first, n_fft


def _sparse_spectra(frequencies: np.ndarray, lengths: np.ndarray, rate: float, n_fft: int) -> np.ndarray:
    """Return spectra of Hann-windowed tones, shape ``(bins, 1 + n_fft // 2)``, without their smallest coefficients."""
    wavelets = np.zeros((len(frequencies), n_fft), dtype=np.complex64)
    for wavelet, frequency, length in zip(wavelets, frequencies, lengths.tolist(), strict=True):
        time = np.arange(-length // 2, length // 2)
        window = torch.hann_window(len(time), dtype=torch.float64).numpy()
        tone = np.exp(2j * np.pi * frequency / rate * time) * window
        start = (n_fft - len(time)) // 2
        wavelet[start : start + len(time)] = tone / np.abs(tone).sum() * (length / n_fft)
    spectra = np.fft.fft(wavelets)[:, : n_fft // 2 + 1].astype(np.complex64)
    magnitude = np.abs(spectra)
    order = np.sort(magnitude, axis=-1)
    share = np.cumsum(order / order.sum(axis=-1, keepdims=True), axis=-1)
    first_kept = np.argmax(share >= _SPARSITY, axis=-1)
    threshold = np.take_along_axis(order, first_kept[:, None], axis=-1)
    return np.where(magnitude >= threshold, spectra, 0)


def decimate(y: Tensor, factor: int, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Lower the sampling rate by a whole factor, keeping the energy, as librosa does with `soxr_hq`.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        factor: Every how many samples one is kept, after a low-pass filter.
        lengths: Valid samples of each clip, shape ``(...)``.

    Returns:
        Waveforms, shape ``(..., ceil(samples / factor))``, scaled by the root of ``factor``; and the valid samples of
        each.
    """
    if factor == 1:
        return y, lengths
    taps, start = decimation_filter(factor)
    n_out = -(-y.shape[-1] // factor)
    size = _transform_size(max(y.shape[-1], taps.numel()) + taps.numel() // 2)
    response = _response(factor, size).to(y.device, torch.promote_types(precise(y), torch.complex64))
    # In float64 where the device has it: the floor of a transform in dB is 80 dB down.
    spectrum = torch.fft.rfft(y.to(precise(y)), n=size) * response
    filtered = torch.fft.irfft(spectrum, n=size)[..., : n_out * factor : factor].to(y.dtype)
    correction = y[..., : start.shape[0]] @ start[: y.shape[-1], :n_out].to(y)
    filtered = filtered + nnf.pad(correction, (0, n_out - correction.shape[-1]))
    if lengths is None:
        # soxr rounds the number of samples, where librosa rounds up and has zeros.
        kept = max((2 * y.shape[-1] + factor) // (2 * factor), 1)
        return nnf.pad(filtered[..., :kept], (0, n_out - kept)), None
    return trim(filtered, (2 * lengths + factor) // (2 * factor)), -(-lengths // factor)


def _transform_size(samples: int) -> int:
    """Return the next size of a Fourier transform that is quick: a power of two, or 5/8 or 3/4 of one."""
    power = 1 << max(samples - 1, 7).bit_length()
    return next(size for size in (power // 8 * 5, power // 4 * 3, power) if size >= samples)


@lru_cache(maxsize=32)
def _response(factor: int, size: int) -> Tensor:
    """Return the frequency response of `decimation_filter`, complex128. Do not write to it."""
    taps, _ = decimation_filter(factor)
    # Tap ``reach + d`` weighs the sample d after the output's; what lies before time 0 stands at the end.
    impulse = nnf.pad(taps.flip(0), (0, size - taps.numel())).roll(-(taps.numel() // 2))
    response: Tensor = torch.fft.rfft(impulse)
    return response


@lru_cache(maxsize=8)
def decimation_filter(factor: int) -> tuple[Tensor, Tensor]:
    """Return soxr's high-quality low-pass for a whole factor, times its root, float64.

    It is read off soxr's response to impulses. For a factor of 4 or more, soxr halves the rate several times, and each
    time drops what a filter gives before the first sample: the first samples count otherwise than all that follow.

    Returns:
        The taps, odd in number; and what is added because of the first samples, shape ``(samples in, samples out)``.
    """
    import soxr

    reach = 128 * factor
    n = 4 * reach

    def response(position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each output's place in the filter, and the output, for an impulse at a position."""
        impulse = np.zeros(n)
        impulse[position] = math.sqrt(factor)
        output: np.ndarray = soxr.resample(impulse, factor, 1, quality="soxr_hq")
        # output[m] = sum over n of taps[reach + n − factor · m] · input[n]
        return reach + position - factor * np.arange(len(output)), output

    taps = np.zeros(2 * reach + 1)
    for position in range(2 * reach, 2 * reach + factor):
        place, output = response(position)
        near = (place >= 0) & (place < taps.size)
        taps[place[near]] = output[near]
    start = np.zeros((4 * factor, 128))
    for position, row in enumerate(start if factor > 2 else start[:0]):
        place, output = response(position)
        row += output[: row.size] - taps[place[: row.size]]
    return torch.from_numpy(taps), torch.from_numpy(start)
