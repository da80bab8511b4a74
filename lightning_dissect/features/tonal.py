"""Features of pitch."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, Level, feature
from lightning_dissect.features.functional.chroma import tuned_chroma_filters
from lightning_dissect.features.functional.filters import chroma_filters
from lightning_dissect.features.functional.spectrum import normalize
from lightning_dissect.features.functional.tuning import tuning_index

__all__ = ["PITCH_CLASSES", "Chroma"]

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@feature("chroma")
class Chroma(Feature):
    """Energy of the twelve pitch classes, each frame's largest being 1, as `librosa.feature.chroma_stft`.

    Args:
        tuning: Deviation from A440 in semitones; None estimates it for each clip.
        norm: Norm of each frame, or None.

    Example:
        >>> from lightning_dissect.features import FeatureBank
        >>> FeatureBank(["chroma"], 22050)(torch.randn(2, 22050))["chroma"].rows[:2]
        ('chroma[C]', 'chroma[C#]')
    """

    level: ClassVar[Level] = "map"
    row_names: ClassVar[tuple[str, ...]] = PITCH_CLASSES
    row_axis: ClassVar[str] = "pitch class"
    filters: Tensor

    def __init__(self, tuning: float | None = None, norm: float | None = math.inf) -> None:
        super().__init__()
        self.tuning = tuning
        self.norm = norm

    def setup(self, analysis: Analysis) -> None:
        """Make the filter bank."""
        if self.tuning is None:
            filters = tuned_chroma_filters(sr=analysis.sample_rate, n_fft=analysis.n_fft)
        else:
            filters = chroma_filters(sr=analysis.sample_rate, n_fft=analysis.n_fft, tuning=self.tuning)
        self.register_buffer("filters", filters.to(torch.float32), persistent=False)

    def forward(self, clips: Clips) -> Tensor:
        """Return the chromagram, shape ``(clips, 12, frames)``, rows C to B."""
        filters = self.filters
        if self.tuning is None:
            filters = filters[tuning_index(clips.power, sr=clips.sample_rate, n_fft=clips.n_fft)]
        return normalize(filters @ clips.power, norm=self.norm, dim=-2)
