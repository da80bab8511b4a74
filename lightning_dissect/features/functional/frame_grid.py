"""Frames of Essentia's length and distance at 44.1 kHz, cut from audio of any sampling rate."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lightning_dissect.features.functional.reference_frame import FRAME, RATE, hann, resampler_gain

_TRANSITION = 0.3
"""Least width of the interpolator's transition band over the sampling rate; narrower ones take many taps."""

_ATTENUATION = 90.0
"""What folds onto the bins is so many dB down: below the rounding of 16 bits, above that of float32."""

_OUTPUTS = 64
"""Samples that one matrix interpolates: more waste products with zeros, fewer waste calls."""

_LONGEST_PERIOD = 2048
"""Ratios of unusual rates are rounded to fractions of at most this denominator: time is off by 1 ms in an hour."""


class Interpolator(NamedTuple):
    """Brings audio from one rate to another, ``period_out`` samples for each ``period_in``.

    Attributes:
        period_in: Samples of the input.
        period_out: Samples of the output.
        reach: Samples of the input before the first that count, too.
        parts: First sample of the input, and weights of it and those that follow for some of the outputs, shape
            ``(inputs, outputs)``, float64.
    """

    period_in: int
    period_out: int
    reach: int
    parts: tuple[tuple[int, Tensor], ...]


class FrameGrid(NamedTuple):
    """How frames are cut at one sampling rate.

    Attributes:
        size: Samples of a frame, a power of two; frames are half of that apart.
        window: Hann window, as the reference has it, shape ``(size,)`` or ``(clips, 1, size)``.
        audible: What a resampler to the reference's rate leaves of each bin, shape ``(bins,)``; bins beyond
            are empty.
        interpolator: How to reach the rate at which frames have that size; None at that rate.
    """

    size: int
    window: Tensor
    audible: Tensor
    interpolator: Interpolator | None

    def to(self, y: Tensor, unit: Tensor) -> "FrameGrid":
        """Return the same in the precision and on the device of ``y``, for clips whose height ``unit`` becomes 1."""
        by = self.interpolator
        if by is not None:
            by = by._replace(parts=tuple((begin, weights.to(y)) for begin, weights in by.parts))
        return FrameGrid(self.size, self.window.to(y) / unit[:, None, None], self.audible.to(y), by)

    def frames(self, y: Tensor, first: int, count: int) -> Tensor:
        """Cut windowed frames from ``first`` on, shape ``(clips, count, size)``; beyond the audio lies silence."""
        hop = self.size // 2
        start, samples = first * hop, (count + 1) * hop
        if self.interpolator is None:
            section = nnf.pad(y, (-start, start + samples - y.shape[-1]))
        else:
            section = _interpolated(y, self.interpolator, start, samples)
        return section.unfold(-1, self.size, hop) * self.window


@lru_cache(maxsize=16)
def frame_grid(sr: int) -> FrameGrid:
    """Return how to cut frames at a sampling rate. Do not write to it.

    The reference's frames have 1024 samples at 44.1 kHz. Audio at lower rates holds nothing in its upper bins, and the
    lower ones are the same for frames of 512 samples at half the rate, and so on. Only the bins up to half the lower of
    the two rates are needed, so that the interpolator may leave all else as it comes.
    """
    band = min(sr, RATE)
    size = 2
    while (rate := Fraction(RATE * size, FRAME)) != sr and rate - band < _TRANSITION * sr:
        size *= 2
    window = hann(torch.arange(size, dtype=torch.float64) * (FRAME / size))
    bins = torch.arange(band * FRAME // (2 * RATE) + 1, dtype=torch.float64)
    audible = torch.ones_like(bins) if sr == RATE else resampler_gain(bins * (2 * RATE / (band * FRAME)))
    interpolator = None if rate == sr else _interpolator(sr / rate, float(rate - band) / sr)
    return FrameGrid(size, window, audible, interpolator)


def _interpolator(ratio: Fraction, transition: float) -> Interpolator:
    """Make an interpolator by a Kaiser-windowed sine cardinal.

    ``ratio`` is samples of the input for each of the output, ``transition`` the width of the band around half the
    output's rate, over the input's rate.
    """
    ratio = ratio.limit_denominator(_LONGEST_PERIOD)
    repeats = max(_OUTPUTS // ratio.denominator, 1)
    period_in, period_out = ratio.numerator * repeats, ratio.denominator * repeats
    reach = math.ceil((_ATTENUATION - 8) / (2.285 * 2 * math.pi * transition) / 2)
    cutoff = float(1 / ratio)
    shape = torch.tensor(0.1102 * (_ATTENUATION - 8.7), dtype=torch.float64)
    parts = []
    for outputs in torch.arange(period_out, dtype=torch.float64).tensor_split(max(period_out // _OUTPUTS, 1)):
        times = outputs * ratio.numerator / ratio.denominator
        start, last = int(times[0]), int(times[-1])
        inputs = torch.arange(start - reach + 1, last + reach + 1, dtype=torch.float64)
        distance = inputs[:, None] - times
        taper = torch.special.i0(shape * (1 - (distance / reach).square()).clamp(min=0).sqrt())
        taper = torch.where(distance.abs() <= reach, taper / torch.special.i0(shape), 0.0)
        parts.append((start, cutoff * torch.sinc(cutoff * distance) * taper))
    return Interpolator(period_in, period_out, reach, tuple(parts))


def _interpolated(y: Tensor, by: Interpolator, start: int, samples: int) -> Tensor:
    """Return some samples of the output, shape ``(clips, samples)``."""
    first, last = start // by.period_out, -(-(start + samples) // by.period_out)
    before = first * by.period_in - by.reach + 1
    longest = max(begin + len(weights) for begin, weights in by.parts)
    section = nnf.pad(y, (-before, before + (last - first - 1) * by.period_in + longest - y.shape[-1]))
    pieces = [
        section[:, begin:].unfold(-1, len(weights), by.period_in)[:, : last - first] @ weights
        for begin, weights in by.parts
    ]
    skipped = start - first * by.period_out
    return torch.cat(pieces, dim=-1).flatten(1)[:, skipped : skipped + samples]
