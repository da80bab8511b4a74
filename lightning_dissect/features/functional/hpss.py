"""Harmonic–percussive separation by median filtering (Fitzgerald 2010)."""

import math

import torch
from torch import Tensor

from lightning_dissect.compiled import compiled_code
from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.median import median_filter
from lightning_dissect.features.functional.median_network import has_network

_compiled_code = compiled_code("lightning_dissect.features.functional.hpss_numba")

_WORTH_COMPILING = 1 << 17
"""Values (three seconds of audio) from which on numba's second of compiling is soon made up for."""


def hpss(
    S: Tensor,
    *,
    kernel_size: int | tuple[int, int] = 31,
    power: float = 2.0,
    mask: bool = False,
    margin: float | tuple[float, float] = 1.0,
    lengths: Tensor | None = None,
    frames: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Split spectrograms into a harmonic and a percussive part.

    A median along time keeps what is steady (harmonic), a median along frequency what is broad (percussive); soft masks
    of their ratio divide the spectrogram. Matches `librosa.decompose.hpss`, each item on its own.

    On a CPU, where numba is installed, float32 spectrograms that need no gradient are split by compiled code, with the
    same result bit by bit, if the power is 2 and the kernels have 2\ :sup:`m` − 1 values, up to 127.

    Args:
        S: Spectrograms, real and not negative, or complex, shape ``(..., frequency, frames)``.
        kernel_size: Values of the median along time and along frequency, or one number for both.
        power: Exponent of the soft masks; ``math.inf`` gives binary masks.
        mask: Return the masks instead of the masked spectrograms.
        margin: At least 1, for the harmonic and the percussive part, or one number for both. Above 1, what is clearly
            neither ends up in neither part. At 1, the parts add up to ``S``.
        lengths: Valid frames of each item, shape ``(...)``: the time axis is then reflected at each item's own end.
        frames: Return only frames ``first … last - 1``, as if all were split: long clips go by in pieces.

    Returns:
        The harmonic and the percussive part, each of the shape of ``S``.

    Raises:
        ValueError: If ``S`` has fewer than two axes, a margin is below 1, ``power`` is not positive, or ``frames`` are
            not frames of ``S``.

    Example:
        >>> tone = torch.zeros(64, 64)
        >>> tone[20] = 1.0  # a steady tone
        >>> tone[:, 40] = 1.0  # a click
        >>> harmonic, percussive = hpss(tone)
        >>> harmonic[20, 3].item(), percussive[3, 40].item()
        (1.0, 1.0)
    """
    kernels = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    margins = margin if isinstance(margin, tuple) else (margin, margin)
    _check(S, margins, frames)
    first, last = frames or (0, S.shape[-1])
    magnitude = S.abs() if S.is_complex() else S
    items = magnitude.reshape(-1, *S.shape[-2:])
    lengths = None if lengths is None else lengths.reshape(-1)
    part = None if mask else S.reshape(items.shape)[..., first:last]
    code = _compiled_code() if power == 2 and _can_compile(items, kernels) else None
    if code is None:
        parts = _plain_parts(items, part, kernels, margins, power, first, last, lengths)
    else:
        parts = code.compiled_masks(items, kernels, margins, first, last, lengths)
        if part is not None:
            parts = tuple(part * m if S.is_complex() else m.mul_(part) for m in parts)
    harmonic, percussive = (x.view(*S.shape[:-1], last - first) for x in parts)
    return harmonic, percussive


def _check(S: Tensor, margins: tuple[float, float], frames: tuple[int, int] | None) -> None:
    if S.dim() < 2:
        raise ValueError(f"S must have shape (..., frequency, frames), found {tuple(S.shape)}.")
    if min(margins) < 1:
        raise ValueError(f"margin must be at least 1 for both parts, found {margins}.")
    if frames is not None and not 0 <= frames[0] <= frames[1] <= S.shape[-1]:
        raise ValueError(f"frames must be first and last + 1 of the {S.shape[-1]} frames of S, found {frames}.")


def _plain_parts(
    items: Tensor,
    part: Tensor | None,
    kernels: tuple[int, int],
    margins: tuple[float, float],
    power: float,
    first: int,
    last: int,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the masks of frames ``first … last - 1`` of ``(items, frequency, frames)``, times ``part`` if given."""
    steady = median_filter(items, kernels[0], -1, lengths, (first, last))
    broad = median_filter(items[..., first:last], kernels[1], -2)
    harmonic, percussive = (torch.empty_like(steady if part is None else part) for _ in range(2))
    # A few frames at a time, so that what lies between medians and result stays in the cache.
    width = max(chunk_size(items.device) // max(items[..., :1].numel(), 1), 1)
    for start in range(0, last - first, width):
        few = slice(start, start + width)
        masks = _masks(steady[..., few], broad[..., few], *margins, power)
        for whole, part_mask in zip((harmonic, percussive), masks, strict=True):
            whole[..., few] = part_mask if part is None else part[..., few] * part_mask
    return harmonic, percussive


def _can_compile(items: Tensor, kernels: tuple[int, int]) -> bool:
    """Return whether compiled code takes these spectrograms, and is worth its compiling."""
    return (
        items.numel() >= _WORTH_COMPILING
        and items.device.type == "cpu"
        and items.dtype == torch.float32
        and not (items.requires_grad and torch.is_grad_enabled())
        and all(has_network(size) and size <= 127 for size in kernels)
    )


def _masks(steady: Tensor, broad: Tensor, margin_h: float, margin_p: float, power: float) -> tuple[Tensor, Tensor]:
    """Return the masks of the harmonic and the percussive part."""
    if margin_h == 1 and margin_p == 1:
        if 0 < power < math.inf:
            return _complementary_masks(steady, broad, power)
        return softmask(steady, broad, power=power), softmask(broad, steady, power=power)
    return softmask(steady, broad * margin_h, power=power), softmask(broad, steady * margin_p, power=power)


def _complementary_masks(X: Tensor, R: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Return ``softmask(X, R, split_zeros=True)`` and ``softmask(R, X, split_zeros=True)``, bit by bit."""
    tiny = torch.finfo(X.dtype).tiny
    larger = torch.maximum(X, R)
    undefined = larger < tiny
    larger = larger.clamp_min(tiny)
    of_X, of_R = ((x / larger).square_() if power == 2 else (x / larger) ** power for x in (X, R))
    total = of_X + of_R
    return (of_X / total).masked_fill_(undefined, 0.5), (of_R / total).masked_fill_(undefined, 0.5)


def softmask(X: Tensor, X_ref: Tensor, *, power: float = 1.0, split_zeros: bool = False) -> Tensor:
    """Return the share of ``X`` in ``X^power + X_ref^power``, between 0 and 1.

    Args:
        X: Values, not negative.
        X_ref: Values to compare with, not negative, same shape.
        power: Exponent, above 0; infinity gives 1 where ``X > X_ref`` and 0 elsewhere.
        split_zeros: Where both are (nearly) zero: 0.5 if true, else 0.

    Returns:
        The mask, shape of ``X``.

    Raises:
        ValueError: If ``power`` is not positive.

    Example:
        >>> softmask(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 0.0]), power=2.0)
        tensor([0.9000, 0.0000])
    """
    if not power > 0:
        raise ValueError(f"power must be positive, found {power}.")
    if power == float("inf"):
        return (X_ref < X).to(X.dtype)
    larger = torch.maximum(X, X_ref)
    undefined = larger < torch.finfo(X.dtype).tiny
    scale = torch.where(undefined, 1.0, larger)
    share, other = (X / scale) ** power, (X_ref / scale) ** power
    return torch.where(undefined, 0.5 if split_zeros else 0.0, share / (share + other))
