"""Hand-crafted audio features, computed for batches of clips on the device where the network runs."""

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.bank import FeatureBank, FeatureValues
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.decomposition import (
    HarmonicRatio,
    HarmonicSpectrogram,
    InputSpectrogram,
    MelSpectrogram,
    PercussiveSpectrogram,
)
from lightning_dissect.features.dynamics import RMS, Loudness, LoudnessEBUR128, RMSDecibels
from lightning_dissect.features.feature import Feature, feature, feature_names, make_feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.nnaudio import Gammatonegram, NNAudioCQT, NNAudioVQT
from lightning_dissect.features.rhythm import OnsetRate, OnsetStrength, Tempo
from lightning_dissect.features.spectrograms import SpectrogramBank
from lightning_dissect.features.timbre import (
    MFCC,
    Bandwidth,
    Centroid,
    Contrast,
    Flatness,
    Rolloff,
    ZeroCrossingRate,
)
from lightning_dissect.features.tonal import HPCP, PITCH_CLASSES, Chroma, ConstantQ, Tonnetz, VariableQ
from lightning_dissect.levels import Level

__all__ = [
    "HPCP",
    "MFCC",
    "PITCH_CLASSES",
    "RMS",
    "Analysis",
    "Bandwidth",
    "Centroid",
    "Chroma",
    "Clips",
    "ConstantQ",
    "Contrast",
    "Feature",
    "FeatureBank",
    "FeatureValues",
    "Flatness",
    "FrequencyAxis",
    "Gammatonegram",
    "HarmonicRatio",
    "HarmonicSpectrogram",
    "InputSpectrogram",
    "Level",
    "Loudness",
    "LoudnessEBUR128",
    "MelSpectrogram",
    "NNAudioCQT",
    "NNAudioVQT",
    "OnsetRate",
    "OnsetStrength",
    "PercussiveSpectrogram",
    "RMSDecibels",
    "Rolloff",
    "SpectrogramBank",
    "Tempo",
    "Tonnetz",
    "VariableQ",
    "ZeroCrossingRate",
    "feature",
    "feature_names",
    "make_feature",
]
