"""The six networks of Yanchenko et al."""

from typing import Literal, NamedTuple

from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.spectrogram import LogSpectrogram

_SIDE = 128
_WIDTHS = (1, 10, 20, 30)


class _Shape(NamedTuple):
    """Stride, padding and dilation of a convolution along the axes that its kernel spans."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1


class _OffsetConv2d(nn.Module):
    """Deformable convolution whose offsets are a 3×3 convolution of the same input (Dai et al. 2017)."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        try:
            from torchvision.ops import DeformConv2d
        except ImportError as error:
            raise ImportError(
                "YanchenkoDeformable needs torchvision in the version that goes with your torch: "
                "pip install 'lightning-dissect[networks]'"
            ) from error
        self.offsets = nn.Conv2d(n_in, 2 * kernel**2, 3, stride, padding=1)
        self.conv = DeformConv2d(n_in, n_out, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.conv(x, self.offsets(x))
        return output


class _Yanchenko(AudioNetwork):
    """Front end of the six, which take clips of exactly 4 s; the argument ``n_classes`` is the number of logits."""

    sample_rate = 16_000
    frequency = FrequencyAxis("mel", _SIDE, 0.0, 8000.0)
    n_fft, hop_length = 2048, 502
    layers: tuple[str, ...] = ("conv1", "conv2", "conv3", "dense")

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(self.sample_rate, self.n_fft, self.hop_length, self.frequency)

    def maps(self, waveform: Tensor) -> Tensor:
        """Return the input, 128 mels × 128 frames, shape ``(clips, 1, 128, 128)``."""
        maps: Tensor = self.spectrogram(waveform).unsqueeze(1)
        if maps.shape[-1] != _SIDE:
            raise ValueError(
                f"waveform: {waveform.shape[-1]} samples give {maps.shape[-1]} frames; this network takes exactly "
                f"{_SIDE} frames, which are 4 s (64 000 samples) at 16 kHz"
            )
        return maps


class _YanchenkoCNN(_Yanchenko):
    """Three convolutions, each followed by batch norm and ReLU, the first two also by a pool.

    Attributes:
        axis: The axis that kernels and pools span; the other stays as it is.
        shapes: Of the three convolutions.
        last_size: Size of one channel after the third.
    """

    axis: Literal["both", "frequency", "time"] = "both"
    shapes: tuple[_Shape, ...]
    last_size: int

    def __init__(self, n_classes: int = 8) -> None:
        super().__init__()
        for n, shape in enumerate(self.shapes, start=1):
            conv = nn.Conv2d(
                *(_WIDTHS[n - 1], _WIDTHS[n], self._spread(5, 1), self._spread(shape.stride, 1)),
                *(self._spread(shape.padding, 0), self._spread(shape.dilation, 1)),
            )
            self.add_module(f"conv{n}", conv)
            self.add_module(f"norm{n}", nn.BatchNorm2d(_WIDTHS[n]))
        self.pool = nn.MaxPool2d(self._spread(2, 1))
        self.dense = nn.Linear(_WIDTHS[3] * self.last_size, 120)
        self.classifier = nn.Linear(120, n_classes)

    def _spread(self, value: int, neutral: int) -> tuple[int, int]:
        return (neutral if self.axis == "time" else value, neutral if self.axis == "frequency" else value)

    def _embed(self, waveform: Tensor) -> Tensor:
        x = self.maps(waveform)
        for n in range(1, 4):
            x = self.get_submodule(f"norm{n}")(self.get_submodule(f"conv{n}")(x)).relu()
            x = x if n == 3 else self.pool(x)
        embedding: Tensor = self.dense(x.flatten(1)).relu()
        return embedding


class YanchenkoRegular(_YanchenkoCNN):
    """The regular network of Yanchenko et al. 2021 (arXiv 2106.00110): 79 118 weights, third convolution 30 × 4 × 4.

    Convolutions 10@5×5, 20@5×5 (stride 3, padding 3) and 30@5×5 (stride 2), each with batch norm and ReLU, a 2×2 pool
    after the first two; dense 120, ReLU, classes. The paper's deep features are the output of `conv3`.

    Example:
        >>> YanchenkoRegular().n_parameters
        79118
    """

    shapes = (_Shape(), _Shape(3, 3), _Shape(2))
    last_size = 4 * 4


class YanchenkoDilated(_YanchenkoCNN):
    """The dilated network of Yanchenko et al. 2021: 151 118 weights, third convolution 30 × 6 × 6.

    As `YanchenkoRegular`, with dilation 3 in the first convolution, dilation 2, stride 2 and padding 3 in the second,
    stride 2 and padding 1 in the third.
    """

    shapes = (_Shape(dilation=3), _Shape(2, 3, 2), _Shape(2, 1))
    last_size = 6 * 6


class YanchenkoFrequency(_YanchenkoCNN):
    """The network of Yanchenko et al. 2021 that is 1-D in frequency: 2 770 118 weights, third convolution 30 × 6 × 128.

    As `YanchenkoRegular`, with kernels (5, 1) and pools (2, 1), and padding 2 in the third convolution, which the
    paper does not give and its map of 6 needs.
    """

    axis = "frequency"
    shapes = (_Shape(), _Shape(3, 3), _Shape(2, 2))
    last_size = 6 * _SIDE


class YanchenkoTime(_YanchenkoCNN):
    """The network of Yanchenko et al. 2021 that is 1-D in time: 2 770 118 weights, third convolution 30 × 128 × 6.

    As `YanchenkoFrequency`, with kernels (1, 5) and pools (1, 2).
    """

    axis = "time"
    shapes = (_Shape(), _Shape(3, 3), _Shape(2, 2))
    last_size = 6 * _SIDE


class YanchenkoDeformable(_YanchenkoCNN):
    """The deformable network of Yanchenko et al. 2021: 160 138 weights, third convolution 30 × 6 × 6.

    As `YanchenkoRegular`, the third convolution deformable (5×5, stride 2, padding 2, without bias), its offsets a 3×3
    convolution; these are the sizes at which the weights add up to the paper's.

    Raises:
        ImportError: If torchvision is missing.
    """

    shapes = (_Shape(), _Shape(3, 3), _Shape(2, 2))
    last_size = 6 * 6

    def __init__(self, n_classes: int = 8) -> None:
        super().__init__(n_classes)
        self.conv3 = _OffsetConv2d(_WIDTHS[2], _WIDTHS[3], kernel=5, stride=2, padding=2)


class YanchenkoDense(_Yanchenko):
    """The dense network of Yanchenko et al. 2021: 16384 → 120, batch norm, ReLU → classes; 1 967 408 weights."""

    layers = ("dense",)

    def __init__(self, n_classes: int = 8) -> None:
        super().__init__()
        self.dense = nn.Linear(_SIDE**2, 120)
        self.norm = nn.BatchNorm1d(120)
        self.classifier = nn.Linear(120, n_classes)

    def _embed(self, waveform: Tensor) -> Tensor:
        x: Tensor = self.norm(self.dense(self.maps(waveform).flatten(1)))
        return x.relu()
