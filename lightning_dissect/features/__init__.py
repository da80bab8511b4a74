"""Hand-crafted audio features, computed for batches of clips on the device where the network runs."""

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.bank import FeatureBank, FeatureValues
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.decomposition import HarmonicSpectrogram, PercussiveSpectrogram
from lightning_dissect.features.dynamics import RMS, Loudness
from lightning_dissect.features.feature import Feature, Level, feature, feature_names, make_feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.rhythm import OnsetRate, OnsetStrength
from lightning_dissect.features.tonal import PITCH_CLASSES, Chroma

__all__ = [
    "PITCH_CLASSES",
    "RMS",
    "Analysis",
    "Chroma",
    "Clips",
    "Feature",
    "FeatureBank",
    "FeatureValues",
    "FrequencyAxis",
    "HarmonicSpectrogram",
    "Level",
    "Loudness",
    "OnsetRate",
    "OnsetStrength",
    "PercussiveSpectrogram",
    "feature",
    "feature_names",
    "make_feature",
]
