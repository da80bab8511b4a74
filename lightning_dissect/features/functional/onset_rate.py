"""Onsets a second as Essentia counts them (Brossier et al. 2004)."""

import math
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.spectrum import (
    as_waveform,
    check_lengths,
    chunk_size,
    fft_frequencies,
    frame_mask,
    trim,
)

__all__ = ["onset_rate"]

_REFERENCE_RATE = 44_100
_FRAME, _HOP = 1024, 512
"""Frames of the reference, in samples at 44.1 kHz; at other rates they last as long."""

_PASS_BAND = 0.913
"""Share of the lower of two rates' range that a good resampler (soxr's high quality) leaves as it is."""

_SILENCE = 0.04
_MEMORY = 5
_MEAN_SHARE = 0.1


def onset_rate(y: Tensor, *, sr: int = 44_100, lengths: Tensor | None = None) -> Tensor:
    """Onsets a second, as Essentia's `OnsetRate`.

    Two detection functions, high-frequency content and the complex-domain difference, are scaled to their maxima, added
    and smoothed; an onset is where the sum rises over an adaptive threshold. Essentia computes this at 44.1 kHz only.
    Here the frames last as long at any rate (23.2 ms every 11.6 ms) and the spectra end as they would after resampling,
    so that nothing is resampled.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz, an integer.
        lengths: Valid samples of each clip, shape ``(...)``.

    Returns:
        Onsets a second, shape ``(...)``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or ``sr`` is not a positive integer.

    Example:
        >>> clicks = torch.zeros(44100)
        >>> clicks[5000::10000] = 1.0
        >>> onset_rate(clicks)
        tensor(4.)
    """
    onsets = onset_frames(y, sr=sr, lengths=lengths)
    samples = torch.full(y.shape[:-1], y.shape[-1], device=y.device) if lengths is None else lengths.clamp(min=1)
    return onsets.sum(dim=-1) * sr / samples


def onset_frames(y: Tensor, *, sr: int = 44_100, lengths: Tensor | None = None) -> Tensor:
    """Return True at the frames where an onset starts, shape ``(..., frames)``; frame t is at ``t * 512 / 44100`` s."""
    if isinstance(sr, bool) or not isinstance(sr, int) or sr < 1:
        raise ValueError(f"sr must be a positive integer of samples per second, found {sr!r}.")
    y = trim(as_waveform(y), lengths)
    high_frequency, complex_domain = _detection_functions(y.reshape(-1, y.shape[-1]), sr)
    n_samples = torch.tensor(y.shape[-1], device=y.device)
    if lengths is not None:
        n_samples = check_lengths(lengths, y.shape[:-1], y.shape[-1], "y").reshape(-1)
    valid = frame_mask(_frame_count(n_samples, sr), high_frequency.shape[1])
    detection = _unit_maximum(high_frequency * valid) + _unit_maximum(complex_domain * valid)
    return _pick(detection, valid).view(*y.shape[:-1], -1)


