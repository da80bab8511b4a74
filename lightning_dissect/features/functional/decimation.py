"""Lower sampling rates, as librosa has them from soxr."""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.device import precise
from lightning_dissect.features.functional.lengths import trim
from lightning_dissect.features.functional.spectrum import fast_size


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
    size = fast_size(max(y.shape[-1], taps.numel()) + taps.numel() // 2)
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
    Without that, and for any other low-pass, constant-Q transforms are 1e-3 off librosa's where a clip starts abruptly.

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
