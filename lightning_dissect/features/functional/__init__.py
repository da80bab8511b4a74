"""Audio features as pure functions of tensors.

Where librosa has the function, name, arguments and defaults are librosa's. Waveforms are ``(..., samples)``,
spectrograms ``(..., frequency, frames)``, and no function mixes one item with another.
"""

from lightning_dissect.features.functional.chroma import chroma_stft
from lightning_dissect.features.functional.filters import (
    chroma_filters,
    hz_to_mel,
    mel_filters,
    mel_frequencies,
    mel_to_hz,
)
from lightning_dissect.features.functional.hpss import hpss, softmask
from lightning_dissect.features.functional.loudness import loudness_stevens, rms
from lightning_dissect.features.functional.median import median_filter
from lightning_dissect.features.functional.mel import melspectrogram
from lightning_dissect.features.functional.onset import onset_strength
from lightning_dissect.features.functional.onset_rate import onset_rate
from lightning_dissect.features.functional.spectrum import (
    amplitude_to_db,
    db_to_power,
    fft_frequencies,
    frame,
    frame_mask,
    normalize,
    power_to_db,
    stft,
)
from lightning_dissect.features.functional.tuning import estimate_tuning

__all__ = [
    "amplitude_to_db",
    "chroma_filters",
    "chroma_stft",
    "db_to_power",
    "estimate_tuning",
    "fft_frequencies",
    "frame",
    "frame_mask",
    "hpss",
    "hz_to_mel",
    "loudness_stevens",
    "median_filter",
    "mel_filters",
    "mel_frequencies",
    "mel_to_hz",
    "melspectrogram",
    "normalize",
    "onset_rate",
    "onset_strength",
    "power_to_db",
    "rms",
    "softmask",
    "stft",
]