def _frame_count(n_samples: int | Tensor, sr: int) -> Any:
    """Return how many frames it takes to reach the end of a clip; the last is filled up with zeros."""
    remaining = n_samples * _REFERENCE_RATE - _FRAME * sr
    beyond_first = -(-remaining // (_HOP * sr))
    return 1 + (beyond_first.clamp(min=0) if isinstance(beyond_first, Tensor) else max(beyond_first, 0))


def _detection_functions(y: Tensor, sr: int) -> tuple[Tensor, Tensor]:
    """Return the high-frequency content and the complex-domain difference, each of shape ``(clips, frames)``.

    Frames last as long as the reference's, whatever the rate. The functions' scale does not matter, so that the clips
    are brought to a peak of 1, whose squares fit float32.
    """
    y = _unit_maximum(y, y.abs())
    scale = sr / _REFERENCE_RATE
    size = max(round(_FRAME * scale), 2)
    starts = torch.arange(_frame_count(y.shape[-1], sr), dtype=torch.float64) * (_HOP * scale)
    padded = nnf.pad(y, (0, size))
    audible = _audible_after_resampling(sr, size).to(y)
    weights = torch.arange(len(audible), device=y.device).to(y)
    spectra = y.new_zeros(len(y), 2, len(audible), dtype=torch.promote_types(y.dtype, torch.complex64))
    pieces = []
    for some in starts.split(max(chunk_size(y.device) // (len(y) * size), 1)):
        # The difference looks back two frames.
        spectra = torch.cat([spectra[:, -2:], _spectra(padded, some, size)], dim=1)
        magnitude = (spectra.real.square() + spectra.imag.square()).sqrt_()
        heard = magnitude * audible
        pieces.append((torch.matmul(heard[:, 2:], weights), _complex_difference(spectra, magnitude, heard)))
    high_frequency, complex_domain = (torch.cat(piece, dim=1) for piece in zip(*pieces, strict=True))
    return high_frequency, complex_domain


def _spectra(padded: Tensor, starts: Tensor, size: int) -> Tensor:
    """Return the spectra of frames of ``size`` samples from ``starts`` on, shape ``(clips, frames, bins)``."""
    whole = starts.round()
    window = torch.hann_window(size, periodic=False, dtype=torch.float64).to(padded)
    index = whole.long().to(padded.device)[:, None] + torch.arange(size, device=padded.device)
    spectra: Tensor = torch.fft.rfft(padded[:, index] * window)
    if torch.equal(starts, whole):
        return spectra
    # A frame starts up to half a sample from where it should: turn its phases to the exact time.
    turns = (starts - whole).to(padded)[:, None] * torch.arange(spectra.shape[-1], device=padded.device) / size
    return spectra * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def _audible_after_resampling(sr: int, size: int) -> Tensor:
    """Return how much of each bin a resampler to the reference's rate would leave, shape ``(bins,)``, float64.

    Its low-pass fades out the top of the common range. The detection functions weigh that most.
    """
    if sr == _REFERENCE_RATE:
        return torch.ones(size // 2 + 1, dtype=torch.float64)
    position = fft_frequencies(sr, size) / (min(sr, _REFERENCE_RATE) / 2)
    fade = ((position - _PASS_BAND) / (1 - _PASS_BAND)).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * fade)


def _complex_difference(spectra: Tensor, magnitude: Tensor, heard: Tensor) -> Tensor:
    """Distance between each spectrum and the last one with its phases turned on at their last speed.

    Args:
        spectra: Shape ``(clips, 2 + frames, bins)``, two frames that went before included.
        magnitude: Their magnitudes.
        heard: What is heard of these.

    Returns:
        The sum of distances over all bins, shape ``(clips, frames)``.
    """
    present = magnitude > 0
    cosine = torch.where(present, spectra.real / magnitude, 1.0)
    sine = torch.where(present, spectra.imag / magnitude, 0.0)
    cosine, sine = _advance(*_advance(cosine, sine))
    last, now = heard[:, 1:-1], heard[:, 2:]
    return ((last - now * cosine).square_() + (now * sine).square_()).sqrt_().sum(dim=-1)


def _advance(cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much phases advance from each frame to the next."""
    next_cosine, next_sine, cosine, sine = cosine[:, 1:], sine[:, 1:], cosine[:, :-1], sine[:, :-1]
    return next_cosine * cosine + next_sine * sine, next_sine * cosine - next_cosine * sine


def _unit_maximum(x: Tensor, height: Tensor | None = None) -> Tensor:
    largest = (x if height is None else height).amax(dim=-1, keepdim=True)
    return x / torch.where(largest > 0, largest, 1.0)


def _pick(detection: Tensor, valid: Tensor) -> Tensor:
    """Onsets ``(clips, frames)`` of a detection function."""
    smooth = nnf.pad(detection, (_MEMORY - 1, 0)).unfold(-1, _MEMORY, 1).mean(dim=-1)
    smooth = torch.where((smooth < _SILENCE) | ~valid, 0.0, smooth)
    # The reference never looks at the first frame, and counts a rise in the last one, whatever would follow.
    smooth = smooth * (torch.arange(smooth.shape[-1], device=smooth.device) > 0)
    recent = nnf.pad(smooth, (_MEMORY - 1, 0)).unfold(-1, _MEMORY, 1)
    above = smooth > recent.median(dim=-1).values + _MEAN_SHARE * recent.mean(dim=-1)
    before = nnf.pad(above, (1, 0))[..., :-1]
    after = nnf.pad(above, (0, 1), value=True)[..., 1:] | ~nnf.pad(valid, (0, 1))[..., 1:]
    return above & ~before & after
