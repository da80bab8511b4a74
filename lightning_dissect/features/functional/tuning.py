"""How far a clip's pitches lie from A440, estimated without leaving the device."""

import math
from typing import Unpack

import torch
from torch import Tensor

from lightning_dissect.features.functional.spectrum import Framing, check_rate, spectrogram

__all__ = ["estimate_tuning"]


def estimate_tuning(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    resolution: float = 0.01,
    bins_per_octave: int = 12,
    fmin: float = 150.0,
    fmax: float = 4000.0,
    threshold: float = 0.1,
    lengths: Tensor | None = None,
    **framing: Unpack[Framing],
) -> Tensor:
    """Estimate each clip's deviation from A440, as `librosa.estimate_tuning`, each item on its own.

    Spectral peaks between ``fmin`` and ``fmax`` are refined by a parabola; the louder half of them votes for its
    deviation from the nearest pitch, and the fullest bin of the histogram wins.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        S: Spectrograms instead of ``y``, shape ``(..., frequency, frames)``.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        resolution: Width of the histogram's bins, in fractions of a pitch.
        bins_per_octave: Pitches of an octave.
        fmin: Lowest peak in Hz.
        fmax: Highest peak in Hz.
        threshold: Smallest peak, over the frame's largest magnitude.
        lengths: Valid samples of each clip (valid frames where ``S`` is given), shape ``(...)``.
        **framing: Window, padding and centring, see `Framing`.

    Returns:
        Deviations in fractions of a pitch, between -0.5 and 0.5, shape ``(...)``; 0 where there are no peaks.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or one is malformed.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 440 * 2 ** (0.3 / 12) * torch.arange(22050) / 22050)
        >>> round(estimate_tuning(tone).item(), 1)
        0.3
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=1, lengths=lengths, **framing)
    index = tuning_index(
        S,
        sr=sr,
        n_fft=n_fft,
        resolution=resolution,
        bins_per_octave=bins_per_octave,
        fmin=fmin,
        fmax=fmax,
        threshold=threshold,
    )
    return tuning_values(resolution).to(S)[index]


def tuning_values(resolution: float = 0.01) -> Tensor:
    """Return the deviations that can be estimated: the left edges of the histogram's bins, float64."""
    n_bins = -int(-1.0 / resolution // 1)
    edges = torch.linspace(-0.5, 0.5, n_bins + 1, dtype=torch.float64)
    # The bin that starts at zero is also the answer for clips without peaks.
    return torch.where(edges.abs() < resolution / 100, 0.0, edges)[:-1]


def tuning_index(
    S: Tensor,
    *,
    sr: float,
    n_fft: int,
    resolution: float = 0.01,
    bins_per_octave: int = 12,
    fmin: float = 150.0,
    fmax: float = 4000.0,
    threshold: float = 0.1,
) -> Tensor:
    """Return the index into `tuning_values` of each item of ``S`` ``(..., frequency, frames)``, shape ``(...)``."""
    check_rate(sr)
    # Local maxima need a neighbour on both sides, which the first and the last bin lack.
    first = max(math.ceil(fmin * n_fft / sr), 1)
    last = min(math.ceil(fmax * n_fft / sr) - 1, S.shape[-2] - 2)
    edges = tuning_values(resolution).to(S)
    if last < first:
        return torch.full(S.shape[:-2], edges.numel() // 2, device=S.device)
    # Nothing below is differentiable, so that it may be done in place.
    position, height, peak = (
        x.flatten(-2) for x in _spectral_peaks(S.detach().mT, first=first, last=last, threshold=threshold)
    )
    # numpy's median averages the middle two, and "at least that" is then "at least the upper one".
    median = -height.neg().masked_fill_(~peak, torch.nan).nanmedian(dim=-1, keepdim=True).values
    votes = peak.logical_and_(height >= median)
    frequency = position.mul_(sr / n_fft).masked_fill_(~votes, 440.0)
    residual = frequency.div_(440 / 16).log2_().mul_(bins_per_octave).remainder_(1.0)
    residual = torch.where(residual >= 0.5, residual - 1, residual)
    bins = torch.bucketize(residual, edges, right=True).sub_(1).clamp_(min=0)
    counts = torch.zeros(*bins.shape[:-1], edges.numel(), dtype=torch.int32, device=S.device)
    counts.scatter_add_(-1, bins, votes.to(torch.int32))
    # argmax of a tie may be any of them; the first wins, as in numpy. Without any vote, the bin of zero has one.
    zero = (edges == 0).to(torch.int32) * (counts.sum(-1, keepdim=True) == 0)
    order = torch.arange(edges.numel(), 0, -1, device=S.device)
    return ((counts + zero).to(torch.int64) * edges.numel() + order).argmax(dim=-1)


def _spectral_peaks(S: Tensor, *, first: int, last: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return each bin's refined position, height and whether it is a peak, as `librosa.piptrack`.

    Args:
        S: Spectrograms, shape ``(..., frames, frequency)``.
        first: The first bin to look at.
        last: The last one.
        threshold: Smallest peak, over the frame's largest magnitude.
    """
    left, centre, right = (S[..., first + i : last + 1 + i] for i in (-1, 0, 1))
    slope = (right - left).mul_(0.5)
    curvature = (left + right).sub_(centre, alpha=2)
    flat = slope.abs() >= curvature.abs()
    shift = slope / curvature.neg_().masked_fill_(flat, torch.inf)
    height = slope.mul_(0.5).mul_(shift).add_(centre)
    present = (centre > left) & (centre >= right) & (centre > threshold * S.amax(dim=-1, keepdim=True))
    return shift.add_(torch.arange(first, last + 1, device=S.device)), height, present
