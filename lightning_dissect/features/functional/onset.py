"""Onsets as librosa sees them: the rise of a mel spectrogram."""

import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.mel import melspectrogram
from lightning_dissect.features.functional.spectrum import power_to_db

__all__ = ["onset_strength"]


def onset_strength(
    y: Tensor | None = None,
    *,
    sr: float = 22050,
    S: Tensor | None = None,
    lag: int = 1,
    max_size: int = 1,
    center: bool = True,
    n_fft: int = 2048,
    hop_length: int = 512,
    lengths: Tensor | None = None,
) -> Tensor:
    """Mean rise of a mel spectrogram in dB (spectral flux), as `librosa.onset.onset_strength`, each item on its own.

    Args:
        y: Waveforms, shape ``(..., samples)``.
        sr: Sampling rate in Hz.
        S: Spectrograms in dB instead of ``y``, shape ``(..., bands, frames)``.
        lag: Frames between what is compared.
        max_size: Bands over which the earlier frame's maximum is taken (odd), against vibrato.
        center: Shift by half a frame, so that the rise is where the onset is.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        lengths: Valid samples of each clip, shape ``(...)``; only with ``y``.

    Returns:
        Onset strength in dB a frame, not negative, shape ``(..., frames)``.

    Raises:
        ValueError: If not exactly one of ``y`` and ``S`` is given, or an argument is out of range.

    Example:
        >>> import torch
        >>> click = torch.zeros(22050)
        >>> click[11025] = 1.0
        >>> onset_strength(click).argmax().item() * 512
        11264
    """
    if lag < 1 or max_size < 1 or max_size % 2 == 0:
        raise ValueError(f"lag must be at least 1 and max_size odd, found {lag} and {max_size}.")
    if S is None:
        S = power_to_db(melspectrogram(y, sr=sr, n_fft=n_fft, hop_length=hop_length, lengths=lengths))
    elif y is not None or lengths is not None:
        raise ValueError("give exactly one of y (a waveform, with its lengths) and S (a spectrogram in dB).")
    n_frames = S.shape[-1]
    earlier = S[..., : max(n_frames - lag, 0)]
    if max_size > 1:
        columns = earlier.transpose(-1, -2)
        earlier = nnf.max_pool1d(columns.flatten(0, -2)[None], max_size, 1, max_size // 2)[0].view(columns.shape).mT
    rise = (S[..., lag:] - earlier).clamp(min=0).mean(dim=-2)
    delay = lag + (n_fft // (2 * hop_length) if center else 0)
    return nnf.pad(rise, (delay, 0))[..., :n_frames]
