"""Onsets as librosa sees them: the rise of a mel spectrogram."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_rate
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.device import precise
from lightning_dissect.features.functional.lengths import frame_mask
from lightning_dissect.features.functional.mel import MelBands, melspectrogram

__all__ = ["onset_detect", "onset_strength"]


def onset_strength(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    lag: int = 1,
    max_size: int = 1,
    ref: Tensor | None = None,
    detrend: bool = False,
    feature: Callable[..., Tensor] | None = None,
    aggregate: Callable[..., Tensor] = torch.mean,
    center: bool = True,
    n_fft: int = 2048,
    hop_length: int = 512,
    lengths: Tensor | None = None,
    **bands: Unpack[MelBands],
) -> Tensor:
    """Mean rise of a mel spectrogram in dB (spectral flux), as `librosa.onset.onset_strength`, each item on its own.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        S: Spectrograms in dB instead of ``y``, shape ``(..., bands, frames)``.
        lag: Frames between what is compared.
        max_size: Bands over which the earlier frame's maximum is taken (odd), against vibrato.
        ref: Spectrograms in dB with which to compare instead, shape ``(..., bands, frames)``.
        detrend: Take away what changes slowly, by the filter ``y[t] = x[t] - x[t - 1] + 0.99 y[t - 1]``; strengths can
            then be negative.
        feature: Function that makes spectrograms or complex spectra ``(..., bands, frames)`` of ``y``, whose magnitude
            is then brought to dB as a power; `melspectrogram` if None. It is called by name with ``y``, ``sr``,
            ``n_fft``, ``hop_length``, ``bands`` and, if given, ``lengths``.
        aggregate: Function that makes one number of the bands' rises, called with ``dim``, such as `torch.amax`.
        center: Shift by half a frame, so that the rise is where the onset is.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        lengths: Valid samples of each clip, shape ``(...)``; only with ``y``.
        **bands: See `MelBands`.

    Returns:
        Onset strength in dB a frame, not negative but with ``detrend``, shape ``(..., frames)``; zero past each clip's
        frames.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, ``feature`` or ``aggregate`` returns another
            shape than it should, or an argument is out of range.

    Example:
        >>> click = torch.zeros(22050)
        >>> click[11025] = 1.0
        >>> onset_strength(click).argmax().item() * 512
        11264
    """
    if lag < 1 or max_size < 1 or max_size % 2 == 0:
        raise ValueError(f"lag must be at least 1 and max_size odd, found {lag} and {max_size}.")
    if S is None:
        of_clips: dict[str, Any] = {
            "y": y,
            "sr": sr,
            "n_fft": n_fft,
            "hop_length": hop_length,
            "lengths": lengths,
            **bands,
        }
        S = power_to_db(melspectrogram(**of_clips) if feature is None else _made_by(feature, of_clips))
    elif y is not None or lengths is not None:
        raise ValueError("give exactly one of y (a waveform, with its lengths) and S (a spectrogram in dB).")
    n_frames = S.shape[-1]
    if ref is not None and ref.shape != S.shape:
        raise ValueError(f"ref must have the shape of the spectrogram {tuple(S.shape)}, found {tuple(ref.shape)}.")
    earlier = (S if ref is None else ref)[..., : max(n_frames - lag, 0)]
    if max_size > 1 and ref is None:
        columns = earlier.transpose(-1, -2)
        earlier = nnf.max_pool1d(columns.flatten(0, -2)[None], max_size, 1, max_size // 2)[0].view(columns.shape).mT
    rise = check_aggregated(aggregate((S[..., lag:] - earlier).clamp(min=0), dim=-2), earlier.mT.shape[:-1])
    delay = lag + (n_fft // (2 * hop_length) if center else 0)
    strength = nnf.pad(rise, (delay, 0))[..., :n_frames]
    strength = _without_trend(strength) if detrend else strength
    return strength if lengths is None else torch.where(frame_mask(1 + lengths // hop_length, n_frames), strength, 0.0)


def _made_by(feature: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
    """Return the magnitudes that a function makes of waveforms."""
    y = as_waveform(arguments["y"])
    S = feature(**{name: value for name, value in arguments.items() if name != "lengths" or value is not None})
    if not isinstance(S, Tensor) or S.dim() != y.dim() + 1 or S.shape[:-2] != y.shape[:-1]:
        found = tuple(S.shape) if isinstance(S, Tensor) else type(S).__name__
        raise ValueError(f"feature must make spectrograms (..., bands, frames) of y {tuple(y.shape)}, found {found}.")
    return S.abs()


def _without_trend(strength: Tensor) -> Tensor:
    """Filter by ``y[t] = x[t] - x[t - 1] + 0.99 y[t - 1]`` along the last axis, in as many steps as log(frames)."""
    x = strength.to(precise(strength))
    y = x - nnf.pad(x, (1, 0))[..., :-1]
    lag = 1
    # Once the last 1, 2, 4 … inputs are added up, so are twice as many.
    while lag < y.shape[-1]:
        y = y + 0.99**lag * nnf.pad(y, (lag, 0))[..., :-lag]
        lag *= 2
    return y.to(strength.dtype)


def check_aggregated(made: Tensor, shape: torch.Size) -> Tensor:
    """Return what the argument ``aggregate`` made, if it is a tensor of that shape."""
    if isinstance(made, Tensor) and made.shape == shape:
        return made
    found = f"{tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
    raise ValueError(
        f"aggregate must take a tensor and dim, as torch.amax does, and return a tensor of shape {tuple(shape)}, "
        f"found {found}."
    )


def onset_detect(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    onset_envelope: Tensor | None = None,
    hop_length: int = 512,
    backtrack: bool = False,
    energy: Tensor | None = None,
    normalize: bool = True,
    pre_max: int | None = None,
    post_max: int = 1,
    pre_avg: int | None = None,
    post_avg: int | None = None,
    delta: float = 0.07,
    wait: int | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Peaks of the onset strength, as `librosa.onset.onset_detect` with ``sparse=False``.

    By default, a frame is an onset if it is the largest of the last 30 ms, exceeds the mean of the 100 ms around it by
    ``delta``, and the onset before is more than 30 ms ago. Of a batch, each clip has its own number of onsets, so that
    there is no list of them (``sparse``) whose ``units`` could be chosen: ``nonzero`` makes one for a clip, in frames.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        onset_envelope: Onset strengths instead of ``y``, shape ``(..., frames)``.
        hop_length: Samples between frames.
        backtrack: Move each onset back to the last local minimum of the energy, or to the first frame if there is none;
            two onsets that meet become one.
        energy: Where to look for minima, such as `rms`, shape ``(..., frames)``; the onset strength if None. Used with
            ``backtrack``.
        normalize: Scale each item's strength to 0 … 1 first.
        pre_max: Frames before a peak that it must reach; 30 ms if None.
        post_max: Frames from the peak on that it must reach, itself included.
        pre_avg: Frames before a peak over which the local mean is taken; 100 ms if None.
        post_avg: Frames from the peak on for that mean, itself included; 100 ms and one frame if None.
        delta: Height above the local mean.
        wait: Frames after an onset without another; 30 ms if None.
        lengths: Valid samples of each clip (valid frames where the strength is given), shape ``(...)``.

    Returns:
        Booleans, shape ``(..., frames)``; none are True where a strength is not finite.

    Raises:
        ValueError: If not exactly one of ``y`` and ``onset_envelope`` is given, ``energy`` has another shape than the
            onset strength, or an argument is out of range.

    Example:
        >>> clicks = torch.zeros(22050)
        >>> clicks[5000::8000] = 1.0
        >>> onset_detect(clicks).nonzero().flatten() * 512
        tensor([ 5120, 13312, 21504])
    """
    check_rate(sr)
    if (y is None) == (onset_envelope is None):
        raise ValueError("give exactly one of y (a waveform) and onset_envelope (its onset strength).")
    short, long = int(0.03 * sr // hop_length), int(0.10 * sr // hop_length)
    pre_max, wait = short if pre_max is None else pre_max, short if wait is None else wait
    pre_avg, post_avg = long if pre_avg is None else pre_avg, long + 1 if post_avg is None else post_avg
    if min(pre_max, pre_avg, wait, delta) < 0 or min(post_max, post_avg) < 1:
        raise ValueError(
            "pre_max, pre_avg, wait and delta must not be negative, post_max and post_avg at least 1; found "
            f"{pre_max}, {pre_avg}, {wait}, {delta}, {post_max} and {post_avg}."
        )
    valid = None
    if onset_envelope is None:
        assert y is not None
        onset_envelope = onset_strength(y, sr=sr, hop_length=hop_length, lengths=lengths)
        valid = None if lengths is None else 1 + lengths // hop_length
    elif lengths is not None:
        valid = lengths
    strength = onset_envelope
    inside = torch.ones_like(strength, dtype=torch.bool) if valid is None else frame_mask(valid, strength.shape[-1])
    if normalize:
        lowest = torch.where(inside, strength, torch.inf).amin(dim=-1, keepdim=True)
        strength = torch.where(inside, strength - lowest, 0.0)
        strength = strength / (strength.amax(dim=-1, keepdim=True) + torch.finfo(strength.dtype).tiny)
    heard = strength.isfinite().all(dim=-1, keepdim=True) & (strength != 0).any(dim=-1, keepdim=True)
    largest = _windows(torch.where(inside, strength, -torch.inf), pre_max, post_max - 1, -torch.inf).amax(dim=-1)
    total = _windows(torch.where(inside, strength, 0.0), pre_avg, post_avg - 1, 0.0).sum(dim=-1)
    count = _windows(inside.to(strength.dtype), pre_avg, post_avg - 1, 0.0).sum(dim=-1)
    candidate = (strength >= largest) & (strength >= total / count + delta) & inside & heard
    onsets = _spaced(candidate, wait + 1)
    return _moved_back(onsets, strength if energy is None else energy, inside) if backtrack else onsets


def _windows(x: Tensor, before: int, after: int, fill: float) -> Tensor:
    return nnf.pad(x, (before, after), value=fill).unfold(-1, before + 1 + after, 1)


def _spaced(candidate: Tensor, gap: int) -> Tensor:
    """Take the first candidate, then each next one at least ``gap`` frames after the last one taken.

    Each frame knows the candidate that would follow it. Following twice as many at each step, all that are reached from
    the first one are marked in log(frames) steps, without asking the device where they are.
    """
    n = candidate.shape[-1]
    position = torch.arange(n, device=candidate.device)
    upcoming = torch.where(candidate, position, n).flip(-1).cummin(dim=-1).values.flip(-1)
    upcoming = nnf.pad(upcoming, (0, gap + 1), value=n)
    # Frame n stands for "none", and follows itself.
    follower = nnf.pad(upcoming[..., gap : gap + n], (0, 1), value=n)
    taken = torch.zeros_like(follower, dtype=torch.int8).scatter_(-1, upcoming[..., :1], 1)
    for _ in range(max(n - 1, 1).bit_length()):
        taken = taken.scatter_reduce(-1, follower, taken, "amax")
        follower = follower.gather(-1, follower)
    return taken[..., :n].bool()


def _moved_back(onsets: Tensor, energy: Tensor, inside: Tensor) -> Tensor:
    """Move onsets to the last local minimum of the energy up to them; a clip's last frame is none."""
    if energy.shape != onsets.shape:
        raise ValueError(
            f"energy must have the shape of the onset strength {tuple(onsets.shape)}, found {tuple(energy.shape)}."
        )
    before, here, after = energy[..., :-2], energy[..., 1:-1], energy[..., 2:]
    is_minimum = (here <= before) & (here < after) & inside[..., 2:]
    position = torch.arange(energy.shape[-1], device=energy.device)
    start = torch.where(nnf.pad(is_minimum, (1, 1))[..., : len(position)], position, 0).cummax(dim=-1).values
    moved = torch.zeros_like(start, dtype=torch.int8).scatter_reduce(-1, start, onsets.to(torch.int8), "amax")
    return moved.bool()
