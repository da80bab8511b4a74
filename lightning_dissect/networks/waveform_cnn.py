"""The network on the raw waveform."""

from collections import OrderedDict

from torch import Tensor, nn

from lightning_dissect.networks.network import AudioNetwork


class WaveformCNN(AudioNetwork):
    """The 1-D network of Abdoli, Cardinal and Koerich 2019 (arXiv 1904.08990), as studied by Frommholz et al. 2023.

    On 1 s of 16 kHz audio: convolutions 16@64, 32@32, 64@16 and 128@8, all of stride 2, with batch norm and ReLU, a
    pool of 8 after the first two; dense layers of 128, 64 and the classes.

    Example:
        >>> import torch
        >>> WaveformCNN(n_classes=10)(torch.zeros(2, 16_000)).shape
        torch.Size([2, 10])
    """

    sample_rate = 16_000
    layers = ("conv1", "conv2", "conv3", "conv4", "dense1", "dense2")
    n_samples = 16_000

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        widths = (1, 16, 32, 64, 128)
        for n, kernel in enumerate((64, 32, 16, 8), start=1):
            conv = nn.Conv1d(widths[n - 1], widths[n], kernel, stride=2)
            block = OrderedDict(conv=conv, norm=nn.BatchNorm1d(widths[n]), relu=nn.ReLU())
            self.add_module(f"conv{n}", nn.Sequential(block))
        self.pool = nn.MaxPool1d(8)
        self.dense1 = nn.Sequential(nn.Linear(128 * 8, 128), nn.ReLU())
        self.dense2 = nn.Sequential(nn.Linear(128, 64), nn.ReLU())
        self.classifier = nn.Linear(64, n_classes)

    def _embed(self, waveform: Tensor) -> Tensor:
        if waveform.shape[-1] != self.n_samples:
            raise ValueError(
                f"waveform: {waveform.shape[-1]} samples; this network takes exactly {self.n_samples}, 1 s at 16 kHz"
            )
        x: Tensor = self.pool(self.get_submodule("conv1")(waveform.unsqueeze(1)))
        x = self.pool(self.get_submodule("conv2")(x))
        x = self.get_submodule("conv4")(self.get_submodule("conv3")(x))
        x = self.dense2(self.dense1(x.flatten(1)))
        return x
