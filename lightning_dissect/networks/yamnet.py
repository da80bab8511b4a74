"""YAMNet."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar, Self

from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.checkpoint import load_checkpoint
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.patches import PATCH_FRAMES, LogMelPatches, PatchConv2d

_SEPARABLE = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))
"""Stride and width of each depthwise-separable convolution, MobileNet-v1's."""


def _block(conv: PatchConv2d) -> nn.Sequential:
    norm = nn.BatchNorm2d(conv.out_channels, eps=1e-4)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm, relu=nn.ReLU()))


class YAMNet(AudioNetwork):
    """YAMNet, as studied by Frommholz et al. 2023 (arXiv 2304.14019); about 3.7 million weights.

    MobileNet-v1 (a 3×3 convolution and 13 depthwise-separable ones, batch norm and ReLU after each) on patches of 96
    frames × 64 mels (time × mel), mean over each patch, dense layer. A clip is the mean of its patches' logits. The
    tensors are named as in the widely used PyTorch checkpoint.

    Args:
        n_classes: Number of logits; the published network has 521.
        patch_hop: Frames from patch to patch. The published network takes 48, so that patches overlap; at 96 they lie
            edge to edge and a layer's map has the clip's time axis, which comparing it with features needs.

    Example:
        >>> import torch
        >>> network = YAMNet(n_classes=10)
        >>> network(torch.zeros(2, 48_000)).shape
        torch.Size([2, 10])
    """

    sample_rate = 16_000
    frequency = FrequencyAxis("mel_htk", 64, 125.0, 7500.0)
    n_fft, hop_length = 512, 160
    layers = tuple(f"layer{n}" for n in range(1, 15))
    axes: ClassVar[Mapping[str, str]] = {"layer*": "batch unit time frequency"}

    def __init__(self, n_classes: int = 521, patch_hop: int = PATCH_FRAMES) -> None:
        super().__init__()
        self.patches = LogMelPatches(offset=0.001, patch_hop=patch_hop)
        self.layer1 = _block(PatchConv2d(1, 32, 3, patch_frames=PATCH_FRAMES, stride=2, bias=False))
        n_in, frames = 32, PATCH_FRAMES // 2
        for n, (stride, n_out) in enumerate(_SEPARABLE, start=2):
            depthwise = PatchConv2d(n_in, n_in, 3, patch_frames=frames, stride=stride, groups=n_in, bias=False)
            frames //= stride
            pointwise = PatchConv2d(n_in, n_out, 1, patch_frames=frames, bias=False)
            block: OrderedDict[str, nn.Module] = OrderedDict()
            block.update(depthwise_conv=_block(depthwise), pointwise_conv=_block(pointwise))
            self.add_module(f"layer{n}", nn.Sequential(block))
            n_in = n_out
        self.classifier = nn.Linear(n_in, n_classes)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], n_classes: int = 521, patch_hop: int = PATCH_FRAMES) -> Self:
        """Make the network with published weights: `layer1.conv`, `layer2.depthwise_conv.conv`, … and `classifier`.

        Args:
            path: The file; with another number of classes than 521 its classifier is ignored.
            n_classes: As of the class.
            patch_hop: As of the class.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it does not fit; the message names each tensor that does not.
        """
        network = cls(n_classes, patch_hop)
        load_checkpoint(network, path, left_out=() if n_classes == 521 else ("classifier.",))
        return network

    def _embed(self, waveform: Tensor) -> Tensor:
        x: Tensor = self.patches(waveform)
        for name in self.layers:
            x = self.get_submodule(name)(x)
        # All patches have as many places, so the mean of their means is the mean, and the classifier is linear.
        return x.mean(dim=(-2, -1))
