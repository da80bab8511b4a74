"""MM-CNN, the musically motivated networks of Pons."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.spectrogram import LogSpectrogram

_FILTERS_BY_WIDTH = {1: 128, 3: 64, 5: 32}
_N_PARALLEL = 2 * sum(_FILTERS_BY_WIDTH.values())


class _ParallelConvolutions(nn.Module):
    """Convolutions of several shapes side by side, each with batch norm, ELU and a max pool, their channels joined.

    Args:
        heights: of the kernels, in mels.
        pooled: size (frequency, time) of the map after the pool.
    """

    def __init__(self, heights: tuple[int, int], pooled: tuple[int, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict()
        for height in heights:
            for width, n_filters in _FILTERS_BY_WIDTH.items():
                conv = nn.Conv2d(1, n_filters, (height, width), padding="same")
                block = OrderedDict(conv=conv, norm=nn.BatchNorm2d(n_filters), elu=nn.ELU())
                self.branches[f"{height}x{width}"] = nn.Sequential(block)
        self.pool = nn.AdaptiveMaxPool2d(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pool(branch(x)) for branch in self.branches.values()], dim=1)


class MMCNNSingle(AudioNetwork):
    """The single-layer MM-CNN of Pons et al. 2017 (arXiv 1703.06697), as studied by Slizovskaia 2019.

    96 mels of 12 kHz audio in decibel. Six parallel convolutions, of 50 and 70 mels × 1, 3 and 5 frames, with 128, 64
    and 32 filters by width; batch norm, ELU, max pool (96, 32), dropout, dense. At the paper's 128 frames the pool
    leaves 1 × 4; clips of other lengths are pooled to 1 × 4 as well.

    Args:
        n_classes: number of logits.

    Example:
        >>> network = MMCNNSingle(n_classes=10)
        >>> network(torch.zeros(2, 36_000)).shape
        torch.Size([2, 10])
        >>> network.layers[:2]
        ('convolutions.branches.50x1', 'convolutions.branches.50x3')
    """

    sample_rate = 12_000
    frequency = FrequencyAxis("mel", 96)
    n_fft, hop_length = 512, 256
    layers = tuple(f"convolutions.branches.{height}x{width}" for height in (50, 70) for width in (1, 3, 5))

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(self.sample_rate, self.n_fft, self.hop_length, self.frequency)
        self.norm = nn.BatchNorm2d(1)
        self.convolutions = _ParallelConvolutions((50, 70), pooled=(1, 4))
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(4 * _N_PARALLEL, n_classes))

    def forward(self, waveform: Tensor) -> Tensor:
        """Classify clips.

        Args:
            waveform: at 12 kHz [shape=(B, samples)].

        Returns:
            Logits [shape=(B, classes)].
        """
        x = self.norm(self.spectrogram(waveform).unsqueeze(1))
        logits: Tensor = self.classifier(self.convolutions(x).flatten(1))
        return logits


class MMCNNMulti(AudioNetwork):
    """The multi-layer MM-CNN of Pons et al. 2017 (arXiv 1703.06697), as studied by Slizovskaia 2019.

    96 mels of 12 kHz audio in decibel. Six parallel convolutions, of 5 and 80 mels × 1, 3 and 5 frames, max pool (24,
    32), then twice a 3×3 convolution of 128 filters, batch norm, ELU and a 2×2 pool, then dense layers of 256 and the
    classes. At the paper's 128 frames the first pool leaves 4 × 4; clips of other lengths are pooled to 4 × 4 as
    well.

    Args:
        n_classes: number of logits.

    Example:
        >>> MMCNNMulti(n_classes=10)(torch.zeros(2, 36_000)).shape
        torch.Size([2, 10])
    """

    sample_rate = 12_000
    frequency = FrequencyAxis("mel", 96)
    n_fft, hop_length = 512, 256
    layers = (
        *(f"convolutions.branches.{height}x{width}" for height in (5, 80) for width in (1, 3, 5)),
        *("conv2", "conv3", "embedding"),
    )

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(self.sample_rate, self.n_fft, self.hop_length, self.frequency)
        self.norm = nn.BatchNorm2d(1)
        self.convolutions = _ParallelConvolutions((5, 80), pooled=(4, 4))
        self.conv2 = self._block(_N_PARALLEL)
        self.conv3 = self._block(128)
        self.pool = nn.MaxPool2d(2)
        self.embedding = nn.Sequential(nn.Linear(128, 256), nn.ELU())
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, n_classes))

    @staticmethod
    def _block(n_in: int) -> nn.Sequential:
        conv = nn.Conv2d(n_in, 128, 3, padding="same")
        return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(128), elu=nn.ELU()))

    def forward(self, waveform: Tensor) -> Tensor:
        """Classify clips.

        Args:
            waveform: at 12 kHz [shape=(B, samples)].

        Returns:
            Logits [shape=(B, classes)].
        """
        x = self.convolutions(self.norm(self.spectrogram(waveform).unsqueeze(1)))
        x = self.pool(self.conv3(self.pool(self.conv2(x))))
        logits: Tensor = self.classifier(self.embedding(x.flatten(1)))
        return logits
