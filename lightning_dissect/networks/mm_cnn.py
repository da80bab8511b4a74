"""MM-CNN, the musically motivated networks of Pons."""

import torch
from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.network import AudioNetwork, elu_convolution
from lightning_dissect.networks.spectrogram import LogSpectrogram

_FILTERS_BY_WIDTH = {1: 128, 3: 64, 5: 32}
_N_PARALLEL = 2 * sum(_FILTERS_BY_WIDTH.values())


class _ParallelConvolutions(nn.Module):
    """Convolutions of several shapes side by side, each with batch norm, ELU and a max pool, their channels joined.

    Args:
        heights: Of the kernels, in mels.
        pooled: Size (frequency, time) of the map after the pool.
    """

    def __init__(self, heights: tuple[int, int], pooled: tuple[int, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict()
        for height in heights:
            for width, n_filters in _FILTERS_BY_WIDTH.items():
                self.branches[f"{height}x{width}"] = elu_convolution(1, n_filters, (height, width))
        self.pool = nn.AdaptiveMaxPool2d(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pool(branch(x)) for branch in self.branches.values()], dim=1)


class MMCNNSingle(AudioNetwork):
    """The single-layer MM-CNN of Pons et al. 2017 (arXiv 1703.06697), as studied by Slizovskaia 2019.

    96 mels of 12 kHz audio in decibel. Six parallel convolutions, of 50 and 70 mels × 1, 3 and 5 frames, with 128, 64
    and 32 filters by width; batch norm, ELU, max pool (96, 32), dropout, dense. At the paper's 128 frames the pool
    leaves 1 × 4; clips of other lengths are pooled to 1 × 4 as well.

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

    def _embed(self, waveform: Tensor) -> Tensor:
        x: Tensor = self.convolutions(self.norm(self.spectrogram(waveform).unsqueeze(1)))
        return x.flatten(1)


class MMCNNMulti(AudioNetwork):
    """The multi-layer MM-CNN of Pons et al. 2017 (arXiv 1703.06697), as studied by Slizovskaia 2019.

    96 mels of 12 kHz audio in decibel. Six parallel convolutions, of 5 and 80 mels × 1, 3 and 5 frames, max pool (24,
    32), then twice a 3×3 convolution of 128 filters, batch norm, ELU and a 2×2 pool, then dense layers of 256 and the
    classes. At the paper's 128 frames the first pool leaves 4 × 4; clips of other lengths are pooled to 4 × 4 as
    well.

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
        self.conv2 = elu_convolution(_N_PARALLEL, 128)
        self.conv3 = elu_convolution(128, 128)
        self.pool = nn.MaxPool2d(2)
        self.embedding = nn.Sequential(nn.Linear(128, 256), nn.ELU())
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, n_classes))

    def _embed(self, waveform: Tensor) -> Tensor:
        x: Tensor = self.convolutions(self.norm(self.spectrogram(waveform).unsqueeze(1)))
        x = self.pool(self.conv3(self.pool(self.conv2(x))))
        x = self.embedding(x.flatten(1))
        return x
