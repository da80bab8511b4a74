"""What every feature starts from: checked waveforms, the short-time Fourier transform, frames and levels."""

import math
from collections.abc import Callable
from typing import TypedDict, Unpack

import torch
import torch.nn.functional as nnf
from torch import Tensor

__all__ = [
    "Framing",
    "amplitude_to_db",
    "db_to_power",
    "fft_frequencies",
    "frame",
    "frame_mask",
    "normalize",
    "power_to_db",
    "spectrogram",
    "stft",
]

_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "bartlett": torch.bartlett_window,
    "ones": torch.ones,
}


class Framing(TypedDict, total=False):
    """How frames are cut besides their length and distance, as `stft` has it.

    Attributes:
        win_length: Samples of the window, padded to the frame on both sides; the frame's length if None.
        window: Name (hann, hamming, blackman, bartlett, ones; periodic) or the window itself, shape ``(win_length,)``.
        center: Pad so that frame t is centred at sample ``t * hop_length``; otherwise it starts there.
        pad_mode: ``constant`` (zeros), ``edge`` or ``reflect``.
    """

    win_length: int | None
    window: str | Tensor
    center: bool
    pad_mode: str


def chunk_size(device: torch.device) -> int:
    """Return how many values to work on at once: as stay in a CPU's cache with what is made of them, or 2 GiB's."""
    return 1 << 17 if device.type == "cpu" else 1 << 26


def as_waveform(y: Tensor, name: str = "y") -> Tensor:
    """Check a waveform ``(..., samples)`` and bring half precision to float32; float64 stays."""
    if not isinstance(y, Tensor):
        raise ValueError(f"{name} must be a tensor, found {type(y).__name__}; torch.as_tensor converts arrays.")
    if not y.is_floating_point():
        raise ValueError(f"{name} must be floating point (samples between -1 and 1), found {y.dtype}.")
    if y.dim() == 0 or y.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., samples) with at least one sample, found {tuple(y.shape)}.")
    return y if y.dtype == torch.float64 else y.float()


def check_rate(sr: float, name: str = "sr") -> None:
    """Raise unless the sampling rate is a positive finite number."""
    if isinstance(sr, bool) or not isinstance(sr, int | float) or not 0 < sr < math.inf:
        raise ValueError(f"{name} must be a positive number of samples per second (22050, say), found {sr!r}.")


def check_framing(n_fft: int, hop_length: int) -> None:
    """Raise unless the frame and hop lengths are usable."""
    if not isinstance(n_fft, int) or n_fft < 2:
        raise ValueError(f"n_fft must be an integer of at least 2 samples (2048, say), found {n_fft!r}.")
    if not isinstance(hop_length, int) or hop_length < 1:
        raise ValueError(f"hop_length must be an integer of at least 1 sample (512, say), found {hop_length!r}.")


def check_lengths(lengths: Tensor, shape: torch.Size, size: int, of: str) -> Tensor:
    """Return ``lengths`` as int64, one for each item of the leading axes; values are clamped to 1 … ``size``."""
    if lengths.is_floating_point() or lengths.shape != shape:
        raise ValueError(
            f"lengths must be integers of shape {tuple(shape)}, one for each item of {of}; found {lengths.dtype} of "
            f"shape {tuple(lengths.shape)}."
        )
    return lengths.to(torch.int64).clamp(1, size)


