"""The short-time Fourier transform and what it gives: spectra, magnitudes and spectrograms."""

from collections.abc import Callable
from typing import Unpack

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_framing
from lightning_dissect.features.functional.device import chunk_size, precise
from lightning_dissect.features.functional.frames import Framing, frame_lengths, pad
from lightning_dissect.features.functional.lengths import check_lengths, trim, trim_frames
from lightning_dissect.features.functional.windows import window_taps


def stft(
    y: Tensor,
    *,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str | Tensor = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    lengths: Tensor | None = None,
) -> Tensor:
    """Short-time Fourier transform, as `librosa.stft`.

    Args:
        hop_length: Samples between frames; ``win_length // 4`` if None.

    Returns:
        Complex spectra, shape ``(..., 1 + n_fft // 2, frames)``, zero past each clip's frames.

    Raises:
        ValueError: If ``y`` is empty or not floating point, an argument is out of range, or an uncentred ``y`` is
            shorter than a frame.

    Example:
        >>> stft(torch.zeros(2, 22050)).shape
        torch.Size([2, 1025, 44])
    """
    y = as_waveform(y)
    win_length = n_fft if win_length is None else win_length
    hop_length = win_length // 4 if hop_length is None else hop_length
    check_framing(n_fft, hop_length)
    result = torch.promote_types(y.dtype, torch.complex64)
    framing = Framing(win_length=win_length, window=window, center=center, pad_mode=pad_mode)
    return _transform(y, n_fft, hop_length, lengths, framing, lambda spectra: spectra, result)


def magnitude(
    y: Tensor, *, n_fft: int = 2048, hop_length: int = 512, lengths: Tensor | None = None, **framing: Unpack[Framing]
) -> Tensor:
    """Return the magnitudes of `stft`'s spectra, in half the time and memory that ``stft(y).abs()`` takes.

    Returns:
        Magnitudes, shape ``(..., 1 + n_fft // 2, frames)``, zero past each clip's frames.
    """
    return _transform(y, n_fft, hop_length, lengths, framing, _absolute, y.dtype)


def _absolute(spectra: Tensor) -> Tensor:
    """Return magnitudes; squares of what float32 holds fit float64, and are faster than a safe hypotenuse."""
    if spectra.dtype != torch.complex128 or (spectra.requires_grad and torch.is_grad_enabled()):
        return spectra.abs()
    values = torch.view_as_real(spectra)
    real, imaginary = values.mul_(values).unbind(-1)
    return (real + imaginary).sqrt_()


def _transform(
    y: Tensor,
    n_fft: int,
    hop_length: int,
    lengths: Tensor | None,
    framing: Framing,
    of_spectra: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
) -> Tensor:
    """Return what a function makes of spectra ``(clips, frames, bins)``, as ``(..., bins, frames)`` of a type.

    They are computed in float64 where the device has it. In float32, a transform adds noise at -140 dB. That is all
    there is between the partials of a pure sound, and what measures valleys (flatness, contrast, onsets in dB) would
    show it. librosa computes as here, and rounds the result.
    """
    win_length = framing.get("win_length") or n_fft
    if not 0 < win_length <= n_fft:
        raise ValueError(f"win_length must be between 1 and n_fft ({n_fft}), found {win_length}.")
    center, pad_mode = framing.get("center", True), framing.get("pad_mode", "constant")
    taps = window_taps(framing.get("window", "hann"), win_length)
    taps = nnf.pad(taps, ((n_fft - win_length) // 2, -((win_length - n_fft) // 2))).to(y.device, precise(y))
    ends = frame_lengths(lengths, n_fft, hop_length, center=center)
    padded, reach = pad(trim(y, lengths), n_fft, center, pad_mode, lengths)
    padded = padded.reshape(-1, padded.shape[-1])

    def some(first: int, last: int) -> Tensor:
        """Return the results of a few frames, which stay in the cache."""
        start, stop = first * hop_length - reach, (last - 1) * hop_length - reach + n_fft
        samples = padded[:, max(start, 0) : stop].to(taps.dtype)
        samples = nnf.pad(samples, (max(-start, 0), max(stop - padded.shape[-1], 0)))
        found = of_spectra(torch.fft.rfft(samples.unfold(-1, n_fft, hop_length) * taps))
        if ends is None:
            return found
        position = torch.arange(first, last, device=y.device)[:, None]
        return torch.where(position < ends.reshape(-1, 1, 1), found, 0.0)

    n_frames = 1 + (padded.shape[-1] + 2 * reach - n_fft) // hop_length
    at_once = max(chunk_size(y.device) // 2 // (len(padded) * n_fft), 1)
    spans = [(first, min(first + at_once, n_frames)) for first in range(0, n_frames, at_once)]
    if padded.requires_grad and torch.is_grad_enabled():
        joined = torch.cat([some(*span).to(dtype) for span in spans], dim=1)
    else:
        joined = torch.empty(len(padded), n_frames, n_fft // 2 + 1, dtype=dtype, device=y.device)
        for first, last in spans:
            joined[:, first:last] = some(first, last)
    return joined.mT.reshape(*y.shape[:-1], n_fft // 2 + 1, n_frames)


def spectrogram(
    y: Tensor | None,
    S: Tensor | None,
    *,
    n_fft: int,
    hop_length: int,
    power: float,
    lengths: Tensor | None,
    **framing: Unpack[Framing],
) -> tuple[Tensor, int]:
    """Return a spectrogram and its ``n_fft``, from a waveform or as it was given.

    Args:
        n_fft: Samples of a frame; read from ``S`` where that is given.
        power: 1 for magnitudes, 2 for powers.

    Returns:
        The spectrogram ``(..., frequency, frames)``, zero past the valid frames, and ``n_fft``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or one of them has the wrong shape or dtype.
    """
    if (y is None) == (S is None):
        raise ValueError("give exactly one of y (a waveform) and S (a spectrogram).")
    if S is None:
        assert y is not None
        y = as_waveform(y)
        check_framing(n_fft, hop_length)
        S = magnitude(y, n_fft=n_fft, hop_length=hop_length, lengths=lengths, **framing)
        if power != 1:
            S = S.square() if power == 2 else S**power
        return S, n_fft
    S = S.abs() if S.is_complex() else S
    if S.dim() < 2 or S.shape[-2] < 2 or S.shape[-1] < 1 or not S.is_floating_point():
        raise ValueError(f"S must be floats of shape (..., frequency, frames), found {S.dtype} {tuple(S.shape)}.")
    S = S if S.dtype == torch.float64 else S.float()
    n_frames = None if lengths is None else check_lengths(lengths, S.shape[:-2], S.shape[-1], "S")
    return trim_frames(S, n_frames), 2 * (S.shape[-2] - 1)


def fast_size(n: int) -> int:
    """Return the smallest even product of 2, 3 and 5 that is at least ``n``, for which transforms are fast.

    Example:
        >>> fast_size(1025)
        1080
    """
    best = 1 << max(n - 1, 1).bit_length()
    for five in (1, 5, 25, 125):
        for three in (1, 3, 9, 27, 81):
            odd = five * three
            best = min(best, odd << max((-(-n // odd) - 1).bit_length(), 1))
    return best


def fft_frequencies(sr: float = 22050, n_fft: int = 2048) -> Tensor:
    """Return the centre frequencies of a spectrum's bins in Hz, shape ``(1 + n_fft // 2,)``, float64.

    Example:
        >>> fft_frequencies(sr=8000, n_fft=4)
        tensor([   0., 2000., 4000.], dtype=torch.float64)
    """
    return torch.arange(1 + n_fft // 2, dtype=torch.float64) * (sr / n_fft)
