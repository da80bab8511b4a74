"""Tempo from the autocorrelation of the onset strength."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_framing, check_rate
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.onset import check_aggregated, onset_strength
from lightning_dissect.features.functional.windows import Window, window_taps

__all__ = ["LogDensity", "tempo", "tempogram"]


class LogDensity(Protocol):
    """A distribution that gives its log-density, as scipy's frozen ones do."""

    def logpdf(self, x: Any, /) -> Any:
        """Return the logarithm of the density at ``x``, shape of ``x``."""


def tempo(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    onset_envelope: Tensor | None = None,
    tg: Tensor | None = None,
    hop_length: int = 512,
    start_bpm: float = 120.0,
    std_bpm: float = 1.0,
    ac_size: float = 8.0,
    max_tempo: float | None = 320.0,
    aggregate: Callable[..., Tensor] | None = torch.mean,
    prior: Callable[[Tensor], Tensor] | LogDensity | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Tempo of each clip, as `librosa.feature.tempo`: the strongest period near a preferred tempo.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        onset_envelope: Onset strengths instead of ``y``, shape ``(..., frames)``.
        tg: Tempograms instead of ``y``, shape ``(..., lags, frames)``.
        hop_length: Samples between frames.
        start_bpm: The preferred tempo.
        std_bpm: Standard deviation of the preference in octaves.
        ac_size: Length of the autocorrelation in seconds; unused where ``tg`` is given.
        max_tempo: Tempi from here on are left out; None keeps all.
        aggregate: Function that makes one correlation of those of all frames, called with ``dim``; None finds a tempo
            for each frame. Frames past a clip's end are no part of the mean; another function finds NaN there, so that
            for ``lengths`` it must be one like ``lambda x, dim: x.nanquantile(0.5, dim=dim)``.
        prior: The preference itself, instead of ``start_bpm`` and ``std_bpm``: a function that gives the log-density
            of tempi in beats a minute (float64, on the CPU), such as
            ``torch.distributions.Normal(120.0, 20.0).log_prob``; or a distribution with ``logpdf``, such as scipy's.
        lengths: Valid samples of each clip (valid frames where strength or tempogram is given), shape ``(...)``.

    Returns:
        Beats a minute, shape ``(...)``; if ``aggregate`` is None, ``(..., frames)``, zero past each clip's frames.

    Raises:
        ValueError: If not exactly one of ``y``, ``onset_envelope`` and ``tg`` is given, ``aggregate`` or ``prior``
            returns something else than it should, or an argument is out of range.

    Example:
        >>> clicks = torch.zeros(10 * 22050)
        >>> clicks[::11025] = 1.0  # two a second
        >>> round(tempo(clicks).item())
        117
    """
    check_rate(sr)
    check_framing(2, hop_length)
    fastest = math.inf if max_tempo is None else max_tempo
    if not (start_bpm > 0 and std_bpm > 0 and fastest > 0):
        raise ValueError(f"start_bpm, std_bpm, max_tempo must be positive, found {start_bpm}, {std_bpm}, {max_tempo}.")
    n_lags = int(ac_size * sr // hop_length) if tg is None else _checked(tg, y, onset_envelope).shape[-2]
    bpm = 60.0 * sr / (hop_length * torch.arange(max(n_lags, 1), dtype=torch.float64))
    if not (bpm < fastest).any():
        held = f"ac_size: {ac_size} s hold" if tg is None else f"tg: {n_lags} lags hold"
        raise ValueError(f"{held} no period of a tempo below max_tempo ({max_tempo}).")
    if tg is None:
        strength, lengths = _strength(y, onset_envelope, sr=sr, hop_length=hop_length, lengths=lengths)
        tg = tempogram(onset_envelope=strength, win_length=n_lags, lengths=lengths)
    tg = tg if tg.dtype == torch.float64 else tg.float()
    inside = None
    if lengths is not None:
        inside = frame_mask(check_lengths(lengths, tg.shape[:-2], tg.shape[-1], "tg"), tg.shape[-1])
    default = partial(_near, start_bpm=start_bpm, std_bpm=std_bpm)
    preference = _preference(bpm, fastest, default if prior is None else prior)
    found = _strongest(_over_frames(tg, inside, aggregate), bpm, preference)
    if aggregate is not None:
        return found.squeeze(-1)
    return found if inside is None else torch.where(inside, found, 0.0)


def _checked(tg: Tensor, y: Tensor | None, onset_envelope: Tensor | None) -> Tensor:
    if y is not None or onset_envelope is not None:
        raise ValueError(
            "give exactly one of y (a waveform), onset_envelope (its onset strength) and tg (a tempogram)."
        )
    if tg.dim() < 2 or 0 in tg.shape[-2:] or not tg.is_floating_point():
        raise ValueError(f"tg must be floats of shape (..., lags, frames), found {tg.dtype} {tuple(tg.shape)}.")
    return tg


def _near(bpm: Tensor, start_bpm: float, std_bpm: float) -> Tensor:
    """Return a log-density that is normal over octaves, but for a constant."""
    return -0.5 * ((torch.log2(bpm) - math.log2(start_bpm)) / std_bpm) ** 2


def _preference(bpm: Tensor, fastest: float, prior: Callable[[Tensor], Tensor] | LogDensity) -> Tensor:
    """Return the log-density of tempi ``(lags,)``, minus infinity from the fastest one on."""
    allowed = bpm < fastest
    if callable(prior):
        density = prior(bpm[allowed])
    elif hasattr(prior, "logpdf"):
        density = torch.as_tensor(prior.logpdf(bpm[allowed].numpy()))
    else:
        raise ValueError(f"prior must be a function or have a method logpdf, found {prior!r}.")
    n_tempi = int(allowed.sum())
    if not isinstance(density, Tensor) or density.shape != (n_tempi,) or not (density > -math.inf).any():
        raise ValueError(
            f"prior must give the log-density of {n_tempi} tempi, one above minus infinity; found {density}."
        )
    return torch.full_like(bpm, -math.inf).masked_scatter(
        allowed, density.detach().to(bpm).nan_to_num(-math.inf, neginf=-math.inf)
    )


def _over_frames(tg: Tensor, inside: Tensor | None, aggregate: Callable[..., Tensor] | None) -> Tensor:
    """Return what is made of all frames of tempograms, shape ``(..., lags, 1)``, or the tempograms."""
    if aggregate is None:
        return tg
    if inside is not None and aggregate is torch.mean:
        return (
            torch.where(inside[..., None, :], tg, 0.0).sum(dim=-1, keepdim=True) / inside.sum(dim=-1)[..., None, None]
        )
    made = aggregate(tg if inside is None else torch.where(inside[..., None, :], tg, torch.nan), dim=-1)
    return check_aggregated(made, tg.shape[:-1])[..., None]


def _strongest(correlation: Tensor, bpm: Tensor, preference: Tensor) -> Tensor:
    """Return the tempo of the strongest correlation ``(..., lags, frames)``, the fastest of equals."""
    # A negative one, which has no logarithm, counts as none.
    score = torch.log1p(1e6 * correlation.clamp(min=0)) + preference.to(correlation)[:, None]
    best = torch.where(score == score.amax(dim=-2, keepdim=True), 1, 0).argmax(dim=-2)
    return torch.where(correlation.isnan().any(dim=-2), torch.nan, bpm.to(correlation)[best])


def tempogram(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    onset_envelope: Tensor | None = None,
    hop_length: int = 512,
    win_length: int = 384,
    center: bool = True,
    window: Window = "hann",
    norm: float | None = math.inf,
    lengths: Tensor | None = None,
) -> Tensor:
    """Autocorrelation of the onset strength around each frame, as `librosa.feature.tempogram`.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        onset_envelope: Onset strengths instead of ``y``, shape ``(..., frames)``.
        hop_length: Samples between frames.
        win_length: Frames that are correlated at a time.
        center: Centre the first window on the first frame, where what is outside fades out; otherwise it starts there.
        window: Name (hann, hamming, blackman, bartlett, ones; periodic), or a function of the number of frames.
        norm: Norm of each frame's correlation, or None.
        lengths: Valid samples of each clip (valid frames where the strength is given), shape ``(...)``.

    Returns:
        Autocorrelation by lag, shape ``(..., win_length, frames)``, zero past each clip's frames; without ``center``
        there are ``win_length - 1`` frames less.

    Raises:
        ValueError: If not exactly one of ``y`` and ``onset_envelope`` is given, ``win_length`` is below 1, ``window``
            is unknown, or there are less than ``win_length`` frames without ``center``.

    Example:
        >>> tempogram(torch.randn(22050)).shape
        torch.Size([384, 44])
    """
    if win_length < 1:
        raise ValueError(f"win_length must be at least 1, found {win_length}.")
    strength, n_frames = _strength(y, onset_envelope, sr=sr, hop_length=hop_length, lengths=lengths)
    if center:
        padded = _faded(strength, win_length // 2, n_frames)[..., : strength.shape[-1] + win_length - 1]
    elif strength.shape[-1] >= win_length:
        padded, n_frames = strength, None if n_frames is None else n_frames - win_length + 1
    else:
        raise ValueError(f"win_length: {win_length} are more than all {strength.shape[-1]} frames; center pads them.")
    # In float64 as librosa has it, where the device can: `tempo` takes the logarithm of next to nothing.
    precise = strength.dtype if strength.device.type == "mps" else torch.float64
    taps = window_taps(window, win_length).to(strength.device, precise)
    frames = padded.unfold(-1, win_length, 1) * taps
    spectrum: Tensor = torch.fft.rfft(frames, n=2 * win_length)
    power = spectrum.real.square() + spectrum.imag.square()
    correlation: Tensor = torch.fft.irfft(power, n=2 * win_length)[..., :win_length]
    correlation = normalize(correlation, norm=norm, dim=-1).to(strength).transpose(-1, -2)
    if n_frames is None:
        return correlation
    return torch.where(frame_mask(n_frames, correlation.shape[-1])[..., None, :], correlation, 0.0)


def _faded(strength: Tensor, half: int, n_frames: Tensor | None) -> Tensor:
    """Pad by half a window on both sides, where the edge values fade out in a line."""
    total = strength.shape[-1]
    ends = torch.tensor(total, device=strength.device) if n_frames is None else n_frames[..., None]
    position = torch.arange(-half, total + half, device=strength.device)
    inside = torch.minimum(position.clamp(min=0), ends - 1).expand(*strength.shape[:-1], -1)
    fade_in = (position + half) / max(half, 1)
    fade_out = (ends - 1 + half - position) / max(half, 1)
    fade = torch.minimum(fade_in, fade_out).clamp(0, 1).to(strength)
    return strength.gather(-1, inside) * fade


def _strength(
    y: Tensor | None, onset_envelope: Tensor | None, *, sr: float, hop_length: int, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the onset strength and the valid frames of each item."""
    if (y is None) == (onset_envelope is None):
        raise ValueError("give exactly one of y (a waveform) and onset_envelope (its onset strength).")
    if onset_envelope is not None:
        return onset_envelope, lengths
    assert y is not None
    strength = onset_strength(y, sr=sr, hop_length=hop_length, lengths=lengths)
    return strength, None if lengths is None else 1 + lengths // hop_length
