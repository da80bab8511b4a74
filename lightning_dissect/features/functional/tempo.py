"""Tempo from the autocorrelation of the onset strength."""

import math

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_framing, check_rate
from lightning_dissect.features.functional.device import precise
from lightning_dissect.features.functional.lengths import trim_frames
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.onset import envelope


def tempo(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    onset_envelope: Tensor | None = None,
    hop_length: int = 512,
    start_bpm: float = 120.0,
    std_bpm: float = 1.0,
    ac_size: float = 8.0,
    max_tempo: float | None = 320.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Tempo of each clip, as `librosa.feature.tempo`: the strongest period near a preferred tempo.

    Args:
        onset_envelope: Onset strengths instead of ``y``, shape ``(..., frames)``.
        start_bpm: The preferred tempo.
        std_bpm: Standard deviation of the preference in octaves.
        ac_size: Length of the autocorrelation in seconds.
        max_tempo: Tempi from here on are left out; None keeps all.

    Returns:
        Beats a minute, shape ``(...)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``onset_envelope`` is given, or an argument is out of range.

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
    n_lags = int(ac_size * sr // hop_length)
    bpm = 60.0 * sr / (hop_length * torch.arange(max(n_lags, 1), dtype=torch.float64))
    if not (bpm < fastest).any():
        raise ValueError(f"ac_size: {ac_size} s hold no period of a tempo below max_tempo ({max_tempo}).")
    strength, n_frames = envelope(y, onset_envelope, sr=sr, hop_length=hop_length, lengths=lengths)
    correlation = trim_frames(_autocorrelation(strength, n_lags, n_frames).mT, n_frames)
    # Frames past a clip's end are zero, and no part of the mean.
    correlation = correlation.sum(dim=-1) / (strength.shape[-1] if n_frames is None else n_frames[..., None])
    octaves = (torch.log2(bpm) - math.log2(start_bpm)) / std_bpm
    preference = torch.where(bpm < fastest, -0.5 * octaves**2, -torch.inf)
    # A negative correlation, which has no logarithm, counts as none.
    score = torch.log1p(1e6 * correlation.clamp(min=0)) + preference.to(correlation)
    # The first of equals, which is the fastest.
    best = torch.where(score == score.amax(dim=-1, keepdim=True), 1, 0).argmax(dim=-1)
    return torch.where(correlation.isnan().any(dim=-1), torch.nan, bpm.to(correlation)[best])


def _autocorrelation(strength: Tensor, size: int, n_frames: Tensor | None) -> Tensor:
    """Return librosa's tempogram: the autocorrelation around each frame, shape ``(..., frames, size)``."""
    padded = _faded(strength, size // 2, n_frames)[..., : strength.shape[-1] + size - 1]
    # In float64 as librosa has it, where the device can: `tempo` takes the logarithm of next to nothing.
    frames = padded.unfold(-1, size, 1) * torch.hann_window(size, dtype=precise(strength), device=strength.device)
    spectrum: Tensor = torch.fft.rfft(frames, n=2 * size)
    power = spectrum.real.square() + spectrum.imag.square()
    correlation: Tensor = torch.fft.irfft(power, n=2 * size)[..., :size]
    return normalize(correlation, dim=-1).to(strength)


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
