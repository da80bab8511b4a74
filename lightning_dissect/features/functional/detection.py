"""The functions whose peaks are onsets: high-frequency content and complex-domain difference (Brossier et al. 2004)."""

import torch
from torch import Tensor

from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.frame_grid import frame_grid
from lightning_dissect.features.functional.reference_frame import FRAME, RATE, frame_count, magnitudes_of_the_end

__all__ = ["detection_functions"]

_LEAST = 1e-15
"""Added to the real part of all coefficients, so that silence has the phase 0; samples go up to 1."""


def detection_functions(y: Tensor, n_samples: Tensor, sr: int, n_frames: int) -> Tensor:
    """Return the high-frequency content and the complex-domain difference of each frame.

    The first is the sum of the magnitudes, each times its bin. The second is the sum of the distances of all
    coefficients from what the two frames before predict: the last magnitude, and the phase that goes on turning at its
    last speed.

    Args:
        y: Waveforms, shape ``(clips, samples)``, zero past their ends.
        n_samples: Samples of each clip, shape ``(clips,)``.
        n_frames: Number of frames.

    Returns:
        Both, shape ``(clips, 2, n_frames)``, of clips brought to a peak of 1, whose squares fit float32.
    """
    peak = torch.maximum(y.amax(dim=-1), -y.amin(dim=-1))
    unit = torch.where(peak > 0, peak, 1.0)
    grid = frame_grid(sr).to(y, unit)
    n_bins = len(grid.audible)
    weights = grid.audible * torch.arange(n_bins, device=y.device)
    # Before a clip lies silence, whose phase is 0.
    expected = torch.zeros(len(y), 1, n_bins, dtype=torch.promote_types(y.dtype, torch.complex64), device=y.device)
    phase = torch.ones_like(expected)
    functions = y.new_empty(len(y), 2, n_frames)
    at_once = max(chunk_size(y.device) // (len(y) * grid.size), 1)
    for first in range(0, n_frames, at_once):
        few = functions[..., first : first + at_once]
        spectra = torch.fft.rfft(grid.frames(y, first, few.shape[-1]))[..., :n_bins]
        spectra.real.add_(_LEAST)
        magnitude = _absolute(spectra)
        # The last phase of the frames before comes first, as does what they expect of these. (torch divides complex
        # numbers five times as slowly as it multiplies them.)
        phase = torch.cat([phase[:, -1:], spectra * magnitude.reciprocal()], dim=1)
        # The phase goes on turning as it did from the frame before to this one.
        expected = torch.cat([expected[:, -1:], spectra * phase[:, 1:] * phase[:, :-1].conj()], dim=1)
        few[:, 0] = (magnitude * weights).sum(dim=-1)
        few[:, 1] = (_absolute(expected[:, :-1] - spectra) * grid.audible).sum(dim=-1)
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


def _absolute(x: Tensor) -> Tensor:
    """Return magnitudes; squares of what goes up to 1 need no safe hypotenuse."""
    return (x.real.square() + x.imag.square()).sqrt_()
