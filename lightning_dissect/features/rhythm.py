"""Features of onsets and time."""

from typing import ClassVar

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, Level, feature
from lightning_dissect.features.functional.filters import mel_filters
from lightning_dissect.features.functional.onset import onset_strength
from lightning_dissect.features.functional.onset_rate import onset_rate
from lightning_dissect.features.functional.spectrum import power_to_db

__all__ = ["OnsetRate", "OnsetStrength"]


@feature("onset_rate")
class OnsetRate(Feature):
    """Onsets a second, as Essentia's `OnsetRate`, at any sampling rate (see `functional.onset_rate`)."""

    level: ClassVar[Level] = "clip"
    unit: ClassVar[str] = "1/s"

    def forward(self, clips: Clips) -> Tensor:
        """Return the onset rate, shape ``(clips,)``."""
        return onset_rate(clips.waveform, sr=clips.sample_rate, lengths=clips.lengths)


@feature("onset_strength")
class OnsetStrength(Feature):
    """Mean rise of the mel spectrogram from one frame to the next, as `librosa.onset.onset_strength`."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "dB"
    filters: Tensor

    def setup(self, analysis: Analysis) -> None:
        """Make the filter bank."""
        filters = mel_filters(sr=analysis.sample_rate, n_fft=analysis.n_fft)
        self.register_buffer("filters", filters.to(torch.float32), persistent=False)

    def forward(self, clips: Clips) -> Tensor:
        """Return the onset strength, shape ``(clips, frames)``."""
        mel = power_to_db(self.filters @ clips.power)
        return onset_strength(S=mel, n_fft=clips.n_fft, hop_length=clips.hop_length)
