"""Spectrograms on the network's frequency axis: the whole, its harmonic and its percussive part."""

from typing import ClassVar

from torch import Tensor

from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.decibels import power_to_db
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
        return power_to_db(clips.parts[0])


@feature("percussive")
class PercussiveSpectrogram(_Spectrogram):
    """The percussive part of the spectrogram (what is broad in frequency), otherwise as `HarmonicSpectrogram`."""

    def forward(self, clips: Clips) -> Tensor:
        """Return the percussive part, shape ``(clips, n_bins, frames)``, in dB."""
        return power_to_db(clips.parts[1])


@feature("mel")
class MelSpectrogram(_Spectrogram):
    """The spectrogram itself on the network's frequency axis (mel by default), in dB, as the network sees it."""

    def forward(self, clips: Clips) -> Tensor:
        """Return the spectrogram, shape ``(clips, n_bins, frames)``, in dB."""
        return power_to_db(clips.spectrogram)
