"""Filter banks over the bins of a spectrum: mel bands and pitch classes."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_rate
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.spectrum import fft_frequencies

_SLANEY_STEP = 200 / 3
_SLANEY_BREAK = 1000.0
_SLANEY_LOG_STEP = math.log(6.4) / 27


def hz_to_mel(frequencies: Tensor, *, htk: bool = False) -> Tensor:
    """Convert Hz to mel: Slaney's scale (linear below 1 kHz, logarithmic above), or HTK's.

    Example:
        >>> hz_to_mel(torch.tensor([200.0, 1000.0, 6400.0])).round(decimals=3)
        tensor([ 3., 15., 42.])
    """
    if htk:
        return 2595 * torch.log10(1 + frequencies / 700)
    octave = torch.log(frequencies.clamp(min=_SLANEY_BREAK) / _SLANEY_BREAK) / _SLANEY_LOG_STEP
    return frequencies.clamp(max=_SLANEY_BREAK) / _SLANEY_STEP + octave


def mel_to_hz(mels: Tensor, *, htk: bool = False) -> Tensor:
    """Convert mel to Hz, the inverse of `hz_to_mel`.

    Example:
        >>> mel_to_hz(torch.tensor([3.0, 15.0, 42.0])).round()
        tensor([ 200., 1000., 6400.])
    """
    if htk:
        return 700 * (10 ** (mels / 2595) - 1)
    break_mel = _SLANEY_BREAK / _SLANEY_STEP
    octave = torch.exp(_SLANEY_LOG_STEP * (mels - break_mel).clamp(min=0))
    return mels.clamp(max=break_mel) * _SLANEY_STEP * octave


def mel_frequencies(n_mels: int = 128, *, fmin: float = 0.0, fmax: float = 11025.0, htk: bool = False) -> Tensor:
    """Return ``n_mels`` frequencies in Hz, evenly spaced in mel from ``fmin`` to ``fmax``, float64.

    Example:
        >>> mel_frequencies(3, fmin=0, fmax=2000 / 3)
        tensor([  0.0000, 333.3333, 666.6667], dtype=torch.float64)
    """
    low, high = hz_to_mel(torch.tensor([fmin, fmax], dtype=torch.float64), htk=htk)
    steps = torch.linspace(0, 1, n_mels, dtype=torch.float64)
    return mel_to_hz(low + steps * (high - low), htk=htk)


@lru_cache(maxsize=32)
def mel_filters(
    *,
    sr: float,
    n_fft: int,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: str | None = "slaney",
) -> Tensor:
    """Triangular filters that sum a spectrum's bins into mel bands, as `librosa.filters.mel`.

    Args:
        norm: ``slaney`` gives bands of equal area, None bands of equal height.

    Returns:
        Weights, shape ``(n_mels, 1 + n_fft // 2)``, float64. The tensor is shared: do not write to it.

    Raises:
        ValueError: If ``n_mels`` is below 1, or the frequencies are not ``0 <= fmin < fmax``.

    Example:
        >>> mel_filters(sr=22050, n_fft=2048).shape
        torch.Size([128, 1025])
    """
    check_rate(sr)
    fmax = sr / 2 if fmax is None else fmax
    if n_mels < 1:
        raise ValueError(f"n_mels must be at least 1, found {n_mels}.")
    if not 0 <= fmin < fmax:
        raise ValueError(f"fmin and fmax must be 0 <= fmin < fmax (sr / 2 if None), found {fmin} and {fmax}.")
    if norm not in ("slaney", None):
        raise ValueError(f"norm must be 'slaney' or None, found {norm!r}.")
    edges = mel_frequencies(n_mels + 2, fmin=fmin, fmax=fmax, htk=htk)
    bins = fft_frequencies(sr, n_fft)
    widths = edges.diff()
    rising = (bins - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - bins) / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return triangles if norm is None else triangles * (2 / (edges[2:] - edges[:-2]))[:, None]


@lru_cache(maxsize=16)
def chroma_filters(
    *,
    sr: float,
    n_fft: int,
    n_chroma: int = 12,
    tuning: float | tuple[float, ...] = 0.0,
) -> Tensor:
    """Gaussian filters that fold a spectrum's bins into pitch classes, as `librosa.filters.chroma`.

    Args:
        n_chroma: Pitch classes of an octave.
        tuning: Deviation from A440 in fractions of a class; a tuple gives one bank for each.

    Returns:
        Weights, shape ``(n_chroma, 1 + n_fft // 2)``, with a leading axis for a tuple of tunings, float64. The first
        class is C. The tensor is shared: do not write to it.

    Raises:
        ValueError: If ``n_chroma`` is below 1 or ``sr`` is not positive.

    Example:
        >>> chroma_filters(sr=22050, n_fft=2048).shape
        torch.Size([12, 1025])
    """
    check_rate(sr)
    if n_chroma < 1:
        raise ValueError(f"n_chroma must be at least 1, found {n_chroma}.")
    tunings = torch.tensor(tuning, dtype=torch.float64).reshape(-1, 1)
    frequencies = torch.arange(1, n_fft, dtype=torch.float64) * (sr / n_fft)
    positions = n_chroma * torch.log2(frequencies / (440 / 16)) - tunings
    # Bin 0 has no pitch: librosa places it one and a half octaves below bin 1.
    positions = torch.cat([positions[:, :1] - 1.5 * n_chroma, positions], dim=1)
    widths = torch.cat([positions.diff(dim=1).clamp(min=1), torch.ones_like(tunings)], dim=1)
    half = round(n_chroma / 2)
    classes = torch.arange(n_chroma, dtype=torch.float64)[:, None]
    distance = torch.remainder(positions[:, None] - classes + half + 10 * n_chroma, n_chroma) - half
    weights = normalize(torch.exp(-0.5 * (2 * distance / widths[:, None]) ** 2), norm=2, dim=1)
    # Octaves count less the further they lie from the fifth above 27.5 Hz.
    weights = weights * torch.exp(-0.5 * ((positions / n_chroma - 5) / 2) ** 2)[:, None]
    # Positions are counted from A.
    weights = weights.roll(-3 * (n_chroma // 12), dims=1)[..., : 1 + n_fft // 2]
    return weights if isinstance(tuning, tuple) else weights[0]
