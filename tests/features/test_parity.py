"""Every feature against the library that defines it, clip by clip, on audio of many kinds.

With the variable PARITY_TABLE set to a path, the run over all clips also writes the table of the documentation there.
"""

import inspect
import operator
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
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

from lightning_dissect.features import FeatureBank, functional
from lightning_dissect.features.functional.ebur128 import k_weighting_coefficients
from lightning_dissect.features.functional.onset_rate import onset_frames

essentia.log.infoActive = False
Array = NDArray[Any]


class Comparison(NamedTuple):
    """A feature, its reference, and how far apart they may be.

    ``measure`` is "relative" (largest difference over the reference's largest value), "absolute", "dB" or "LU"
    (largest difference) or "exact" (0 if equal, else 1). Where the reference decides (picks peaks, bins, the fullest
    of some), clips count on which it has a margin: it reaches the goal against itself for the clip changed by 1e-6. At
    most a share of the clips may be ``left_out`` for lack of one; the others all reach the goal. Where all that it
    decides is a ``decision`` on its way, that is asked instead.
    """

    reference: str
    ours: Callable[[Any], Tensor]
    theirs: Callable[[Any], Array]
    goal: float
    measure: str = "relative"
    left_out: float = 0.0
    decision: Callable[[Any], Array] | None = None
    float64: bool = False
    note: str = ""
    applies: Callable[[Any], bool] = lambda clip: True


def known(clip: Any, ours: Callable[..., Any]) -> dict[str, Any]:
    """Return those of the clip's rate, hop and octaves that our function takes, as the reference does."""
    octaves = {8_000: 6, 11_025: 6}.get(clip.sr, 7)
    n_bins = 12 * octaves if ours is functional.cqt else 72
    told = {
        "sr": clip.sr,
        "hop_length": clip.hop_length,
        "n_octaves": octaves,
        "n_bands": octaves - 1,
        "n_bins": n_bins,
    }
    return {name: value for name, value in told.items() if name in inspect.signature(ours).parameters}


