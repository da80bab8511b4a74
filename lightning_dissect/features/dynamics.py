"""Features of loudness."""

from typing import ClassVar

from torch import Tensor

from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.ebur128 import momentary_loudness
from lightning_dissect.features.functional.loudness import loudness_stevens
from lightning_dissect.levels import Level


@feature("loudness")
class Loudness(Feature):
    """Loudness of each frame by Stevens' power law: its energy to the power 0.67, as Essentia's `Loudness`.

    The energy is a sum over the frame of ``n_fft`` samples, so the values depend on that.
    """

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "energy^0.67"
    needs_spectrum: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the loudness, shape ``(clips, frames)``."""
        return loudness_stevens(clips.waveform, frame_length=clips.n_fft, hop_length=clips.hop_length)


@feature("rms")
class RMS(Feature):
    """Root mean square of each frame of ``n_fft`` samples, as `librosa.feature.rms`."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "amplitude"
    needs_spectrum: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the root mean square, shape ``(clips, frames)``."""
        return clips.rms


@feature("rms_db")
class RMSDecibels(Feature):
    """Level: the root mean square of each frame in dB, at most 80 dB below the clip's loudest frame.

    It equals `librosa.amplitude_to_db` of `librosa.feature.rms`.
    """

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "dB"
    needs_spectrum: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the level, shape ``(clips, frames)``, in dB."""
        return power_to_db(clips.rms[:, None].square())[:, 0]


@feature("loudness_ebur128")
class LoudnessEBUR128(Feature):
    """Momentary loudness after EBU R128: K-weighted, over the 400 ms around each frame, -70 LUFS at least."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "LUFS"
    needs_spectrum: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the loudness, shape ``(clips, frames)``."""
        return momentary_loudness(
            clips.waveform, sr=clips.sample_rate, hop_length=clips.hop_length, lengths=clips.lengths
        )
