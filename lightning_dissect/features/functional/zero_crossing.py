"""How often a waveform changes its sign."""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_framing
from lightning_dissect.features.functional.frames import frame_lengths
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask, trim_frames


def zero_crossing_rate(
    y: Tensor,
    *,
    frame_length: int = 2048,
    hop_length: int = 512,
    center: bool = True,
    threshold: float = 1e-10,
    lengths: Tensor | None = None,
) -> Tensor:
    """Share of samples whose sign differs from the one before, as `librosa.feature.zero_crossing_rate`.

    Args:
        center: Continue a clip by its edge values, so that frame t is centred at sample ``t * hop_length``; otherwise
            it starts there.
        threshold: Up to this, a sample counts as zero, and zero counts as positive.

    Returns:
        Rates between 0 and 1, shape ``(..., frames)``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or an argument is out of range.

    Example:
        >>> y = torch.tensor([1.0, -1.0]).repeat(2048)
        >>> zero_crossing_rate(y)[4].item() * 2048
        2047.0
    """
    y = as_waveform(y)
    check_framing(frame_length, hop_length)
    n_samples = y.shape[-1]
    negative = y < -threshold
    changes = (negative[..., 1:] != negative[..., :-1]).to(torch.int32)
    if lengths is not None:
        lengths = check_lengths(lengths, y.shape[:-1], n_samples, "y")
        # Beyond its end a clip is continued by its last sample, so that nothing changes there.
        changes = changes * frame_mask(lengths - 1, n_samples - 1)
    # total[i] counts the changes before sample i.
    total = nnf.pad(changes.cumsum(dim=-1, dtype=torch.int32), (1, 0))
    half = frame_length // 2 if center else 0
    if n_samples + 2 * half < frame_length:
        raise ValueError(f"y must have at least frame_length = {frame_length} samples where center is False.")
    n_frames = 1 + (n_samples + 2 * half - frame_length) // hop_length
    starts = torch.arange(n_frames, device=y.device) * hop_length - half
    first = starts.clamp(0, n_samples - 1)
    last = (starts + frame_length - 1).clamp(0, n_samples - 1)
    rate = (total[..., last] - total[..., first]).to(y.dtype) / frame_length
    rate = torch.where(y.isfinite().all(dim=-1, keepdim=True), rate, torch.nan)
    return trim_frames(rate, frame_lengths(lengths, frame_length, hop_length, center=center))
