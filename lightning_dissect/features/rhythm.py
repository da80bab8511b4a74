"""Features of onsets and time."""

from typing import ClassVar

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.filters import mel_filters
from lightning_dissect.features.functional.onset import onset_strength
from lightning_dissect.features.functional.onset_rate import onset_rate
from lightning_dissect.features.functional.tempo import tempo
from lightning_dissect.levels import Level


@feature("onset_rate")
class OnsetRate(Feature):
    """Onsets a second, as Essentia's `OnsetRate`, at any sampling rate (see `functional.onset_rate`)."""

    level: ClassVar[Level] = "clip"
    unit: ClassVar[str] = "1/s"
    needs_spectrum: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the onset rate, shape ``(clips,)``."""
        return onset_rate(clips.waveform, sr=clips.sample_rate, lengths=clips.lengths)


class _MelRise(Feature):
    """What is computed from the rise of the mel spectrogram."""

    filters: Tensor

    def setup(self, analysis: Analysis) -> None:
        """Make the filter bank."""
        filters = mel_filters(sr=analysis.sample_rate, n_fft=analysis.n_fft)
        self.register_buffer("filters", filters.to(torch.float32), persistent=False)

    def _onset_strength(self, clips: Clips) -> Tensor:
        mel = power_to_db(clips.in_bands(self.filters))
        return onset_strength(S=mel, n_fft=clips.n_fft, hop_length=clips.hop_length)


@feature("onset_strength")
class OnsetStrength(_MelRise):
    """Mean rise of the mel spectrogram from one frame to the next, as `librosa.onset.onset_strength`."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "dB"

    def forward(self, clips: Clips) -> Tensor:
        """Return the onset strength, shape ``(clips, frames)``."""
        return self._onset_strength(clips)


@feature("tempo")
class Tempo(_MelRise):
    """Tempo, as `librosa.feature.tempo`: the strongest period of the onset strength near 120 beats a minute."""

    level: ClassVar[Level] = "clip"
    unit: ClassVar[str] = "bpm"

    def forward(self, clips: Clips) -> Tensor:
        """Return the tempo, shape ``(clips,)``."""
        return tempo(
            onset_envelope=self._onset_strength(clips),
            sr=clips.sample_rate,
            hop_length=clips.hop_length,
            lengths=clips.valid_frames,
        )
