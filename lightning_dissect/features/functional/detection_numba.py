"""The detection functions of onsets, compiled by numba for CPUs; as detection.py computes them, but for rounding.

numba is imported with this module, so only `detection` imports it, where it is installed and the first time that it
helps.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_dissect.compiled import compile_and_keep

Array = NDArray[Any]


def write_functions(
    spectra: Tensor, before: Tensor, audible: Tensor, weights: Tensor, least: float, functions: Tensor
) -> None:
    """Write the detection functions of some frames, for float32 on the CPU.

    Args:
        spectra: Shape ``(clips, frames, frequency)``, complex64, contiguous.
        before: What the frames before leave behind, shape ``(clips, 4, bins)``: the real and the imaginary part of what
            they predict, and of their last phases. Written to.
        audible: What is heard of each bin, shape ``(bins,)``.
        weights: The same times the bin.
        least: Added to the real part of each coefficient, so that all have a phase.
        functions: Where to write high-frequency content and complex-domain difference, shape ``(clips, 2, frames)``.
    """
    # Real and imaginary parts in turn: numba then works on several bins at once.
    values = torch.view_as_real(spectra).flatten(-2).numpy()
    of_bins = audible.numpy(), weights.numpy(), np.float32(least)
    for some, left, found in zip(values, before.numpy(), functions.numpy(), strict=True):
        _write(some, left, *of_bins, found)


# Any layout of the last array: clips are cut in pieces.
@compile_and_keep(
    "void(f4[:, ::1], f4[:, ::1], f4[::1], f4[::1], f4, f4[:, :])",
    nogil=True,
    error_model="numpy",
    fastmath={"reassoc", "contract"},
)
def _write(values: Array, before: Array, audible: Array, weights: Array, least: Any, functions: Array) -> None:
    for frame in range(values.shape[0]):
        row = values[frame]
        content = distance = np.float32(0)
        for k in range(audible.shape[0]):
            real, imag = row[2 * k] + least, row[2 * k + 1]
            magnitude = np.sqrt(real * real + imag * imag)
            cosine, sine = real / magnitude, imag / magnitude
            off_real, off_imag = before[0, k] - real, before[1, k] - imag
            content += weights[k] * magnitude
            distance += audible[k] * np.sqrt(off_real * off_real + off_imag * off_imag)
            # The phase goes on turning as it did from the frame before to this one.
            turn_real = cosine * before[2, k] + sine * before[3, k]
            turn_imag = sine * before[2, k] - cosine * before[3, k]
            before[0, k], before[1, k] = real * turn_real - imag * turn_imag, real * turn_imag + imag * turn_real
            before[2, k], before[3, k] = cosine, sine
        functions[0, frame], functions[1, frame] = content, distance
