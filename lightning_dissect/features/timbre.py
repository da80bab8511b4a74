"""Features of the spectrum's shape, and of the waveform's."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.filters import mel_filters
from lightning_dissect.features.functional.mel import dct_matrix
from lightning_dissect.features.functional.spectral import (
    spectral_bandwidth,
    spectral_centroid,
    spectral_contrast,
    spectral_flatness,
    spectral_rolloff,
)
from lightning_dissect.features.functional.zero_crossing import zero_crossing_rate
from lightning_dissect.levels import Level


@feature("centroid")
class Centroid(Feature):
    """Mean frequency of the magnitude spectrum, as `librosa.feature.spectral_centroid`."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "Hz"

    def forward(self, clips: Clips) -> Tensor:
        """Return the centroid, shape ``(clips, frames)``, in Hz."""
        return spectral_centroid(S=clips.magnitude, sr=clips.sample_rate)


@feature("bandwidth")
class Bandwidth(Feature):
    """Standard deviation of the magnitude spectrum around its centroid, as `librosa.feature.spectral_bandwidth`."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "Hz"

    def forward(self, clips: Clips) -> Tensor:
        """Return the bandwidth, shape ``(clips, frames)``, in Hz."""
        return spectral_bandwidth(S=clips.magnitude, sr=clips.sample_rate)


@feature("rolloff")
class Rolloff(Feature):
    """Frequency below which a share ``roll_percent`` of the magnitudes lies, as `librosa.feature.spectral_rolloff`."""

    level: ClassVar[Level] = "frame"
    unit: ClassVar[str] = "Hz"

    def __init__(self, roll_percent: float = 0.85) -> None:
        super().__init__()
        self.roll_percent = roll_percent

    def forward(self, clips: Clips) -> Tensor:
        """Return the roll-off frequency, shape ``(clips, frames)``, in Hz."""
        return spectral_rolloff(S=clips.magnitude, sr=clips.sample_rate, roll_percent=self.roll_percent)


@feature("flatness")
class Flatness(Feature):
    """Geometric over arithmetic mean of the power spectrum, as `librosa.feature.spectral_flatness`."""

    level: ClassVar[Level] = "frame"

    def forward(self, clips: Clips) -> Tensor:
        """Return the flatness, shape ``(clips, frames)``."""
        return spectral_flatness(S=clips.magnitude)


@feature("contrast")
class Contrast(Feature):
    """Peaks over valleys of each octave from 200 Hz, in dB, as `librosa.feature.spectral_contrast`.

    It has six octaves, or as many as start under half the sampling rate.
    """

    level: ClassVar[Level] = "map"
    unit: ClassVar[str] = "dB"
    lowest = 200.0

    def setup(self, analysis: Analysis) -> None:
        """Find the octaves that fit."""
        self.n_bands = min(6, math.ceil(math.log2(analysis.sample_rate / 2 / self.lowest)))
        try:
            spectral_contrast(
                S=torch.zeros(1 + analysis.n_fft // 2, 1),
                sr=analysis.sample_rate,
                fmin=self.lowest,
                n_bands=self.n_bands,
            )
        except ValueError as error:
            raise ValueError(f"features: 'contrast' cannot be computed here: {error}") from None
        edges = [self.lowest * 2**octave for octave in range(self.n_bands)]
        self.row_names = (f"below {edges[0]:.0f} Hz", *(f"from {edge:.0f} Hz" for edge in edges))

    def forward(self, clips: Clips) -> Tensor:
        """Return the contrast, shape ``(clips, octaves, frames)``, in dB."""
        return spectral_contrast(S=clips.magnitude, sr=clips.sample_rate, fmin=self.lowest, n_bands=self.n_bands)


@feature("zcr")
class ZeroCrossingRate(Feature):
    """Share of samples whose sign differs from the one before, as `librosa.feature.zero_crossing_rate`."""

    level: ClassVar[Level] = "frame"
    needs_spectrum: ClassVar[bool] = False

    def forward(self, clips: Clips) -> Tensor:
        """Return the rate, shape ``(clips, frames)``."""
        return zero_crossing_rate(
            clips.waveform, frame_length=clips.n_fft, hop_length=clips.hop_length, lengths=clips.lengths
        )


@feature("mfcc")
class MFCC(Feature):
    """Mel-frequency cepstral coefficients, as `librosa.feature.mfcc`.

    Args:
        n_mfcc: Number of coefficients, up to 128.

    Raises:
        ValueError: If ``n_mfcc`` is out of range.
    """

    level: ClassVar[Level] = "map"
    unit: ClassVar[str] = "dB"
    filters: Tensor
    dct: Tensor

    def __init__(self, n_mfcc: int = 20) -> None:
        super().__init__()
        if not 1 <= n_mfcc <= 128:
            raise ValueError(f"n_mfcc must be between 1 and 128, found {n_mfcc}.")
        self.row_names = tuple(str(order) for order in range(n_mfcc))

    def setup(self, analysis: Analysis) -> None:
        """Make the filter bank and the cosine transform."""
        filters = mel_filters(sr=analysis.sample_rate, n_fft=analysis.n_fft)
        self.register_buffer("filters", filters.to(torch.float32), persistent=False)
        self.register_buffer("dct", dct_matrix(len(self.row_names), len(filters)).to(torch.float32), persistent=False)

    def forward(self, clips: Clips) -> Tensor:
        """Return the coefficients, shape ``(clips, n_mfcc, frames)``, in dB."""
        return self.dct @ power_to_db(clips.in_bands(self.filters))
