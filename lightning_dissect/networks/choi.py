"""Choi's five-layer network."""

from collections import OrderedDict

from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.spectrogram import LogSpectrogram


class ChoiCNN(AudioNetwork):
    """The network of Choi, Fazekas and Sandler 2016 (arXiv 1607.02444).

    257 bins of 11 025 Hz audio (n_fft 512, hop 256) in decibel, five times a 3×3 convolution of 64 filters, ReLU and
    a 2×2 max pool, then dense layers. At the paper's 4 s (173 frames) the last pool leaves 8 × 5; clips of other
    lengths are pooled to 8 × 5 as well.

    The paper does not say how wide the dense layers are; here there is one of `n_hidden` and one of the classes.

    Args:
        n_classes: Number of logits.
        n_hidden: Width of the dense layer before them.

    Example:
        >>> import torch
        >>> ChoiCNN(n_classes=10)(torch.zeros(2, 44_100)).shape
        torch.Size([2, 10])
    """

    sample_rate = 11_025
    frequency = FrequencyAxis("linear", 257)
    n_fft, hop_length = 512, 256
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "dense")

    def __init__(self, n_classes: int, n_hidden: int = 256) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(self.sample_rate, self.n_fft, self.hop_length, frequency=None)
        self.norm = nn.BatchNorm2d(1)
        for n in range(1, 6):
            conv = nn.Conv2d(1 if n == 1 else 64, 64, 3, padding="same")
            self.add_module(f"conv{n}", nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU())))
        self.pool = nn.MaxPool2d(2)
        self.last_pool = nn.AdaptiveMaxPool2d((8, 5))
        self.dense = nn.Sequential(nn.Linear(64 * 8 * 5, n_hidden), nn.ReLU())
        self.classifier = nn.Linear(n_hidden, n_classes)

    def _embed(self, waveform: Tensor) -> Tensor:
        x: Tensor = self.norm(self.spectrogram(waveform).unsqueeze(1))
        for n in range(1, 6):
            x = self.pool(self.get_submodule(f"conv{n}")(x))
        x = self.dense(self.last_pool(x).flatten(1))
        return x