def trim(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero what lies past each item's length along the last axis."""
    if lengths is None:
        return y
    return torch.where(frame_mask(check_lengths(lengths, y.shape[:-1], y.shape[-1], "y"), y.shape[-1]), y, 0.0)


def frame_mask(lengths: Tensor, n: int) -> Tensor:
    """Return True where a position along an axis of ``n`` lies within each item's length.

    Args:
        lengths: Valid positions of each item, shape ``(...)``.
        n: Size of the axis.

    Returns:
        Booleans, shape ``(..., n)``.

    Example:
        >>> frame_mask(torch.tensor([2, 3]), 3)
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """
    return torch.arange(n, device=lengths.device) < lengths[..., None]


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
        y: Waveforms, shape ``(..., samples)``.
        n_fft: Samples of a frame.
        hop_length: Samples between frames; ``win_length // 4`` if None.
        win_length: Samples of the window, padded to ``n_fft`` on both sides; ``n_fft`` if None.
        window: Name (hann, hamming, blackman, bartlett, ones; periodic) or the window itself, shape ``(win_length,)``.
        center: Pad so that frame t is centred at sample ``t * hop_length``; otherwise it starts there.
        pad_mode: ``constant`` (zeros), ``edge`` or ``reflect``.
        lengths: Valid samples of each clip, shape ``(...)``.

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

    Args:
        y: Waveforms, shape ``(..., samples)``, floating point.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        lengths: Valid samples of each clip, shape ``(...)``.
        **framing: See `Framing`.

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
    taps = _window(framing.get("window", "hann"), win_length)
    taps = nnf.pad(taps, ((n_fft - win_length) // 2, -((win_length - n_fft) // 2))).to(y.device, precise(y))
    ends = None if lengths is None else valid_frames(lengths, n_fft, hop_length, center=center).reshape(-1, 1, 1)
    padded, reach = _padded(trim(y, lengths), n_fft, center, pad_mode, lengths)
    padded = padded.reshape(-1, padded.shape[-1])

    def some(first: int, last: int) -> Tensor:
        """Return the results of a few frames, which stay in the cache."""
        start, stop = first * hop_length - reach, (last - 1) * hop_length - reach + n_fft
        samples = padded[:, max(start, 0) : stop].to(taps.dtype)
        samples = nnf.pad(samples, (max(-start, 0), max(stop - padded.shape[-1], 0)))
        spectra = torch.fft.rfft(samples.unfold(-1, n_fft, hop_length) * taps)
        if ends is not None:
            position = torch.arange(first, last, device=y.device)[:, None]
            spectra = torch.where(position < ends, spectra, 0.0)
        return of_spectra(spectra)

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


def precise(x: Tensor) -> torch.dtype:
    """Return the precision for what rounding in float32 would spoil: float64 where the device has it."""
    return x.dtype if x.device.type == "mps" else torch.float64


def _window(window: str | Tensor, win_length: int) -> Tensor:
    if isinstance(window, Tensor):
        if window.shape != (win_length,):
            raise ValueError(f"window must have shape ({win_length},), found {tuple(window.shape)}.")
        return window
    if window not in _WINDOWS:
        raise ValueError(f"window must be one of {', '.join(_WINDOWS)}, or a tensor; found {window!r}.")
    return _WINDOWS[window](win_length, dtype=torch.float64)


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
        y: Waveforms, shape ``(..., samples)``, or None.
        S: Spectrograms, shape ``(..., frequency, frames)``, or None.
        n_fft: Samples of a frame; read from ``S`` where that is given.
        hop_length: Samples between frames.
        power: 1 for magnitudes, 2 for powers.
        lengths: Valid samples of each waveform, or valid frames of each ``S``, shape ``(...)``.
        **framing: See `Framing`.

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
    if lengths is not None:
        valid = check_lengths(lengths, S.shape[:-2], S.shape[-1], "S")
        S = torch.where(frame_mask(valid, S.shape[-1])[..., None, :], S, 0.0)
    return S, 2 * (S.shape[-2] - 1)


def fft_frequencies(sr: float = 22050, n_fft: int = 2048) -> Tensor:
    """Return the centre frequencies of a spectrum's bins in Hz, shape ``(1 + n_fft // 2,)``, float64.

    Example:
        >>> fft_frequencies(sr=8000, n_fft=4)
        tensor([   0., 2000., 4000.], dtype=torch.float64)
    """
    return torch.arange(1 + n_fft // 2, dtype=torch.float64) * (sr / n_fft)


def frame(
    y: Tensor,
    frame_length: int,
    hop_length: int,
    *,
    center: bool = True,
    pad_mode: str = "constant",
    lengths: Tensor | None = None,
) -> Tensor:
    """Cut frames, as `librosa.util.frame`; centred ones after padding half a frame on both sides.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        frame_length: Samples of a frame.
        hop_length: Samples between frames.
        center: Pad so that frame t is centred at sample ``t * hop_length``; otherwise it starts there.
        pad_mode: ``constant`` (zeros), ``edge`` or ``reflect``.
        lengths: Samples after which each clip is padded, shape ``(...)``.

    Returns:
        Frames, shape ``(..., frames, frame_length)``.

    Raises:
        ValueError: If ``pad_mode`` is unknown, or an uncentred ``y`` is shorter than a frame.

    Example:
        >>> frame(torch.tensor([1.0, 2.0, 3.0]), 2, 1)
        tensor([[0., 1.],
                [1., 2.],
                [2., 3.],
                [3., 0.]])
    """
    padded, reach = _padded(y, frame_length, center, pad_mode, lengths)
    return nnf.pad(padded, (reach, reach)).unfold(-1, frame_length, hop_length)


def _padded(y: Tensor, frame_length: int, center: bool, pad_mode: str, lengths: Tensor | None) -> tuple[Tensor, int]:
    """Return waveforms padded for frames, and how many zeros are missing still on both sides."""
    if pad_mode not in ("constant", "edge", "reflect"):
        raise ValueError(f"pad_mode must be constant, edge or reflect, found {pad_mode!r}.")
    if not center and y.shape[-1] < frame_length:
        raise ValueError(
            f"y must have at least the {frame_length} samples of a frame where center is False, found {y.shape[-1]}."
        )
    half = frame_length // 2 if center else 0
    if pad_mode == "constant" or not half:
        return y, half
    position = torch.arange(-half, y.shape[-1] + half, device=y.device)
    last = torch.tensor(y.shape[-1] - 1, device=y.device) if lengths is None else lengths[..., None] - 1
    if pad_mode == "reflect":
        position = last - (position.remainder((2 * last).clamp(min=1)) - last).abs()
    return y.gather(-1, torch.minimum(position, last).clamp(min=0).expand(*y.shape[:-1], -1)), 0


def valid_frames(lengths: Tensor, frame_length: int, hop_length: int, *, center: bool = True) -> Tensor:
    """Return how many frames each clip of ``lengths`` samples has, shape of ``lengths``."""
    padding = 2 * (frame_length // 2) if center else 0
    return (1 + (lengths.to(torch.int64).clamp(min=1) + padding - frame_length) // hop_length).clamp(min=0)


def normalize(x: Tensor, *, norm: float | None = math.inf, dim: int = 0) -> Tensor:
    """Divide by the norm along one axis; where that is next to nothing, leave the values, as `librosa.util.normalize`.

    Args:
        x: Values, any shape.
        norm: Order of the norm (1, 2, infinity), or None to return ``x``.
        dim: The axis whose norm becomes 1.

    Returns:
        Normalised values, shape of ``x``.

    Example:
        >>> normalize(torch.tensor([[1.0, 0.0], [4.0, 0.0]]))
        tensor([[0.2500, 0.0000],
                [1.0000, 0.0000]])
    """
    if norm is None:
        return x
    # Unlike vector_norm, sum adds in pairs: a hundred times more exact over a thousand bins.
    summed = norm == 1
    size = x.abs().sum(dim, keepdim=True) if summed else torch.linalg.vector_norm(x, norm, dim=dim, keepdim=True)
    return x / torch.where(size < torch.finfo(x.dtype).tiny, 1.0, size)


def power_to_db(
    S: Tensor,
    *,
    ref: float | Callable[..., Tensor] = 1.0,
    amin: float = 1e-10,
    top_db: float | None = 80.0,
    item_dims: int = 2,
) -> Tensor:
    """Convert power to decibels, as `librosa.power_to_db` item by item.

    librosa takes the maximum of the whole array; here each item has its own, so that a batch equals its items.

    Args:
        S: Powers, shape ``(..., frequency, frames)``.
        ref: Power of 0 dB, or a function that finds it in each item, such as `torch.amax`: it gets ``S``, and ``dim``
            and ``keepdim``.
        amin: Smallest power that is told from zero.
        top_db: Range kept below the item's maximum, in dB; None keeps everything.
        item_dims: Number of last axes that make an item.

    Returns:
        Decibels, shape of ``S``.

    Raises:
        ValueError: If ``amin`` or ``ref`` is not positive, or ``top_db`` is negative.

    Example:
        >>> power_to_db(torch.tensor([[1.0, 0.1, 1e-12]]))
        tensor([[  0., -10., -80.]])
    """
    if amin <= 0 or (not callable(ref) and ref <= 0):
        raise ValueError(f"amin and ref must be positive, found {amin} and {ref}.")
    item = tuple(range(-item_dims, 0))
    level = 10 * torch.log10(S.clamp(min=amin))
    if callable(ref):
        level = level - 10 * torch.log10(ref(S, dim=item, keepdim=True).clamp(min=amin))
    else:
        level = level - 10 * math.log10(max(amin, ref))
    if top_db is None:
        return level
    if top_db < 0:
        raise ValueError(f"top_db must not be negative, found {top_db}.")
    return torch.maximum(level, level.amax(dim=item, keepdim=True) - top_db)


def amplitude_to_db(S: Tensor, *, ref: float = 1.0, amin: float = 1e-5, top_db: float | None = 80.0) -> Tensor:
    """Convert amplitudes to decibels: `power_to_db` of their squares.

    Example:
        >>> amplitude_to_db(torch.tensor([[1.0, 0.1]]))
        tensor([[  0., -20.]])
    """
    return power_to_db(S.square(), ref=ref**2, amin=amin**2, top_db=top_db)


def db_to_power(S_db: Tensor, *, ref: float = 1.0) -> Tensor:
    """Convert decibels to power, the inverse of `power_to_db` above its floor.

    Example:
        >>> db_to_power(torch.tensor([0.0, -10.0]))
        tensor([1.0000, 0.1000])
    """
    return ref * 10.0 ** (S_db / 10)
