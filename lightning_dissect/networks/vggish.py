"""VGGish."""

import os
from collections.abc import Mapping
from typing import ClassVar, Self

from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks.checkpoint import load_checkpoint
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.patches import PATCH_FRAMES, LogMelPatches, PatchConv2d


class VGGish(AudioNetwork):
    """VGGish of Hershey et al. 2017 (arXiv 1609.09430), as studied by Slizovskaia 2019; 72 141 184 weights.

    Examples of 96 frames × 64 mels (time × mel); 3×3 convolutions of 64, 128, 2 × 256 and 2 × 512 filters with ReLU and
    four 2×2 pools, then dense layers of 4096, 4096 and 128 with ReLU. A clip is the mean of its examples. The tensors
    are named as in the widely used PyTorch checkpoint.

    Args:
        n_classes: Number of logits, from a dense layer on the embedding; None gives the embedding (128).
        shrink: Divides all widths, for training from scratch on few clips.

    Example:
        >>> import torch
        >>> network = VGGish(n_classes=10, shrink=16)
        >>> network(torch.zeros(2, 48_000)).shape
        torch.Size([2, 10])
    """

    sample_rate = 16_000
    frequency = FrequencyAxis("mel_htk", 64, 125.0, 7500.0)
    n_fft, hop_length = 512, 160
    layers = tuple(f"features.{n}" for n in (1, 4, 7, 9, 12, 14)) + tuple(f"embeddings.{n}" for n in (1, 3, 5))
    axes: ClassVar[Mapping[str, str]] = {"features.*": "batch unit time frequency", "embeddings.*": "batch time unit"}

    def __init__(self, n_classes: int | None = None, shrink: int = 1) -> None:
        super().__init__()
        self.patches = LogMelPatches(offset=0.01)
        self.features = nn.Sequential()
        n_in, frames = 1, PATCH_FRAMES
        for widths in ((64,), (128,), (256, 256), (512, 512)):
            for width in widths:
                n_out = width // shrink
                self.features.extend([PatchConv2d(n_in, n_out, 3, patch_frames=frames), nn.ReLU()])
                n_in = n_out
            self.features.append(nn.MaxPool2d(2))
            frames //= 2
        self.last_frames = frames
        dense, embedding = 4096 // shrink, 128 // shrink
        n_flat = frames * (self.frequency.n_bins // 16) * n_in
        self.embeddings = nn.Sequential(
            *(nn.Linear(n_flat, dense), nn.ReLU(), nn.Linear(dense, dense), nn.ReLU()),
            *(nn.Linear(dense, embedding), nn.ReLU()),
        )
        self.classifier = nn.Identity() if n_classes is None else nn.Linear(embedding, n_classes)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], n_classes: int | None = None) -> Self:
        """Make the network with published weights: `features.{0,3,6,8,11,13}` and `embeddings.{0,2,4}`.

        Args:
            path: The file; a classifier in it is ignored.
            n_classes: As of the class; the classifier's weights stay random.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it does not fit; the message names each tensor that does not.
        """
        network = cls(n_classes)
        load_checkpoint(network, path, left_out=("classifier.",))
        return network

    def _embed(self, waveform: Tensor) -> Tensor:
        maps = self.features(self.patches(waveform))
        # The checkpoint's dense layer expects (time, mel, channel).
        flat = maps.unflatten(2, (-1, self.last_frames)).permute(0, 2, 3, 4, 1).flatten(2)
        embedding: Tensor = self.embeddings(flat).mean(dim=1)
        return embedding
