"""A random sample of the clips seen, of a fixed size, whatever their order and however they are spread."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import counted_clips

_MIXERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""Odd numbers that mix the bits of a 64-bit number well (Stafford's thirteenth variant of MurmurHash3's finaliser)."""


class ClipSample(NamedTuple):
    """The clips with the largest keys of all clips seen.

    A clip's key is a hash of its values: a random number that does not depend on when, where and with what others
    the clip was seen.

    Attributes:
        key: From 1 on, 0 in empty places, int64, shape (places,).
        x: Activations, shape (places, units).
        f: Feature values, shape (places, rows).
        z: Shortness of the clips (see :mod:`~lightning_dissect.metrics.functional.lengths`), shape (places,).
    """

    key: Tensor
    x: Tensor
    f: Tensor
    z: Tensor

    @classmethod
    def zeros(cls, size: int = 0, units: int = 0, rows: int = 0, device: torch.device | None = None) -> ClipSample:
        """A sample of no clips."""
        values = (torch.zeros(shape, device=device) for shape in ((size, units), (size, rows), (size,)))
        return cls(torch.zeros(size, dtype=torch.int64, device=device), *values)

    @classmethod
    def merge(cls, stacked: ClipSample) -> ClipSample:
        """Join the samples of several processes, given with a leading axis.

        Returns:
            The clips with the largest keys, as many as one sample holds, without empty places, in the order of their
            keys; float64 on the CPU.
        """
        key, *values = (part.flatten(0, 1).cpu() for part in stacked)
        order = key.argsort(descending=True)[: stacked.key.shape[1]]
        order = order[key[order] > 0]
        return cls(key[order], *(value[order].double() for value in values))


def sample_update(sample: ClipSample, x: Tensor, f: Tensor, z: Tensor, size: int) -> ClipSample:
    """Offer a batch of clips to the sample.

    Args:
        sample: The sample so far; ``ClipSample.zeros()`` takes its sizes from the first batch. It is written over.
        x: Activations, shape (clips, units), float32.
        f: Feature values, shape (clips, rows), float32.
        z: Shortness of the clips, shape (clips,).
        size: Number of clips that a new sample holds.

    Returns:
        The sample with this batch offered. A clip that does not count (see
        :func:`~lightning_dissect.metrics.functional.moments.counted_clips`) is not taken.
    """
    if not len(x):
        return sample
    if not sample.key.numel():
        sample = ClipSample.zeros(size, x.shape[1], f.shape[1], x.device)
    batch = ClipSample(clip_keys(torch.cat([x, f], 1)) * counted_clips(x, f), x.detach(), f.detach(), z)
    if sample.key.is_inference() and not torch.is_inference_mode_enabled():
        sample = ClipSample(*(part.clone() for part in sample))
    # The largest of both: the sample's i-th smallest key gives way to the batch's i-th largest, if that is larger.
    several = min(len(batch.key), len(sample.key))
    theirs, mine = batch.key.argsort(descending=True)[:several], sample.key.argsort()[:several]
    taken = batch.key[theirs] > sample.key[mine]
    for old, new in zip(sample, batch, strict=True):
        kept = taken.view(-1, *[1] * (old.ndim - 1))
        old.index_copy_(0, mine, torch.where(kept, new[theirs], old[mine]))
    return sample


def clip_keys(values: Tensor) -> Tensor:
    """Hash each row's bits to a number from 1 to 2**62.

    Args:
        values: Float32, shape (clips, values).

    Returns:
        Int64, shape (clips,).
    """
    bits = values.contiguous().view(torch.int32).to(torch.int64)
    key = (bits * _odd_numbers(values.shape[1]).to(values.device)).sum(1)
    for mixer in _MIXERS:
        key = (key ^ (key >> 30)) * mixer
    return ((key ^ (key >> 31)) & (2**62 - 1)) + 1


@lru_cache(maxsize=64)
def _odd_numbers(n: int) -> Tensor:
    return 2 * torch.randint(2**61, (n,), generator=torch.Generator().manual_seed(n)) + 1
