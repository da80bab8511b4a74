"""The functions whose peaks are onsets: high-frequency content and complex-domain difference (Brossier et al. 2004)."""

import torch
from torch import Tensor

from lightning_dissect.compiled import compiled_code
from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.frame_grid import frame_grid
from lightning_dissect.features.functional.reference_frame import FRAME, RATE, frame_count, magnitudes_of_the_end

_compiled_code = compiled_code("lightning_dissect.features.functional.detection_numba")

_LEAST = 1e-15
"""Added to the real part of all coefficients, so that silence has the phase 0; samples go up to 1."""

_WORTH_COMPILING = 1 << 16
"""Samples (three seconds of audio) from which on numba compiles, which takes half a second the first time."""


def detection_functions(y: Tensor, n_samples: Tensor, sr: int, n_frames: int) -> Tensor:
    """Return the high-frequency content and the complex-domain difference of each frame.

    The first is the sum of the magnitudes, each times its bin. The second is the sum of the distances of all
    coefficients from what the two frames before predict: the last magnitude, and the phase that goes on turning at its
    last speed.

    Args:
        y: Waveforms, shape ``(clips, samples)``, zero past their ends.
        n_samples: Samples of each clip, shape ``(clips,)``.
        sr: Sampling rate in Hz.
        n_frames: Number of frames.

    Returns:
        Both, shape ``(clips, 2, n_frames)``, of clips brought to a peak of 1, whose squares fit float32.
    """
    code = _compiled_code() if _can_compile(y) else None
    write = _write_functions if code is None else code.write_functions
    peak = torch.maximum(y.amax(dim=-1), -y.amin(dim=-1))
    unit = torch.where(peak > 0, peak, 1.0)
    grid = frame_grid(sr).to(y, unit)
    weights = grid.audible * torch.arange(len(grid.audible), device=y.device)
    before = y.new_zeros(len(y), 4, len(grid.audible))
    before[:, 2] = 1.0
    functions = y.new_empty(len(y), 2, n_frames)
    # Compiled code keeps nothing between the spectra and the functions.
    values = chunk_size(y.device) if code is None else 2 * chunk_size(y.device)
    at_once = max(values // (len(y) * grid.size), 1)
    for first in range(0, n_frames, at_once):
        found = functions[..., first : first + at_once]
        spectra = torch.fft.rfft(grid.frames(y, first, found.shape[-1]))
        write(spectra, before, grid.audible, weights, _LEAST, found)
    if sr < RATE:
        is_last = torch.arange(n_frames, device=y.device) == frame_count(n_samples, sr)[:, None] - 1
        at_end = _of_the_end(y, n_samples, sr) * (grid.size / FRAME) / unit[:, None]
        functions += at_end[..., None] * is_last[:, None]
    return functions * (peak > 0)[:, None, None]


def _of_the_end(y: Tensor, n_samples: Tensor, sr: int) -> Tensor:
    """Return what bins above half the sampling rate add to both functions of the last frames, shape ``(clips, 2)``.

    They are empty before, so that all of it is unexpected.
    """
    magnitudes = magnitudes_of_the_end(y, n_samples, sr)
    bins = torch.arange(FRAME // 2 + 1 - magnitudes.shape[1], FRAME // 2 + 1, device=y.device)
    return torch.stack([(magnitudes * bins).sum(dim=-1), magnitudes.sum(dim=-1)], dim=-1)


def _can_compile(y: Tensor) -> bool:
    """Return whether compiled code takes these waveforms, and is worth its compiling."""
    return y.numel() >= _WORTH_COMPILING and y.device.type == "cpu" and y.dtype == torch.float32


def _write_functions(
    spectra: Tensor, before: Tensor, audible: Tensor, weights: Tensor, least: float, functions: Tensor
) -> None:
    """Write both functions of some frames, and what these leave behind; see `detection_numba.write_functions`."""
    spectra = spectra[..., : len(audible)]
    spectra.real.add_(least)
    magnitude = _absolute(spectra)
    phase = torch.view_as_complex(torch.view_as_real(spectra) / magnitude[..., None])
    last = torch.cat([torch.complex(before[:, 2:3], before[:, 3:]), phase[:, :-1]], dim=1)
    # The phase goes on turning as it did from the frame before to this one.
    predicted = spectra * phase * last.conj()
    expected = torch.cat([torch.complex(before[:, :1], before[:, 1:2]), predicted[:, :-1]], dim=1)
    functions[:, 0] = (magnitude * weights).sum(dim=-1)
    functions[:, 1] = (_absolute(expected - spectra) * audible).sum(dim=-1)
    left = predicted[:, -1], phase[:, -1]
    torch.stack([part for values in left for part in (values.real, values.imag)], dim=1, out=before)


def _absolute(x: Tensor) -> Tensor:
    """Return magnitudes; squares of what goes up to 1 need no safe hypotenuse."""
    return (x.real.square() + x.imag.square()).sqrt_()
