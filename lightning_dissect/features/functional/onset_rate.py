"""Onsets a second as Essentia counts them (Brossier et al. 2004)."""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform
from lightning_dissect.features.functional.detection import detection_functions
from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask, trim
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.reference_frame import frame_count

_SILENCE = 0.04
"""Smoothed sums below this count as 0; each of the two functions goes up to 1."""

_MEMORY = 5
"""Frames that a sum is smoothed over, and its threshold found in: the last one and those before."""

_MEAN_SHARE = 0.1
"""What the threshold adds to the median of the last frames: this share of their mean."""


def onset_rate(y: Tensor, *, sr: int = 44_100, lengths: Tensor | None = None) -> Tensor:
    """Onsets a second, as Essentia's `OnsetRate`.

    Two detection functions, high-frequency content and the complex-domain difference, are scaled to their maxima, added
    and smoothed; an onset is where the sum rises over an adaptive threshold. Essentia computes this at 44.1 kHz only.
    Here the frames last as long at any rate (23.2 ms every 11.6 ms), the bins are the same, and those that would be
    empty after resampling to that rate are left out.

    Args:
        sr: Sampling rate in Hz, an integer.

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
    y = as_waveform(y).detach()
    clips = y.reshape(-1, y.shape[-1])
    n_samples = torch.full(clips.shape[:1], y.shape[-1], device=y.device)
    if lengths is not None:
        n_samples = check_lengths(lengths, y.shape[:-1], y.shape[-1], "y").reshape(-1)
    n_frames = int(frame_count(torch.tensor(y.shape[-1]), sr))
    # A few clips at a time, so that what lies between audio and onsets takes little memory.
    at_once = max(chunk_size(y.device) // y.shape[-1], 1)
    few = zip(clips.split(at_once), n_samples.split(at_once), strict=True)
    functions = [detection_functions(trim(some, None if lengths is None else n), n, sr, n_frames) for some, n in few]
    valid = frame_mask(frame_count(n_samples, sr), n_frames)
    scaled = normalize(torch.cat(functions) * valid[:, None], dim=-1)
    return _pick(scaled.sum(dim=1), valid).view(*y.shape[:-1], -1)


def _pick(detection: Tensor, valid: Tensor) -> Tensor:
    """Return where the onsets of detection functions are; all have shape ``(clips, frames)``."""
    smooth = nnf.pad(detection, (_MEMORY - 1, 0)).unfold(-1, _MEMORY, 1).mean(dim=-1)
    smooth = torch.where((smooth < _SILENCE) | ~valid, 0.0, smooth)
    # The reference never looks at the first frame, and counts a rise in the last one, whatever would follow.
    smooth = smooth * (torch.arange(smooth.shape[-1], device=smooth.device) > 0)
    recent = nnf.pad(smooth, (_MEMORY - 1, 0)).unfold(-1, _MEMORY, 1)
    above = smooth > recent.median(dim=-1).values + _MEAN_SHARE * recent.mean(dim=-1)
    before = nnf.pad(above, (1, 0))[..., :-1]
    after = nnf.pad(above, (0, 1), value=True)[..., 1:] | ~nnf.pad(valid, (0, 1))[..., 1:]
    return above & ~before & after
