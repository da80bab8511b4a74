"""Every feature against the library that defines it, clip by clip, on audio of many kinds.

With the variable PARITY_TABLE set to a path, the run over all clips also writes the table of the documentation there.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import essentia
import essentia.standard
import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_dissect.features import functional
from lightning_dissect.features.functional.ebur128 import k_weighting_coefficients
from lightning_dissect.features.functional.onset_rate import onset_frames

essentia.log.infoActive = False
Array = NDArray[Any]


class Comparison(NamedTuple):
    """A feature, its reference, and how far apart they may be.

    ``measure`` is "relative" (largest difference over the reference's largest value), "dB" or "LU" (largest
    difference) or "exact" (0 if equal, else 1). In float64, 99 % of the clips must stay within ``goal``; in float32,
    the precision of the bank, ``share`` of them, as the remarks explain. ``share_in_float64`` is lower where the
    reference itself is undecided.
    """

    reference: str
    ours: Callable[[Any], Tensor]
    theirs: Callable[[Any], Array]
    measure: str
    goal: float
    share: float = 0.99
    note: str = ""
    has_float64: bool = True
    share_in_float64: float = 0.99


def on_frames(function: Callable[..., Tensor]) -> Callable[[Any], Tensor]:
    return lambda clip: function(torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length)


def from_librosa(function: Callable[..., Array]) -> Callable[[Any], Array]:
    return lambda clip: np.squeeze(function(y=clip.y, sr=clip.sr, hop_length=clip.hop_length))


def hpss_magnitude(clip: Any) -> Tensor:
    return torch.from_numpy(np.abs(librosa.stft(clip.y, hop_length=clip.hop_length)))


def reference_hpss(clip: Any) -> Array:
    """librosa's, but for clips of up to three frames, where scipy 1.17 reads outside the array."""
    magnitude = hpss_magnitude(clip).numpy()
    if magnitude.shape[1] > 3:
        return np.stack(librosa.decompose.hpss(magnitude))
    medians = []
    for axis in (1, 0):
        padded = np.pad(magnitude, [(15, 15) if axis == a else (0, 0) for a in (0, 1)], mode="symmetric")
        medians.append(np.median(np.lib.stride_tricks.sliding_window_view(padded, 31, axis), axis=-1))
    masks = [librosa.util.softmask(a, b, power=2, split_zeros=True) for a, b in (medians, medians[::-1])]
    return np.stack([magnitude * mask for mask in masks])


def octaves(clip: Any) -> int:
    return {8_000: 6, 11_025: 6}.get(clip.sr, 7)


def with_noise(y: Array) -> Array:
    return y + 1e-4 * np.random.default_rng(0).normal(size=y.shape).astype(y.dtype)


