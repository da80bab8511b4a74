"""Loudness as broadcasters measure it: ITU-R BS.1770-4 and EBU R128."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.arguments import as_waveform, check_framing, check_rate
from lightning_dissect.features.functional.lengths import check_lengths, trim
from lightning_dissect.features.functional.spectrum import fast_size

_OFFSET = -0.691
"""What brings a sine of 997 Hz to its level in dB: K-weighting adds as much there."""

_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
"""Blocks below either are left out: in LUFS, and in LU under the mean of the blocks that pass the first."""

_TAIL = 0.25
"""Seconds until the K-weighting filter has rung down by more than 200 dB."""


class EBUR128(NamedTuple):
    """Loudness in LUFS.

    Attributes:
        momentary: Over 400 ms every 100 ms, shape ``(..., blocks)``; -inf in silence, NaN past each clip's end.
        short_term: Over 3 s every 100 ms, shape ``(..., blocks)``; likewise.
        integrated: Over the clip, gated at -70 LUFS and 10 LU below the mean of what passes, shape ``(...)``. NaN
            for clips of less than 400 ms, -inf where nothing passes.
    """

    momentary: Tensor
    short_term: Tensor
    integrated: Tensor


def loudness_ebur128(
    y: Tensor, *, sr: int, channel_weights: Sequence[float] | None = None, lengths: Tensor | None = None
) -> EBUR128:
    """Momentary, short-term and integrated loudness after ITU-R BS.1770-4 and EBU Tech 3341.

    Args:
        y: Waveforms of one channel, shape ``(..., samples)``; with ``channel_weights``, ``(..., channels, samples)``.
        channel_weights: Weight of each channel: 1 for left, right and centre, 1.41 for surround.
        lengths: Valid samples of each clip, shape ``(...)`` (without the axis of channels).

    Returns:
        The loudness in LUFS. Windows lie wholly inside the clip; a clip too short for one has none.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or the weights do not fit its channels.

    Example:
        >>> tone = 10 ** (-23 / 20) * torch.sin(2 * torch.pi * 1000 * torch.arange(96000) / 48000)
        >>> loudness_ebur128(torch.stack([tone, tone]), sr=48000, channel_weights=(1, 1)).integrated
        tensor(-22.99...)
    """
    check_rate(sr)
    y = as_waveform(y)
    if channel_weights is None:
        y, channel_weights = y.unsqueeze(-2), (1.0,)
    if y.dim() < 2 or y.shape[-2] != len(channel_weights):
        raise ValueError(f"channel_weights: {len(channel_weights)} weights for y of shape {tuple(y.shape)}.")
    n_samples = y.shape[-1]
    if lengths is not None:
        lengths = check_lengths(lengths, y.shape[:-2], n_samples, "y")
        y = trim(y, lengths[..., None].expand(y.shape[:-1]))
    weights = torch.tensor(channel_weights, device=y.device).to(y)
    energy = (k_weighting(y, sr=sr).square() * weights[:, None]).sum(dim=-2)
    edges = (torch.arange(int(n_samples * 10 / sr) + 2, dtype=torch.float64) * sr / 10).round().long()
    edges = edges[edges <= n_samples].to(y.device)
    steps = _sums(energy, edges)
    ends = torch.full(energy.shape[:-1], n_samples, device=y.device) if lengths is None else lengths
    momentary, momentary_power = _blocks(steps, edges, ends, 4)
    short_term, _ = _blocks(steps, edges, ends, 30)
    return EBUR128(momentary, short_term, _integrate(momentary, momentary_power))


def momentary_loudness(y: Tensor, *, sr: int, hop_length: int = 512, lengths: Tensor | None = None) -> Tensor:
    """K-weighted loudness of the 400 ms around each frame, on the frames of all other features.

    Silence lies around the clips.

    Returns:
        LUFS, at least -70 (the gate of BS.1770), shape ``(..., frames)``; frame t is centred at ``t * hop_length``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or an argument is out of range.

    Example:
        >>> momentary_loudness(torch.zeros(22050), sr=22050).unique()
        tensor([-70.])
    """
    check_rate(sr)
    check_framing(2, hop_length)
    y = trim(as_waveform(y), lengths)
    energy = trim(k_weighting(y, sr=sr).square(), lengths)
    size = max(round(0.4 * sr), 1)
    half = size // 2
    padded = nnf.pad(energy.reshape(-1, 1, y.shape[-1]), (half, size - half))
    mean = nnf.avg_pool1d(padded, size, hop_length)[..., : 1 + y.shape[-1] // hop_length]
    return _level(mean).clamp(min=_ABSOLUTE_GATE).reshape(*y.shape[:-1], -1)


def k_weighting(y: Tensor, *, sr: float) -> Tensor:
    """Filter waveforms as the head and the ear do (BS.1770-4, Annex 1), at any sampling rate.

    The two second-order filters are applied as one product of spectra, which ends up within float32 rounding of the
    recursion and runs in parallel.

    Returns:
        Filtered waveforms, shape of ``y``.

    Raises:
        ValueError: If ``y`` is empty or not floating point, or ``sr`` is not positive.

    Example:
        >>> k_weighting(torch.ones(48000), sr=48000)[-1].abs().item() < 1e-5  # removes what is constant
        True
    """
    check_rate(sr)
    y = as_waveform(y)
    n = fast_size(y.shape[-1] + math.ceil(_TAIL * sr))
    z = torch.exp(-2j * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64) / n)
    response = torch.ones_like(z)
    for numerator, denominator in k_weighting_coefficients(sr):
        top, bottom = (c[0] + z * (c[1] + z * c[2]) for c in (numerator, denominator))
        response = response * top / bottom
    spectrum: Tensor = torch.fft.rfft(y, n=n)
    filtered: Tensor = torch.fft.irfft(spectrum * response.to(spectrum), n=n)
    return filtered[..., : y.shape[-1]]


Coefficients = tuple[float, float, float]


def k_weighting_coefficients(sr: float) -> list[tuple[Coefficients, Coefficients]]:
    """Return numerator and denominator of the shelf and of the high-pass, for any sampling rate.

    BS.1770 lists them for 48 kHz; these are the analogue filters behind them, mapped by the bilinear transform.
    """
    # The shelf lifts what the head reflects by 4 dB, the high-pass takes away what the ear hears little of.
    k = math.tan(math.pi * 1681.974450955533 / sr)
    q = 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    scale = 1 + k / q + k * k
    shelf = (
        ((high + band * k / q + k * k) / scale, 2 * (k * k - high) / scale, (high - band * k / q + k * k) / scale),
        (1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale),
    )
    k = math.tan(math.pi * 38.13547087602444 / sr)
    q = 0.5003270373238773
    scale = 1 + k / q + k * k
    high_pass = ((1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale))
    return [shelf, high_pass]


def _sums(energy: Tensor, edges: Tensor) -> Tensor:
    """Sum energies between neighbouring edges, shape ``(..., edges - 1)``."""
    if edges.numel() < 2:
        return energy[..., :0]
    size = edges.diff()
    offset = torch.arange(-(-energy.shape[-1] // (edges.numel() - 1)) + 1, device=energy.device)
    index = (edges[:-1, None] + offset).clamp(max=energy.shape[-1] - 1)
    return torch.where(offset < size[:, None], energy[..., index], 0.0).sum(dim=-1)


def _blocks(steps: Tensor, edges: Tensor, ends: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Return level and mean power of blocks of some steps, NaN where a block reaches past its clip's end."""
    if steps.shape[-1] < n_steps:
        return steps[..., :0], steps[..., :0]
    size = edges[n_steps:] - edges[:-n_steps]
    mean = steps.unfold(-1, n_steps, 1).sum(dim=-1) / size
    mean = torch.where(edges[n_steps:] <= ends[..., None], mean, torch.nan)
    return _level(mean), mean


def _level(power: Tensor) -> Tensor:
    return _OFFSET + 10 * torch.log10(power)


def _integrate(level: Tensor, power: Tensor) -> Tensor:
    """Mean level of the blocks that pass both gates; comparisons with NaN are false, so missing blocks never pass."""
    passed = level > _ABSOLUTE_GATE
    gate = _level(_mean_where(power, passed)) + _RELATIVE_GATE
    passed = passed & (level > gate[..., None])
    result = torch.where(passed.any(dim=-1), _level(_mean_where(power, passed)), -torch.inf)
    return torch.where(level.isnan().all(dim=-1), torch.nan, result)


def _mean_where(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x, 0.0).sum(dim=-1) / mask.sum(dim=-1)