def with_librosa(path: str, goal: float = 1e-5, measure: str = "relative", **settings: Any) -> Comparison:
    """Compare functions of the same name, as they are by default, or with ``options``."""
    options, extra = settings.pop("options", {}), settings.pop("extra", {})
    ours, reference = getattr(functional, path.split(".")[-1]), operator.attrgetter(path)(librosa)

    def theirs(clip: Any) -> Array:
        values: Array = reference(y=clip.y, **known(clip, ours), **options, **extra)
        # Where librosa lowers the rate first, rounding up can give it a frame more than there are hops.
        return values[..., : 1 + len(clip.y) // clip.hop_length] if "qt" in path else values

    return Comparison(
        f"librosa.{path}",
        lambda clip: ours(y=torch.from_numpy(clip.y), **known(clip, ours), **options),
        theirs,
        goal,
        measure,
        **{"float64": "qt" not in path, **settings},
    )


def hpss_magnitude(clip: Any) -> Tensor:
    return torch.from_numpy(np.abs(librosa.stft(clip.y, n_fft=1024, hop_length=clip.hop_length)))


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


def our_features(clip: Any, name: str) -> Tensor:
    values = FeatureBank([name], clip.sr, n_fft=1024, hop_length=clip.hop_length)(torch.from_numpy(clip.y)[None])
    return values[name].values[0, 0]


def reference_level(clip: Any) -> Array:
    rms = librosa.feature.rms(y=clip.y, frame_length=1024, hop_length=clip.hop_length)
    return np.asarray(librosa.amplitude_to_db(rms))


def reference_ratio(clip: Any) -> Array:
    harmonic, percussive = (reference_hpss(clip).astype(np.float64) ** 2).sum(axis=1)
    energy = harmonic + percussive
    floor = 1e-8 * energy.max()
    ratio = 10 * np.log10((harmonic + floor) / (percussive + floor))
    heard = energy / (energy + floor)
    return heard * ratio + (1 - heard) * np.average(ratio, weights=heard)


def tuning_of_cqt(clip: Any) -> Array:
    return np.asarray(librosa.estimate_tuning(y=clip.y, sr=clip.sr, bins_per_octave=36))


def our_tonnetz(clip: Any) -> Tensor:
    return functional.tonnetz(
        chroma=functional.chroma_stft(torch.from_numpy(clip.y), sr=clip.sr, hop_length=clip.hop_length, tuning=0.0)
    )


def reference_tonnetz(clip: Any) -> Array:
    chroma = librosa.feature.chroma_stft(y=clip.y, sr=clip.sr, hop_length=clip.hop_length, tuning=0.0)
    values: Array = librosa.feature.tonnetz(chroma=chroma, sr=clip.sr)
    return values


def with_noise(y: Array) -> Array:
    noise = np.random.default_rng(0).normal(size=y.shape).astype(y.dtype)
    return y + 1e-4 * noise * max(float(np.abs(y).max()), 1e-3)


def reference_frames(y: Array, hop_length: int, frame_length: int) -> Iterator[Array]:
    padded = np.pad(y, (frame_length // 2, frame_length // 2))
    for frame in range(1 + len(y) // hop_length):
        yield padded[frame * hop_length :][:frame_length]


def reference_loudness(clip: Any) -> Array:
    loudness = essentia.standard.Loudness()
    return np.array([loudness(frame) for frame in reference_frames(clip.y, clip.hop_length, 2048)])


def reference_hpcp(clip: Any) -> Array:
    window = essentia.standard.Windowing(type="hann", size=4096)
    spectrum = essentia.standard.Spectrum(size=4096)
    search = {"magnitudeThreshold": 0, "minFrequency": 40, "maxFrequency": 5000, "orderBy": "frequency"}
    peaks = essentia.standard.SpectralPeaks(sampleRate=clip.sr, maxPeaks=10_000, **search)
    profile = essentia.standard.HPCP(sampleRate=clip.sr)
    frames = reference_frames(with_noise(clip.y).astype(np.float32), clip.hop_length, 4096)  # all Essentia takes
    return np.stack([profile(*peaks(spectrum(window(frame)))) for frame in frames], axis=1)


def our_hpcp(clip: Any) -> Tensor:
    return functional.hpcp(torch.from_numpy(with_noise(clip.y)), sr=clip.sr, hop_length=clip.hop_length)


def reference_onsets(clip: Any) -> Array:
    y = clip.y if clip.sr == 44_100 else librosa.resample(clip.y, orig_sr=clip.sr, target_sr=44_100)
    return np.array([len(essentia.standard.OnsetRate()(y.astype(np.float32))[0])])


def our_onsets(clip: Any) -> Tensor:
    return onset_frames(torch.from_numpy(clip.y), sr=clip.sr).sum(dim=-1, keepdim=True)


def reference_k_weighting(clip: Any) -> Array:
    y = clip.y.astype(np.float64)
    for numerator, denominator in k_weighting_coefficients(clip.sr):
        y = scipy.signal.lfilter(numerator, denominator, y)
    return np.array([-0.691 + 10 * np.log10(np.mean(y**2))])


def our_k_weighting(clip: Any) -> Tensor:
    return -0.691 + 10 * functional.k_weighting(torch.from_numpy(clip.y), sr=clip.sr).square().mean().log10()[None]


exactly = partial(with_librosa, goal=0.0, measure="exact")

FEW = 0.1  # twice the share of clips on which the least decided of these references has no margin
NO_TUNING: dict[str, Any] = {"options": {"tuning": 0.0}}
ESTIMATED = "which tuning wins is left to rounding where spectra are flat (clicks) or peaks are many (sweeps)"

COMPARISONS: dict[str, Comparison] = {
    "stft": with_librosa("stft"),
    "hpss": Comparison(
        "librosa.decompose.hpss",
        lambda clip: torch.stack(functional.hpss(hpss_magnitude(clip))),
        reference_hpss,
        1e-6,
        note="of the same spectrogram",
    ),
    "melspectrogram": with_librosa("feature.melspectrogram"),
    "mfcc": with_librosa("feature.mfcc"),
    "onset_strength": with_librosa("onset.onset_strength"),
    "onset_detect": exactly("onset.onset_detect", left_out=FEW, extra={"sparse": False}),
    "tempo": exactly("feature.tempo", left_out=FEW),
    "chroma_stft": with_librosa("feature.chroma_stft", **NO_TUNING, note="tuning given"),
    "chroma_cqt": with_librosa("feature.chroma_cqt", goal=1e-4, **NO_TUNING, note="tuning given"),
    "estimate_tuning": exactly("estimate_tuning", left_out=FEW, note=ESTIMATED),
    "chroma_stft, tuning estimated": with_librosa("feature.chroma_stft", left_out=FEW, note=ESTIMATED),
    "chroma_cqt, tuning estimated": with_librosa(
        "feature.chroma_cqt", goal=1e-4, left_out=FEW, decision=tuning_of_cqt, note="see `estimate_tuning`"
    ),
    "cqt": with_librosa("cqt", goal=1e-4),
    "vqt": with_librosa("vqt", goal=1e-4, extra={"gamma": None}),
    "tonnetz": Comparison(
        "librosa.feature.tonnetz",
        our_tonnetz,
        reference_tonnetz,
        1e-6,
        "absolute",
        float64=True,
        note="of `chroma_stft`, tuning given; difference of coordinates, which lie on circles of radius 1",
    ),
    "rms": with_librosa("feature.rms"),
    "rms_db": Comparison(
        "librosa.amplitude_to_db",
        partial(our_features, name="rms_db"),
        reference_level,
        1e-3,
        "dB",
        note="of librosa.feature.rms",
    ),
    "harmonic_ratio": Comparison(
        "librosa.decompose.hpss",
        partial(our_features, name="harmonic_ratio"),
        reference_ratio,
        1e-2,
        "dB",
        note="the ratio of its parts' energies; a silent clip has none",
        applies=lambda clip: bool(clip.y.any()),
    ),
    "spectral_centroid": with_librosa("feature.spectral_centroid"),
    "spectral_bandwidth": with_librosa("feature.spectral_bandwidth"),
    "spectral_flatness": with_librosa("feature.spectral_flatness"),
    "spectral_rolloff": exactly("feature.spectral_rolloff", left_out=FEW),
    "spectral_contrast": with_librosa("feature.spectral_contrast", goal=0.1, measure="dB"),
    "zero_crossing_rate": exactly("feature.zero_crossing_rate"),
    "loudness_stevens": Comparison(
        "essentia Loudness",
        lambda clip: functional.loudness_stevens(torch.from_numpy(clip.y), hop_length=clip.hop_length),
        reference_loudness,
        1e-5,
    ),
    "hpcp": Comparison(
        "essentia HPCP",
        our_hpcp,
        reference_hpcp,
        1e-3,
        left_out=0.25,
        note="with noise at -80 dB, for HPCP scales the rounding noise of an empty band to 1; Essentia refuses peaks "
        "above half the rate (5 kHz)",
        applies=lambda clip: clip.sr > 10_000,
    ),
    "onset_rate": Comparison(
        "essentia OnsetRate",
        our_onsets,
        reference_onsets,
        0.0,
        "exact",
        left_out=FEW,
        note="at 44.1 kHz",
        applies=lambda clip: clip.sr == 44_100,
    ),
    "onset_rate, other rates": Comparison(
        "essentia OnsetRate",
        our_onsets,
        reference_onsets,
        0.0,
        "exact",
        left_out=FEW,
        note="against the clip resampled to 44.1 kHz",
        applies=lambda clip: clip.sr != 44_100,
    ),
    "k_weighting": Comparison(
        "scipy lfilter, float64",
        our_k_weighting,
        reference_k_weighting,
        0.01,
        "LU",
        float64=True,
        note="level of the whole clip",
        applies=lambda clip: bool(clip.y.any()),
    ),
}


def distance(comparison: Comparison, ours: Array, theirs: Array) -> float:
    ours, theirs = np.squeeze(ours), np.squeeze(theirs)
    assert ours.shape == theirs.shape
    difference = float(np.max(np.abs(np.subtract(ours, theirs, dtype=np.result_type(ours, theirs, np.float32)))))
    if comparison.measure in ("absolute", "dB", "LU"):
        return difference
    largest = float(np.max(np.abs(theirs)))
    relative = difference / largest if largest else difference
    return float(relative > 1e-6) if comparison.measure == "exact" else relative


class Distances(NamedTuple):
    """How far ours is from the reference, in float32 and in float64 (empty where that cannot be computed).

    Of all clips, of those on which the reference has a margin.
    """

    n_clips: int
    ours: Array
    float64: Array


def has_margin(comparison: Comparison, clip: Any, margin: Any) -> bool:
    def reference(y: Array) -> Array:
        return np.asarray((comparison.decision or comparison.theirs)(clip._replace(y=y)))

    def near(found: Array, expected: Array) -> bool:
        return distance(comparison, found, expected) <= comparison.goal

    return bool(margin.keeps(reference, clip.y, *([] if comparison.decision else [near])))


def compare(comparison: Comparison, clips: list[Any], margin: Any) -> Distances:
    clips = [clip for clip in clips if comparison.applies(clip)]
    ours, float64 = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for clip in clips:
            if comparison.left_out and not has_margin(comparison, clip, margin):
                continue
            twice = clip._replace(y=clip.y.astype(np.float64))
            for distances, given in ((ours, clip), (float64, twice))[: 1 + comparison.float64]:
                theirs = np.asarray(comparison.theirs(given))
                distances.append(distance(comparison, comparison.ours(given).numpy(), theirs))
    return Distances(len(clips), np.array(ours), np.array(float64))


def check(name: str, clips: list[Any], margin: Any) -> Distances:
    comparison = COMPARISONS[name]
    found = compare(comparison, clips, margin)
    if comparison.left_out:
        margin.check(share=comparison.left_out)
    assert (found.ours <= comparison.goal).all(), np.sort(found.ours)[-10:]
    return found


@pytest.mark.parametrize("name", COMPARISONS)
def test_parity(name: str, many_clips: list[Any], margin: Any) -> None:
    natural = {"instrument", "drums", "noise", "speech-like", "short", "silent"}
    check(name, [clip for clip in many_clips if clip.kind in natural][::8], margin)


class Table:
    """The table of the documentation, a row a comparison."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def add(self, name: str, found: Distances) -> None:
        comparison = COMPARISONS[name]
        unit = f" {comparison.measure}" if comparison.measure in ("dB", "LU") else ""
        counts = [str(found.n_clips), str(found.n_clips - len(found.ours)) if comparison.left_out else ""]
        if comparison.measure == "exact":
            goal, *numbers = "equal", "", "", f"{np.mean(found.float64 <= 0):.1%} equal" if found.float64.size else ""
        else:
            goal = f"{comparison.goal:g}{unit}" if unit else f"{comparison.goal:.0e}"
            values = (np.median(found.ours), found.ours.max(), found.float64.max() if found.float64.size else None)
            numbers = [f"{value:.1e}{unit}" if value is not None else "" for value in values]
        cells = [f"`{name}`", f"`{comparison.reference}`", *counts, goal, *numbers, comparison.note]
        self.rows.append(f"| {' | '.join(cells)} |")

    def write(self, path: Path) -> None:
        heads = ["Feature", "Reference", "Clips", "Left out", "Goal", "Median", "Largest", "Largest in float64"]
        lines = [f"| {' | '.join([*heads, 'Remarks'])} |", f"|{'---|' * (1 + len(heads))}", *self.rows]
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    if "PARITY_TABLE" in os.environ:
        table.write(Path(os.environ["PARITY_TABLE"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARISONS)
def test_parity_of_all_clips(name: str, many_clips: list[Any], margin: Any, table: Table) -> None:
    table.add(name, check(name, many_clips, margin))
