"""CNN-AT, the fully convolutional tagger."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.network import AudioNetwork, elu_convolution
from lightning_dissect.networks.spectrogram import LogSpectrogram

Pool = tuple[int, int]

POOLS_29_S: tuple[Pool, ...] = ((2, 4), (2, 4), (2, 4), (3, 5), (4, 4))
"""The paper's pools (frequency, time), which bring 29.12 s (96 mels, 1366 frames) to a single value."""
POOLS_3_S: tuple[Pool, ...] = ((2, 4), (2, 2), (2, 2), (3, 4), (4, 2))
"""Pools that bring 3 s (96 mels, 141 frames) to a single value."""


class CNNAT(AudioNetwork):
    """CNN-AT, the FCN-5 of Choi, Fazekas and Sandler 2016 (arXiv 1606.00298) that Slizovskaia 2019 studies.

    96 mels of 12 kHz audio in decibel, batch norm on the frequency axis, five blocks of a 3×3 convolution, batch norm
    and ELU, each followed by a max pool, then a dense layer. What is left of the map at the end is max-pooled away.

    Args:
        n_classes: Number of logits; the paper's tagger has 50, and a sigmoid after them.
        pools: Size (frequency, time) of each of the five pools.
        n_embedding: Units of a dense layer between the convolutions and the logits; None has none, as in the paper.

    Example:
        >>> import torch
        >>> network = CNNAT(n_classes=10, pools=POOLS_3_S, n_embedding=128)
        >>> network(torch.randn(2, 36_000)).shape
        torch.Size([2, 10])
        >>> network.layers
        ('conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'embedding')
    """

    sample_rate = 12_000
    frequency = FrequencyAxis("mel", 96)
    n_fft, hop_length = 512, 256

    def __init__(self, n_classes: int = 50, pools: Sequence[Pool] = POOLS_29_S, n_embedding: int | None = None) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(self.sample_rate, self.n_fft, self.hop_length, self.frequency)
        self.norm = nn.BatchNorm1d(self.frequency.n_bins)
        widths = (1, 64, 128, 128, 128, 64)
        for n, (n_in, n_out, pool) in enumerate(zip(widths[:-1], widths[1:], pools, strict=True), start=1):
            self.add_module(f"conv{n}", elu_convolution(n_in, n_out))
            self.add_module(f"pool{n}", nn.MaxPool2d(pool))
        if n_embedding is not None:
            self.embedding = nn.Sequential(OrderedDict(dense=nn.Linear(widths[-1], n_embedding), elu=nn.ELU()))
        self.classifier = nn.Linear(n_embedding or widths[-1], n_classes)
        self.layers = tuple(f"conv{n}" for n in range(1, 6)) + (() if n_embedding is None else ("embedding",))
        self._shortest = self.hop_length * (prod(time for _, time in pools) - 1)

    def _embed(self, waveform: Tensor) -> Tensor:
        if waveform.shape[-1] < self._shortest:
            raise ValueError(
                f"waveform: {waveform.shape[-1]} samples are too few for these pools; "
                f"{self._shortest} are needed at {self.sample_rate} Hz, or smaller pools"
            )
        x: Tensor = self.norm(self.spectrogram(waveform)).unsqueeze(1)
        for n in range(1, 6):
            x = self.get_submodule(f"pool{n}")(self.get_submodule(f"conv{n}")(x))
        x = x.amax(dim=(-2, -1))
        return self.embedding(x) if hasattr(self, "embedding") else x
