"""Constant-Q and variable-Q transforms that agree with librosa's, differentiable and for batches.

Every octave is the same filter bank on the same signal at half the rate. nnAudio's transforms (see `nnaudio`) need no
resampling, but differ from librosa by a few per cent.
"""

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform
from lightning_dissect.features.functional.cqt_plan import C1, CQTPlan, cqt_plan
from lightning_dissect.features.functional.decimation import decimate
from lightning_dissect.features.functional.lengths import check_lengths, trim, trim_frames
from lightning_dissect.features.functional.spectrum import spectrogram, stft
from lightning_dissect.features.functional.tuning import tuning_index, tuning_values


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

    Returns:
        Complex coefficients, shape ``(..., n_bins, frames)``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, an argument is out of range, or a bin lies beyond half the
            sampling rate.

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
    gamma: float | None = None,
    bins_per_octave: int = 12,
    tuning: float | None = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Variable-Q transform, as `librosa.vqt`, each item on its own.

    Filters, padding and the lowering of rates are librosa's by default: Hann windows with an L1 norm of 1, scaled,
    zeros around the audio, `soxr_hq`.

    Args:
        fmin: Lowest frequency in Hz, C1 by default.
        n_bins: Number of bins.
        gamma: Bandwidth in Hz that is added to each bin's; None takes that of the ear (equivalent rectangular
            bandwidth).
        bins_per_octave: Bins of an octave.
        tuning: Deviation from A440 in fractions of a bin; None estimates it for each clip.

    Returns:
        Complex coefficients, shape ``(..., n_bins, frames)``.

    Raises:
        ValueError: As `cqt`.

    Example:
        >>> vqt(torch.randn(2, 22050)).shape
        torch.Size([2, 84, 44])
    """
    y = trim(as_waveform(y), lengths)
    plan = cqt_plan(
        sr=sr,
        hop_length=hop_length,
        fmin=fmin,
        n_bins=n_bins,
        bins_per_octave=bins_per_octave,
        tunings=tuple(tuning_values().tolist()) if tuning is None else (float(tuning),),
        gamma=gamma,
    )
    index = None
    if tuning is None:
        index = estimate_tuning_index(y, sr=sr, bins_per_octave=bins_per_octave, lengths=lengths)
    n_frames = None
    if lengths is not None:
        n_frames = 1 + check_lengths(lengths, y.shape[:-1], y.shape[-1], "y") // hop_length
    return trim_frames(cqt_from_plan(y, plan, index, lengths), n_frames)


def estimate_tuning_index(y: Tensor, *, sr: float, bins_per_octave: int, lengths: Tensor | None = None) -> Tensor:
    """Return the index of each clip's tuning, estimated from the magnitude spectrum with librosa's default frames."""
    S, n_fft = spectrogram(y, None, n_fft=2048, hop_length=512, power=1, lengths=lengths)
    return tuning_index(S, sr=sr, n_fft=n_fft, bins_per_octave=bins_per_octave)


def cqt_from_plan(y: Tensor, plan: CQTPlan, tuning: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
    """Transform waveforms ``(..., samples)`` with filters made before.

    Args:
        y: Waveforms, shape ``(..., samples)``, zero past each clip's end.
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
        # The filters have their windows in them.
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
