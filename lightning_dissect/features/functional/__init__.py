"""Audio features as pure functions of tensors.

Where librosa has the function, name, arguments and defaults are librosa's. Waveforms are ``(..., samples)``,
spectrograms ``(..., frequency, frames)``, and no function mixes one item with another.
"""

from lightning_dissect.features.functional.chroma import ConstantQChroma, chroma_cens, chroma_cqt, chroma_stft, tonnetz
from lightning_dissect.features.functional.cqt import cqt, vqt
from lightning_dissect.features.functional.cqt_plan import Wavelets, cqt_frequencies
from lightning_dissect.features.functional.decibels import amplitude_to_db, db_to_power, power_to_db
from lightning_dissect.features.functional.ebur128 import EBUR128, k_weighting, loudness_ebur128, momentary_loudness
from lightning_dissect.features.functional.filters import (
    chroma_filters,
    hz_to_mel,
    mel_filters,
    mel_frequencies,
    mel_to_hz,
)
from lightning_dissect.features.functional.frames import Framing, frame
from lightning_dissect.features.functional.hpcp import hpcp, hpcp_from_spectrum
from lightning_dissect.features.functional.hpss import hpss, softmask
from lightning_dissect.features.functional.lengths import frame_mask
from lightning_dissect.features.functional.loudness import loudness_stevens, rms
from lightning_dissect.features.functional.median import median_filter
from lightning_dissect.features.functional.mel import MelBands, melspectrogram, mfcc
from lightning_dissect.features.functional.norm import normalize
from lightning_dissect.features.functional.onset import onset_detect, onset_strength
from lightning_dissect.features.functional.onset_rate import onset_rate
from lightning_dissect.features.functional.spectral import (
    spectral_bandwidth,
    spectral_centroid,
    spectral_contrast,
    spectral_flatness,
    spectral_rolloff,
)
from lightning_dissect.features.functional.spectrum import fft_frequencies, stft
from lightning_dissect.features.functional.tempo import tempo, tempogram
from lightning_dissect.features.functional.tuning import estimate_tuning
from lightning_dissect.features.functional.weighting import A_weighting
from lightning_dissect.features.functional.zero_crossing import zero_crossing_rate

__all__ = [
    "EBUR128",
    "A_weighting",
    "ConstantQChroma",
    "Framing",
    "MelBands",
    "Wavelets",
    "amplitude_to_db",
    "chroma_cens",
    "chroma_cqt",
    "chroma_filters",
    "chroma_stft",
    "cqt",
    "cqt_frequencies",
    "db_to_power",
    "estimate_tuning",
    "fft_frequencies",
    "frame",
    "frame_mask",
    "hpcp",
    "hpcp_from_spectrum",
    "hpss",
    "hz_to_mel",
    "k_weighting",
    "loudness_ebur128",
    "loudness_stevens",
    "median_filter",
    "mel_filters",
    "mel_frequencies",
    "mel_to_hz",
    "melspectrogram",
    "mfcc",
    "momentary_loudness",
    "normalize",
    "onset_detect",
    "onset_rate",
    "onset_strength",
    "power_to_db",
    "rms",
    "softmask",
    "spectral_bandwidth",
    "spectral_centroid",
    "spectral_contrast",
    "spectral_flatness",
    "spectral_rolloff",
    "stft",
    "tempo",
    "tempogram",
    "tonnetz",
    "vqt",
    "zero_crossing_rate",
]
