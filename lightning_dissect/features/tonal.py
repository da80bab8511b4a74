"""Features of pitch."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.chroma import cqt_to_chroma, tonnetz, tuned_chroma_filters
from lightning_dissect.features.functional.cqt import cqt_from_plan, estimate_tuning_index
from lightning_dissect.features.functional.cqt_plan import C1, cqt_plan, highest_octave
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.filters import chroma_filters
from lightning_dissect.features.functional.hpcp import hpcp_from_spectrum
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.tuning import tuning_index, tuning_values
from lightning_dissect.levels import Level

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@feature("chroma")
class Chroma(Feature):
    """Energy of the twelve pitch classes, each frame's largest being 1, as `librosa.feature.chroma_stft`.

    ``tuning`` and ``norm`` are those of `functional.chroma_stft`.

    Example:
        >>> from lightning_dissect.features import FeatureBank
        >>> FeatureBank(["chroma"], 22050)(torch.randn(2, 22050))["chroma"].rows[:2]
        ('chroma[C]', 'chroma[C#]')
    """

    level: ClassVar[Level] = "map"
    row_names = PITCH_CLASSES
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
            index = tuning_index(clips.magnitude, sr=clips.sample_rate, n_fft=clips.n_fft, exponent=2)
            filters = filters[index]
        return normalize(clips.in_bands(filters), norm=self.norm, dim=-2)


@feature("hpcp")
class HPCP(Feature):
    """Harmonic pitch-class profile, each frame's largest class being 1, as Essentia's `HPCP`.

    It is computed from the spectrum that all features share (a periodic Hann window), where the paper's had a symmetric
    one. The first row is **A**, unlike that of `Chroma`; ``harmonics`` is that of `functional.hpcp`.
    """

    level: ClassVar[Level] = "map"
    row_names = PITCH_CLASSES[9:] + PITCH_CLASSES[:9]

    def __init__(self, harmonics: int = 0) -> None:
        super().__init__()
        self.harmonics = harmonics

    def forward(self, clips: Clips) -> Tensor:
        """Return the profile, shape ``(clips, 12, frames)``, rows A to G#."""
        return hpcp_from_spectrum(clips.magnitude, sr=clips.sample_rate, harmonics=self.harmonics)


class _ConstantQ(Feature):
    """Constant-Q magnitudes from C1 up, as many octaves (7 at most) as fit under half the sampling rate."""

    needs_spectrum: ClassVar[bool] = False
    bins_per_octave = 12
    gamma = 0.0

    def __init__(self, tuning: float | None = 0.0) -> None:
        super().__init__()
        self.tuning = tuning

    def setup(self, analysis: Analysis) -> None:
        """Make the filters of all octaves."""
        n_octaves = min(highest_octave(analysis.sample_rate, self.bins_per_octave), 7)
        if n_octaves < 1:
            raise ValueError(f"sample_rate: {self.name!r} needs an octave above {C1:.1f} Hz, which {analysis} has not.")
        plan = cqt_plan(
            sr=analysis.sample_rate,
            hop_length=analysis.hop_length,
            fmin=C1,
            n_bins=n_octaves * self.bins_per_octave,
            bins_per_octave=self.bins_per_octave,
            gamma=self.gamma,
            tunings=(self.tuning,) if self.tuning is not None else tuple(tuning_values().tolist()),
        )
        # Octaves share filters; each tensor becomes a buffer once.
        banks = list({id(octave.filters): octave.filters for octave in plan.octaves}.values())
        self._places = [next(k for k, bank in enumerate(banks) if bank is octave.filters) for octave in plan.octaves]
        self._plan = plan._replace(octaves=tuple(octave._replace(filters=torch.empty(0)) for octave in plan.octaves))
        for place, bank in enumerate(banks):
            self.register_buffer(f"filters_{place}", bank, persistent=False)
        self.register_buffer("scale", plan.scale.float(), persistent=False)

    def _magnitude(self, clips: Clips) -> Tensor:
        """Return magnitudes, shape ``(clips, bins, frames)``, zero past each clip's frames."""
        octaves = (
            octave._replace(filters=self.get_buffer(f"filters_{place}"))
            for octave, place in zip(self._plan.octaves, self._places, strict=True)
        )
        plan = self._plan._replace(octaves=tuple(octaves), scale=self.get_buffer("scale"))
        index = None
        if self.tuning is None:
            index = estimate_tuning_index(
                clips.waveform, sr=clips.sample_rate, bins_per_octave=self.bins_per_octave, lengths=clips.lengths
            )
        return clips.trimmed(cqt_from_plan(clips.waveform, plan, index, clips.lengths).abs())


@feature("cqt")
class ConstantQ(_ConstantQ):
    """Constant-Q transform in dB, as `librosa.cqt`.

    It has 12 bins an octave from C1, up to 7 octaves as far as the sampling rate allows, and thus its own frequency
    axis, whatever the network's. At most 80 dB below the clip's maximum; ``tuning`` is that of `functional.cqt`.
    """

    level: ClassVar[Level] = "map"
    unit: ClassVar[str] = "dB"
    shift_matters: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the transform, shape ``(clips, bins, frames)``, in dB."""
        return power_to_db(self._magnitude(clips).square())


@feature("vqt")
class VariableQ(ConstantQ):
    """Variable-Q transform in dB, as `librosa.vqt`: `ConstantQ` with filters of low notes cut short.

    ``gamma`` is that of `functional.vqt`.
    """

    def __init__(self, tuning: float | None = 0.0, gamma: float = 10.0) -> None:
        super().__init__(tuning)
        self.gamma = gamma


@feature("tonnetz")
class Tonnetz(_ConstantQ):
    """Tonal centroid of the constant-Q chromagram, as `librosa.feature.tonnetz`.

    Args:
        tuning: Deviation from A440 in thirds of a semitone; None estimates it for each clip.
    """

    level: ClassVar[Level] = "map"
    row_names = ("fifth sin", "fifth cos", "minor third sin", "minor third cos", "major third sin", "major third cos")
    bins_per_octave = 36

    def __init__(self, tuning: float | None = None) -> None:
        super().__init__(tuning)

    def forward(self, clips: Clips) -> Tensor:
        """Return the tonal centroid, shape ``(clips, 6, frames)``."""
        magnitude = self._magnitude(clips)
        fold = cqt_to_chroma(magnitude.shape[1], bins_per_octave=self.bins_per_octave).to(magnitude)
        return tonnetz(chroma=normalize(fold @ magnitude, dim=-2))
