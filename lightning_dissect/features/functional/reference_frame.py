"""The frames that Essentia finds onsets in, and what a clip's end sounds like there after resampling to their rate."""

import math

import torch
from torch import Tensor

RATE = 44_100
"""Samples per second."""

FRAME, HOP = 1024, 512
"""Samples of a frame, and between frames."""

_CUTOFF, _DEVIATION = 0.957, 0.0113
"""Of the resampler's low-pass, in shares of the range that both rates have; fitted to soxr's high quality."""

_REACH = 64
"""Samples before the end that are heard in it."""

_RINGING = 32
"""Samples at the reference's rate that are missing after the end."""


def frame_count(n_samples: Tensor, sr: int) -> Tensor:
    """Return how many frames it takes to reach the end of clips, shape of ``n_samples``; zeros fill the last.

    Example:
        >>> frame_count(torch.tensor([1024, 1025]), 44100)
        tensor([1, 2])
    """
    beyond_first = -((FRAME * sr - n_samples * RATE) // (HOP * sr))
    return 1 + beyond_first.clamp(min=0)


def hann(position: Tensor) -> Tensor:
    """Return the window at positions in samples at the reference's rate, both of any shape; 0 past the frame.

    It is symmetrical, with zeros at both ends.
    """
    return torch.where(position < FRAME, 0.5 - 0.5 * torch.cos(2 * math.pi / (FRAME - 1) * position), 0.0)


def resampler_gain(position: Tensor) -> Tensor:
    """Return what a good resampler leaves of frequencies, given as shares of the range that both rates have.

    Its low-pass fades out as a Gaussian's integral does.
    """
    return 0.5 * torch.erfc((position - _CUTOFF) / (_DEVIATION * math.sqrt(2)))


def magnitudes_of_the_end(y: Tensor, n_samples: Tensor, sr: int) -> Tensor:
    """Return the magnitudes of each clip's last frame above half the sampling rate.

    A clip at a lower rate has nothing there until it is resampled, and cut off where it ends: what would ring on after
    its end is missing from its frequencies below, and from the silence above. Waveforms ``(clips, samples)`` are zero
    past their ends; the result has shape ``(clips, bins above)``, as of frames of 1024 samples.
    """
    end = (2 * n_samples * RATE + sr) // (2 * sr)  # soxr rounds the number of samples
    missing = end[:, None] + torch.arange(_RINGING, device=y.device)
    after_end = (missing * sr - n_samples[:, None] * RATE).to(y) / RATE
    before_end = torch.arange(1, _REACH + 1, device=y.device)
    distance = after_end[..., None] + before_end
    kernel = _CUTOFF * torch.sinc(_CUTOFF * distance) * torch.exp(-0.5 * (math.pi * _DEVIATION * distance).square())
    position = n_samples[:, None] - before_end
    heard = torch.where(position >= 0, y.gather(1, position.clamp(min=0)), 0.0)
    ringing = (kernel * heard[:, None]).sum(dim=-1)
    in_frame = missing - (frame_count(n_samples, sr)[:, None] - 1) * HOP
    spectrum: Tensor = torch.fft.rfft(ringing * hann(in_frame.to(y)), n=FRAME)
    return spectrum[:, sr * FRAME // (2 * RATE) + 1 :].abs()
