"""How far a clip's pitches lie from A440, estimated without leaving the device."""

import math
from typing import Unpack

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_rate
from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.frames import Framing
from lightning_dissect.features.functional.lengths import frame_mask
from lightning_dissect.features.functional.spectrum import spectrogram


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
        resolution: Width of the histogram's bins, in fractions of a pitch.
        bins_per_octave: Pitches of an octave.
        fmin: Lowest peak in Hz.
        fmax: Highest peak in Hz.
        threshold: Smallest peak, over the frame's largest magnitude.

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
    exponent: int = 1,
    resolution: float = 0.01,
    bins_per_octave: int = 12,
    fmin: float = 150.0,
    fmax: float = 4000.0,
    threshold: float = 0.1,
) -> Tensor:
    """Return the index into `tuning_values` of each item of ``S`` ``(..., frequency, frames)``, shape ``(...)``.

    Peaks are those of ``S`` to the power ``exponent``, which is not kept: magnitudes do where powers are meant.
    """
    check_rate(sr)
    # Local maxima need a neighbour on both sides, which the first and the last bin lack.
    bins = range(max(math.ceil(fmin * n_fft / sr), 1), min(math.ceil(fmax * n_fft / sr), S.shape[-2] - 1))
    edges = tuning_values(resolution).to(S)
    if not bins:
        return torch.full(S.shape[:-2], edges.numel() // 2, device=S.device)
    # Nothing below is differentiable, so that it may be done in place.
    items = S.detach().reshape(-1, *S.shape[-2:]).mT
    at_once = max(chunk_size(S.device) // 2 // max(len(items) * len(bins), 1), 1)
    pieces = [_spectral_peaks(few, bins, threshold, exponent) for few in items.split(at_once, dim=1)]
    position, height, peak = (torch.cat(piece, dim=-1) for piece in zip(*pieces, strict=True))
    # numpy's median averages the middle two, and "at least that" is then "at least the upper one".
    median = -height.neg().masked_fill_(~peak, torch.nan).nanmedian(dim=-1, keepdim=True).values
    votes = peak.logical_and_(height >= median)
    frequency = position.mul_(sr / n_fft).masked_fill_(~votes, 440.0)
    residual = frequency.div_(440 / 16).log2_().mul_(bins_per_octave)
    residual.sub_(residual.floor())
    residual = torch.where(residual >= 0.5, residual - 1, residual)
    return _fullest_bin(residual, votes, edges).view(S.shape[:-2])


def _fullest_bin(x: Tensor, votes: Tensor, edges: Tensor) -> Tensor:
    """Return the bin that most votes fall into, the first of several, or that of zero without any vote.

    Values and votes have shape ``(items, candidates)``, the bins' left edges ``(bins,)``, the result ``(items,)``.
    """
    choice = torch.bucketize(x, edges, right=True).sub_(1).clamp_(min=0)
    counts = torch.zeros(*choice.shape[:-1], edges.numel(), dtype=torch.int32, device=x.device)
    counts.scatter_add_(-1, choice, votes.to(torch.int32))
    zero = (edges == 0).to(torch.int32) * (counts.sum(-1, keepdim=True) == 0)
    # argmax of a tie may be any of them; the first wins, as in numpy.
    order = torch.arange(edges.numel(), 0, -1, device=x.device)
    return ((counts + zero).to(torch.int64) * edges.numel() + order).argmax(dim=-1)


def _spectral_peaks(S: Tensor, bins: range, threshold: float, exponent: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return positions and heights of spectral peaks, refined as in `librosa.piptrack`, and which of them are peaks.

    ``S`` has shape ``(items, frames, frequency)``, each result ``(items, candidates)``.
    """
    loudest = S.amax(dim=-1, keepdim=True) ** exponent
    near = S[..., bins.start - 1 : bins.stop + 1] ** exponent
    left, centre, right = (near[..., i : i + len(bins)] for i in range(3))
    peak = (centre > left).logical_and_(centre >= right).logical_and_(centre > threshold * loudest).flatten(1)
    # One bin in a hundred is a peak, and a CPU can be asked which without waiting for it.
    place, peak = _in_front(peak) if S.device.type == "cpu" else _all_places(peak)
    frame = place // len(bins)
    left, centre, right = (near.flatten(1).gather(1, place + 2 * frame + i) for i in range(3))
    slope = (right - left).mul_(0.5)
    curvature = (left + right).sub_(centre, alpha=2)
    flat = slope.abs() >= curvature.abs()
    shift = slope / curvature.neg_().masked_fill_(flat, torch.inf)
    height = slope.mul_(0.5).mul_(shift).add_(centre)
    return shift.add_(place - frame * len(bins) + bins.start), height, peak


def _in_front(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places where each row is True, in front, and which of these are filled; at least one column."""
    row, place = mask.nonzero(as_tuple=True)
    counts = row.bincount(minlength=len(mask))
    column = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    filled = frame_mask(counts, max(int(counts.amax()), 1))
    return torch.zeros(filled.shape, dtype=torch.int64).index_put_((row, column), place), filled


def _all_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return every place of each row, and which of these are filled: `_in_front` where the device is not asked."""
    return torch.arange(mask.shape[1], device=mask.device).expand(mask.shape), mask
