"""How much of a sound is harmonic, in decibels over what is percussive."""

import torch
from torch import Tensor


def harmonic_ratio(harmonic: Tensor, percussive: Tensor, *, top_db: float = 80.0) -> Tensor:
    """Harmonic over percussive energy of each frame, in dB, whatever the level of the clip.

    Both energies are taken as at least ``top_db`` below the clip's loudest frame. A frame that quiet has no ratio of
    its own: the quieter, the nearer it is brought to the mean of the clip's other frames, which silence thus neither
    moves nor spoils. Of a clip of nothing but silence there is no ratio.

    Args:
        harmonic: Energy of the harmonic part of each frame, not negative, shape ``(..., frames)``; 0 past an item's
            end.
        percussive: Energy of the percussive part, same shape.
        top_db: Range below the energy of the loudest frame within which a frame counts, in dB.

    Returns:
        10 log10 of the ratio, shape ``(..., frames)``; NaN in all frames of a silent clip.

    Raises:
        ValueError: If the two have different shapes, or no frames, or ``top_db`` is not positive.

    Example:
        >>> harmonic_ratio(torch.tensor([10.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])).round(decimals=3)
        tensor([10.,  0.,  5.])
    """
    if harmonic.shape != percussive.shape or harmonic.dim() < 1 or harmonic.shape[-1] < 1:
        raise ValueError(
            f"harmonic and percussive must have one shape (..., frames), found {tuple(harmonic.shape)} and "
            f"{tuple(percussive.shape)}."
        )
    if top_db <= 0:
        raise ValueError(f"top_db must be positive, found {top_db}.")
    loudest = (harmonic + percussive).amax(dim=-1, keepdim=True)
    harmonic, percussive, floor = harmonic / loudest, percussive / loudest, 10 ** (-top_db / 10)
    ratio = 10 * torch.log10((harmonic + floor) / (percussive + floor))
    energy = harmonic + percussive
    heard = energy / (energy + floor)
    mean = (heard * ratio).sum(dim=-1, keepdim=True) / heard.sum(dim=-1, keepdim=True)
    return mean + heard * (ratio - mean)
