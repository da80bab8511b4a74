"""Onsets as librosa sees them: the rise of a mel spectrogram."""

from typing import Unpack

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_rate
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask, trim_frames
from lightning_dissect.features.functional.mel import MelBands, melspectrogram


def onset_strength(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    lag: int = 1,
    max_size: int = 1,
    center: bool = True,
    n_fft: int = 2048,
    hop_length: int = 512,
    lengths: Tensor | None = None,
    **bands: Unpack[MelBands],
) -> Tensor:
    """Mean rise of a mel spectrogram in dB (spectral flux), as `librosa.onset.onset_strength`, each item on its own.

    Args:
        S: Spectrograms in dB instead of ``y``, shape ``(..., bands, frames)``.
        lag: Frames between what is compared.
        max_size: Bands over which the earlier frame's maximum is taken (odd), against vibrato.
        center: Shift by half a frame, so that the rise is where the onset is.
        **bands: Further arguments of `melspectrogram`.

    Returns:
        Onset strength in dB a frame, not negative, shape ``(..., frames)``; zero past each clip's frames.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or an argument is out of range.

    Example:
        >>> click = torch.zeros(22050)
        >>> click[11025] = 1.0
        >>> onset_strength(click).argmax().item() * 512
        11264
    """
    if lag < 1 or max_size < 1 or max_size % 2 == 0:
        raise ValueError(f"lag must be at least 1 and max_size odd, found {lag} and {max_size}.")
    if S is None:
        S = power_to_db(melspectrogram(y, sr=sr, n_fft=n_fft, hop_length=hop_length, lengths=lengths, **bands))
    elif y is not None or lengths is not None:
        raise ValueError("give exactly one of y (a waveform, with its lengths) and S (a spectrogram in dB).")
    n_frames = S.shape[-1]
    earlier = S[..., : max(n_frames - lag, 0)]
    if max_size > 1:
        columns = earlier.transpose(-1, -2)
        earlier = nnf.max_pool1d(columns.flatten(0, -2)[None], max_size, 1, max_size // 2)[0].view(columns.shape).mT
    rise = (S[..., lag:] - earlier).clamp(min=0).mean(dim=-2)
    delay = lag + (n_fft // (2 * hop_length) if center else 0)
    strength = nnf.pad(rise, (delay, 0))[..., :n_frames]
    return trim_frames(strength, None if lengths is None else 1 + lengths // hop_length)


def envelope(
    y: Tensor | None, onset_envelope: Tensor | None, *, sr: float, hop_length: int, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return onset strengths, those of ``y`` or as they were given, and the valid frames of each item."""
    if (y is None) == (onset_envelope is None):
        raise ValueError("give exactly one of y (a waveform) and onset_envelope (its onset strength).")
    if onset_envelope is None:
        onset_envelope = onset_strength(y, sr=sr, hop_length=hop_length, lengths=lengths)
        lengths = None if lengths is None else 1 + lengths // hop_length
    if lengths is not None:
        lengths = check_lengths(lengths, onset_envelope.shape[:-1], onset_envelope.shape[-1], "onset_envelope")
    return onset_envelope, lengths


def onset_detect(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    onset_envelope: Tensor | None = None,
    hop_length: int = 512,
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
        onset_envelope: Onset strengths instead of ``y``, shape ``(..., frames)``.
        normalize: Scale each item's strength to 0 … 1 first.
        pre_max: Frames before a peak that it must reach; 30 ms if None.
        post_max: Frames from the peak on that it must reach, itself included.
        pre_avg: Frames before a peak over which the local mean is taken; 100 ms if None.
        post_avg: Frames from the peak on for that mean, itself included; 100 ms and one frame if None.
        delta: Height above the local mean.
        wait: Frames after an onset without another; 30 ms if None.

    Returns:
        Booleans, shape ``(..., frames)``; none are True where a strength is not finite.

    Raises:
        ValueError: If not exactly one of ``y`` and ``onset_envelope`` is given, or an argument is out of range.

    Example:
        >>> clicks = torch.zeros(22050)
        >>> clicks[5000::8000] = 1.0
        >>> onset_detect(clicks).nonzero().flatten() * 512
        tensor([ 5120, 13312, 21504])
    """
    check_rate(sr)
    short, long = int(0.03 * sr // hop_length), int(0.10 * sr // hop_length)
    pre_max, wait = short if pre_max is None else pre_max, short if wait is None else wait
    pre_avg, post_avg = long if pre_avg is None else pre_avg, long + 1 if post_avg is None else post_avg
    if min(pre_max, pre_avg, wait, delta) < 0 or min(post_max, post_avg) < 1:
        raise ValueError(
            "pre_max, pre_avg, wait and delta must not be negative, post_max and post_avg at least 1; found "
            f"{pre_max}, {pre_avg}, {wait}, {delta}, {post_max} and {post_avg}."
        )
    strength, valid = envelope(y, onset_envelope, sr=sr, hop_length=hop_length, lengths=lengths)
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
    return _spaced(candidate, wait + 1)


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