def reference_frames(clip: Any, frame_length: int) -> Iterator[Array]:
    padded = np.pad(clip.y, (frame_length // 2, frame_length // 2))
    for frame in range(1 + len(clip.y) // clip.hop_length):
        yield padded[frame * clip.hop_length :][:frame_length]


def reference_loudness(clip: Any) -> Array:
    loudness = essentia.standard.Loudness()
    return np.array([loudness(frame) for frame in reference_frames(clip, 2048)])


def reference_hpcp(clip: Any) -> Array:
    window = essentia.standard.Windowing(type="hann", size=4096)
    spectrum = essentia.standard.Spectrum(size=4096)
    peaks = essentia.standard.SpectralPeaks(
        sampleRate=clip.sr,
        maxPeaks=10_000,
        magnitudeThreshold=0,
        minFrequency=40,
        maxFrequency=5000,
        orderBy="frequency",
    )
    profile = essentia.standard.HPCP(sampleRate=clip.sr)
    frames = reference_frames(clip._replace(y=with_noise(clip.y)), 4096)
    return np.stack([profile(*peaks(spectrum(window(frame)))) for frame in frames], axis=1)


def reference_onsets(clip: Any) -> Array:
    y = clip.y
    if clip.sr != 44_100:
        y = librosa.resample(y, orig_sr=clip.sr, target_sr=44_100)
    return np.array([len(essentia.standard.OnsetRate()(y)[0])])


def our_onsets(clip: Any) -> Tensor:
    return onset_frames(torch.from_numpy(clip.y), sr=clip.sr).sum(dim=-1, keepdim=True)


def reference_k_weighting(clip: Any) -> Array:
    y = clip.y.astype(np.float64)
    for numerator, denominator in k_weighting_coefficients(clip.sr):
        y = scipy.signal.lfilter(numerator, denominator, y)
    return np.array([-0.691 + 10 * np.log10(np.mean(y**2))])


def our_k_weighting(clip: Any) -> Tensor:
    return -0.691 + 10 * functional.k_weighting(torch.from_numpy(clip.y), sr=clip.sr).square().mean().log10()[None]


COMPARISONS: dict[str, Comparison] = {
    "stft": Comparison(
        "librosa.stft",
        lambda clip: functional.stft(torch.from_numpy(clip.y), hop_length=clip.hop_length),
        lambda clip: librosa.stft(clip.y, hop_length=clip.hop_length),
        "relative",
        1e-5,
    ),
    "hpss": Comparison(
        "librosa.decompose.hpss",
        lambda clip: torch.stack(functional.hpss(hpss_magnitude(clip))),
        reference_hpss,
        "relative",
        1e-6,
        has_float64=False,
        note="same spectrogram; its medians are equal bit by bit",
    ),
    "melspectrogram": Comparison(
        "librosa.feature.melspectrogram",
        on_frames(functional.melspectrogram),
        from_librosa(librosa.feature.melspectrogram),
        "relative",
        1e-5,
    ),
    "mfcc": Comparison(
        "librosa.feature.mfcc", on_frames(functional.mfcc), from_librosa(librosa.feature.mfcc), "relative", 1e-5
    ),
    "onset_strength": Comparison(
        "librosa.onset.onset_strength",
        on_frames(functional.onset_strength),
        from_librosa(librosa.onset.onset_strength),
        "relative",
        1e-5,
    ),
    "onset_detect": Comparison(
        "librosa.onset.onset_detect",
        on_frames(functional.onset_detect),
        lambda clip: librosa.onset.onset_detect(y=clip.y, sr=clip.sr, hop_length=clip.hop_length, sparse=False),
        "exact",
        0.0,
    ),
    "tempo": Comparison(
        "librosa.feature.tempo",
        on_frames(functional.tempo),
        from_librosa(librosa.feature.tempo),
        "exact",
        0.0,
    ),
    "tempogram": Comparison(
        "librosa.feature.tempogram",
        on_frames(functional.tempogram),
        from_librosa(librosa.feature.tempogram),
        "relative",
        1e-5,
    ),
    "estimate_tuning": Comparison(
        "librosa.estimate_tuning",
        on_frames(functional.estimate_tuning),
        from_librosa(librosa.estimate_tuning),
        "exact",
        0.0,
    ),
    "chroma_stft": Comparison(
        "librosa.feature.chroma_stft",
        on_frames(functional.chroma_stft),
        from_librosa(librosa.feature.chroma_stft),
        "relative",
        1e-5,
    ),
    "chroma_cqt": Comparison(
        "librosa.feature.chroma_cqt",
        lambda clip: functional.chroma_cqt(
            torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length, n_octaves=octaves(clip)
        ),
        lambda clip: librosa.feature.chroma_cqt(
            y=clip.y, sr=clip.sr, hop_length=clip.hop_length, n_octaves=octaves(clip)
        ),
        "relative",
        1e-4,
    ),
    "chroma_cens": Comparison(
        "librosa.feature.chroma_cens",
        lambda clip: functional.chroma_cens(
            torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length, n_octaves=octaves(clip)
        ),
        lambda clip: librosa.feature.chroma_cens(
            y=clip.y, sr=clip.sr, hop_length=clip.hop_length, n_octaves=octaves(clip)
        ),
        "relative",
        1e-5,
    ),
    "cqt": Comparison(
        "librosa.cqt",
        lambda clip: functional.cqt(
            torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length, n_bins=12 * octaves(clip)
        ),
        lambda clip: librosa.cqt(clip.y, sr=clip.sr, hop_length=clip.hop_length, n_bins=12 * octaves(clip)),
        "relative",
        1e-4,
    ),
    "vqt": Comparison(
        "librosa.vqt",
        lambda clip: functional.vqt(torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length, n_bins=72),
        lambda clip: librosa.vqt(clip.y, sr=clip.sr, hop_length=clip.hop_length, n_bins=72, gamma=None),
        "relative",
        1e-4,
    ),
    "tonnetz": Comparison(
        "librosa.feature.tonnetz",
        lambda clip: functional.tonnetz(chroma=on_frames(functional.chroma_stft)(clip)),
        lambda clip: librosa.feature.tonnetz(
            chroma=librosa.feature.chroma_stft(y=clip.y, sr=clip.sr, hop_length=clip.hop_length)
        ),
        "relative",
        1e-5,
    ),
    "rms": Comparison(
        "librosa.feature.rms",
        lambda clip: functional.rms(torch.from_numpy(clip.y), hop_length=clip.hop_length),
        lambda clip: librosa.feature.rms(y=clip.y, hop_length=clip.hop_length)[0],
        "relative",
        1e-5,
    ),
    "spectral_centroid": Comparison(
        "librosa.feature.spectral_centroid",
        on_frames(functional.spectral_centroid),
        from_librosa(librosa.feature.spectral_centroid),
        "relative",
        1e-5,
    ),
    "spectral_bandwidth": Comparison(
        "librosa.feature.spectral_bandwidth",
        on_frames(functional.spectral_bandwidth),
        from_librosa(librosa.feature.spectral_bandwidth),
        "relative",
        1e-5,
    ),
    "spectral_flatness": Comparison(
        "librosa.feature.spectral_flatness",
        lambda clip: functional.spectral_flatness(torch.from_numpy(clip.y), hop_length=clip.hop_length),
        lambda clip: librosa.feature.spectral_flatness(y=clip.y, hop_length=clip.hop_length)[0],
        "relative",
        1e-5,
    ),
    "spectral_rolloff": Comparison(
        "librosa.feature.spectral_rolloff",
        on_frames(functional.spectral_rolloff),
        from_librosa(librosa.feature.spectral_rolloff),
        "exact",
        0.0,
    ),
    "spectral_contrast": Comparison(
        "librosa.feature.spectral_contrast",
        lambda clip: functional.spectral_contrast(
            torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length, n_bands=octaves(clip) - 1
        ),
        lambda clip: librosa.feature.spectral_contrast(
            y=clip.y, sr=clip.sr, hop_length=clip.hop_length, n_bands=octaves(clip) - 1
        ),
        "dB",
        0.1,
    ),
    "zero_crossing_rate": Comparison(
        "librosa.feature.zero_crossing_rate",
        lambda clip: functional.zero_crossing_rate(torch.from_numpy(clip.y), hop_length=clip.hop_length),
        lambda clip: librosa.feature.zero_crossing_rate(clip.y, hop_length=clip.hop_length)[0],
        "exact",
        0.0,
    ),
    "loudness_stevens": Comparison(
        "essentia Loudness",
        lambda clip: functional.loudness_stevens(torch.from_numpy(clip.y), hop_length=clip.hop_length),
        reference_loudness,
        "relative",
        1e-5,
        has_float64=False,
    ),
    "hpcp": Comparison(
        "essentia HPCP",
        lambda clip: functional.hpcp(torch.from_numpy(with_noise(clip.y)), sr=clip.sr, hop_length=clip.hop_length),
        reference_hpcp,
        "relative",
        1e-3,
        share=0.88,
        note="with noise at -80 dB, for HPCP scales the rounding noise of an empty band to 1; Essentia is float32 and "
        "refuses peaks above half the rate (5 kHz)",
        has_float64=False,
    ),
    "onset_rate": Comparison(
        "essentia OnsetRate", our_onsets, reference_onsets, "exact", 0.0, note="at 44.1 kHz", has_float64=False
    ),
    "onset_rate, other rates": Comparison(
        "essentia OnsetRate",
        our_onsets,
        reference_onsets,
        "exact",
        0.0,
        share=0.94,
        note="against the clip resampled to 44.1 kHz; ours is not resampled",
        has_float64=False,
    ),
    "k_weighting": Comparison(
        "scipy lfilter, float64", our_k_weighting, reference_k_weighting, "LU", 0.01, note="level of the whole clip"
    ),
}


FLOOR = "float32: between pure tones there is only rounding noise, which its decibels show; see float64"
UNDECIDED = "clicks have flat spectra: which tuning wins is left to rounding"
START = "where librosa lowers the rate by 4 first, soxr starts differently in the first frames"

for names, share, share_in_float64, note in (
    (["onset_strength", "tempogram", "spectral_flatness"], 0.9, 0.99, FLOOR),
    (["spectral_contrast"], 0.7, 0.99, FLOOR),
    (["spectral_centroid", "spectral_bandwidth"], 0.94, 0.99, "float32: sums over a thousand bins"),
    (["tempo"], 0.98, 0.99, "float32: constant and near-silent clips have no tempo"),
    (["estimate_tuning", "chroma_stft", "tonnetz"], 0.96, 0.96, UNDECIDED),
    (["chroma_cqt", "chroma_cens"], 0.92, 0.92, f"{UNDECIDED}; {START}"),
    (["cqt", "vqt"], 0.92, 0.92, START),
):
    for name in names:
        COMPARISONS[name] = COMPARISONS[name]._replace(share=share, share_in_float64=share_in_float64, note=note)


def applies(name: str, clip: Any) -> bool:
    if name == "hpcp":
        return bool(clip.sr > 10_000)
    if name == "k_weighting":
        return bool(clip.y.any())
    return not name.startswith("onset_rate") or (clip.sr == 44_100) == (name == "onset_rate")


def distance(name: str, clip: Any, precision: type = np.float32) -> float:
    comparison = COMPARISONS[name]
    clip = clip._replace(y=clip.y.astype(precision))
    ours, theirs = comparison.ours(clip).numpy(), np.asarray(comparison.theirs(clip))
    if name in ("cqt", "vqt", "chroma_cqt", "chroma_cens"):
        # Where librosa lowers the rate first, rounding up can give it a frame more than there are hops.
        theirs = theirs[..., : 1 + len(clip.y) // clip.hop_length]
    ours, theirs = np.squeeze(ours), np.squeeze(theirs)
    assert ours.shape == theirs.shape
    difference = float(np.max(np.abs(np.subtract(ours, theirs, dtype=np.result_type(ours, theirs, np.float32)))))
    if comparison.measure in ("dB", "LU"):
        return difference
    largest = float(np.max(np.abs(theirs)))
    relative = difference / largest if largest else difference
    return float(relative > 1e-6) if comparison.measure == "exact" else relative


def compare(name: str, clips: list[Any]) -> dict[str, Array]:
    """Return the distances of all clips, by precision."""
    comparison = COMPARISONS[name]
    precisions = {"float32": np.float32, "float64": np.float64} if comparison.has_float64 else {"float32": np.float32}
    clips = [clip for clip in clips if applies(name, clip)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            label: np.array([distance(name, clip, precision) for clip in clips])
            for label, precision in precisions.items()
        }


def check(name: str, distances: dict[str, Array], slack: float = 0.0) -> None:
    comparison = COMPARISONS[name]
    for label, values in distances.items():
        share = comparison.share if label == "float32" else comparison.share_in_float64
        beyond = int(np.sum(~(values <= comparison.goal)))
        assert beyond <= max(1, (1 - share + slack) * len(values)), (label, np.sort(values)[-10:])
        assert np.median(values) <= comparison.goal


@pytest.mark.parametrize("name", COMPARISONS)
def test_parity(name: str, many_clips: list[Any]) -> None:
    natural = {"instrument", "drums", "noise", "speech-like", "short", "silent"}
    few = [clip for clip in many_clips if clip.kind in natural][::8]
    check(name, compare(name, few), slack=0.15)  # one clip more or less is 5 % of these


class Table:
    """The table of the documentation, a row a comparison."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def add(self, name: str, distances: dict[str, Array]) -> None:
        comparison = COMPARISONS[name]
        single, double = distances["float32"], distances.get("float64")
        share = f"{np.mean(single <= comparison.goal):.1%}"
        if comparison.measure == "exact":
            numbers = ["equal", share, "", "", "" if double is None else f"{np.mean(double <= 0):.1%} equal"]
        else:
            unit = "" if comparison.measure == "relative" else f" {comparison.measure}"
            largest = "" if double is None else f"{double.max():.1e}{unit}"
            goal = f"{comparison.goal:.0e}" if not unit else f"{comparison.goal:g}"
            numbers = [goal + unit, share, f"{np.median(single):.1e}{unit}", f"{single.max():.1e}{unit}", largest]
        cells = [f"`{name}`", f"`{comparison.reference}`", str(len(single)), *numbers, comparison.note]
        self.rows.append(f"| {' | '.join(cells)} |")

    def write(self, path: Path) -> None:
        heads = (
            "Feature",
            "Reference",
            "Clips",
            "Goal",
            "Within it",
            "Median",
            "Largest",
            "Largest in float64",
            "Remarks",
        )
        lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *self.rows]
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    if "PARITY_TABLE" in os.environ:
        table.write(Path(os.environ["PARITY_TABLE"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARISONS)
def test_parity_of_all_clips(name: str, many_clips: list[Any], table: Table) -> None:
    distances = compare(name, many_clips)
    table.add(name, distances)
    check(name, distances)
