"""Audio features as pure functions of tensors.

Where librosa has the function, name, arguments and defaults are librosa's, but for arguments that only say how it is
computed. No function mixes one item with another: all leading axes ``(...)`` are items. These arguments mean the same
everywhere, and functions do not describe them again:

=============  ==================================================================================================
Argument       Meaning
=============  ==================================================================================================
y              Waveforms, floating point, shape ``(..., samples)``.
sr             Sampling rate in Hz.
S              Spectrograms instead of ``y``, shape ``(..., frequency, frames)``: magnitudes, unless a function
               says otherwise. Exactly one of the two is given.
n_fft          Samples of a frame, from which those of ``S`` are told by its shape. Features of the waveform
               itself call it ``frame_length``.
hop_length     Samples between frames.
win_length     Samples of the window, padded to the frame on both sides; those of the frame if None.
window         Name (hann, hamming, blackman, bartlett, ones; periodic) or the window itself, shape
               ``(win_length,)``.
center         Pad so that frame t is centred at sample ``t * hop_length``; otherwise it starts there.
pad_mode       What lies before and past the audio: ``constant`` (zeros), ``edge`` or ``reflect``.
lengths        Valid samples of each clip, shape ``(...)``, or valid frames where no ``y`` is given. What lies
               beyond changes nothing; results are zero past each clip's frames.
freq           Frequencies of the bins in Hz, shape ``(frequency,)``; those of the Fourier transform if None.
tuning         Deviation from A440 in fractions of a bin or pitch class; None estimates it for each clip.
fmin, fmax     Lowest and highest frequency in Hz; where ``fmax`` is None, half the sampling rate.
n_mels, htk    Number of mel bands, and whether their scale is HTK's instead of Slaney's.
norm           Norm of each frame that becomes 1 (1, 2, infinity, …), or None.
=============  ==================================================================================================

``**framing`` takes ``win_length``, ``window``, ``center`` and ``pad_mode``. All functions raise `ValueError`, which
names the argument, if ``y`` is empty or not floating point, ``S`` or ``lengths`` has another shape, both ``y`` and
``S`` are given or neither is, or a number is out of range.
"""

from lightning_dissect.features.functional.chroma import ConstantQChroma, chroma_cqt, chroma_stft, tonnetz
from lightning_dissect.features.functional.cqt import cqt, vqt
from lightning_dissect.features.functional.cqt_plan import cqt_frequencies
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.features.functional.ebur128 import EBUR128, k_weighting, loudness_ebur128, momentary_loudness
from lightning_dissect.features.functional.filters import (
    chroma_filters,
    hz_to_mel,
    mel_filters,
    mel_frequencies,
    mel_to_hz,
)
from lightning_dissect.features.functional.frames import Framing, frame
from lightning_dissect.features.functional.harmonic_ratio import harmonic_ratio
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
from lightning_dissect.features.functional.tempo import tempo
from lightning_dissect.features.functional.tuning import estimate_tuning
from lightning_dissect.features.functional.zero_crossing import zero_crossing_rate

__all__ = [
    "EBUR128",
    "ConstantQChroma",
    "Framing",
    "MelBands",
    "chroma_cqt",
    "chroma_filters",
    "chroma_stft",
    "cqt",
    "cqt_frequencies",
    "estimate_tuning",
    "fft_frequencies",
    "frame",
    "frame_mask",
    "harmonic_ratio",
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
    "tonnetz",
    "vqt",
    "zero_crossing_rate",
]
