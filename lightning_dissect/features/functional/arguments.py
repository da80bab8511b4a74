"""Checks of the arguments that most features share."""

import math

import torch
from torch import Tensor


def as_waveform(y: Tensor, name: str = "y") -> Tensor:
    """Check a waveform ``(..., samples)`` and bring half precision to float32; float64 stays."""
    if not isinstance(y, Tensor):
        raise ValueError(f"{name} must be a tensor, found {type(y).__name__}; torch.as_tensor converts arrays.")
    if not y.is_floating_point():
        raise ValueError(f"{name} must be floating point (samples between -1 and 1), found {y.dtype}.")
    if y.dim() == 0 or y.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., samples) with at least one sample, found {tuple(y.shape)}.")
    return y if y.dtype == torch.float64 else y.float()


def check_framing(n_fft: int, hop_length: int) -> None:
    """Raise unless the frame and hop lengths are usable."""
    if not isinstance(n_fft, int) or n_fft < 2:
        raise ValueError(f"n_fft must be an integer of at least 2 samples (2048, say), found {n_fft!r}.")
    if not isinstance(hop_length, int) or hop_length < 1:
        raise ValueError(f"hop_length must be an integer of at least 1 sample (512, say), found {hop_length!r}.")


def check_rate(sr: float, name: str = "sr") -> None:
    """Raise unless the sampling rate is a positive finite number."""
    if isinstance(sr, bool) or not isinstance(sr, int | float) or not 0 < sr < math.inf:
        raise ValueError(f"{name} must be a positive number of samples per second (22050, say), found {sr!r}.")
