"""The spectrogram on the network's frequency axis, its harmonic and its percussive part, and the ratio of the two."""

from typing import ClassVar

from torch import Tensor

from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.harmonic_ratio import harmonic_ratio
from lightning_dissect.levels import Level


class _Spectrogram(Feature):
    """A power spectrogram on the network's frequency axis, in dB, 80 dB deep."""

    level: ClassVar[Level] = "map"
    unit: ClassVar[str] = "dB"
    shift_matters: ClassVar[bool] = False


@feature("harmonic")
class HarmonicSpectrogram(_Spectrogram):
    """The harmonic part of the spectrogram (what is steady in time), on the network's frequency axis, in dB.

    Median filtering of 31 frames and bins and soft masks as `librosa.decompose.hpss`; then projected, in dB, at most
    80 dB below the clip's maximum, so that it looks like the network's own log spectrogram.

    Example:
        >>> import torch
        >>> from lightning_dissect.features import FeatureBank
        >>> FeatureBank(["harmonic"], 22050)(torch.randn(2, 22050))["harmonic"].values.shape
        torch.Size([2, 128, 44])
    """

    def forward(self, clips: Clips) -> Tensor:
        """Return the harmonic part, shape ``(clips, n_bins, frames)``, in dB."""
        return power_to_db(clips.parts.harmonic)


@feature("percussive")
class PercussiveSpectrogram(_Spectrogram):
    """The percussive part of the spectrogram (what is broad in frequency), otherwise as `HarmonicSpectrogram`."""

    def forward(self, clips: Clips) -> Tensor:
        """Return the percussive part, shape ``(clips, n_bins, frames)``, in dB."""
        return power_to_db(clips.parts.percussive)


@feature("input")
class InputSpectrogram(_Spectrogram):
    """The spectrogram itself on the network's frequency axis (mel by default), in dB, as the network sees it."""

    def forward(self, clips: Clips) -> Tensor:
        """Return the spectrogram, shape ``(clips, n_bins, frames)``, in dB."""
        return power_to_db(clips.spectrogram)


@feature("mel")
class MelSpectrogram(InputSpectrogram):
    """`InputSpectrogram` by its earlier name."""


@feature("harmonic_ratio")
class HarmonicRatio(Feature):
    """Harmonic over percussive energy of each frame, in dB, whatever the clip's level.

    The parts are those of `HarmonicSpectrogram` and `PercussiveSpectrogram`, their energies those of the whole spectrum
    (of a spectrogram, of its bins). What silence does is said at `functional.harmonic_ratio`.

    Example:
        >>> import torch
        >>> from lightning_dissect.features import FeatureBank
        >>> tone = torch.sin(2 * torch.pi * 440 * torch.arange(22050) / 22050)
        >>> ratio = FeatureBank(["harmonic_ratio"], 22050)(torch.stack([tone, torch.randn(22050)]))["harmonic_ratio"]
        >>> (ratio.values[:, 0, 20] > 10).tolist()
        [True, False]
    """

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "dB"

    def forward(self, clips: Clips) -> Tensor:
        """Return the ratio, shape ``(clips, frames)``, in dB; NaN for silent clips."""
        return harmonic_ratio(clips.parts.harmonic_energy, clips.parts.percussive_energy)
