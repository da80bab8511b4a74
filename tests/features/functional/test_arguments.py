"""librosa's arguments mean what they mean there."""

import operator
import warnings
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features import functional

RNG = np.random.default_rng(0)
Y = (RNG.normal(size=9_001) * np.linspace(0.1, 1, 9_001)).astype(np.float32)
S = np.abs(librosa.stft(Y, n_fft=512, hop_length=128))
ENVELOPE = RNG.exponential(size=500).astype(np.float32) ** 2
C = np.abs(RNG.normal(size=(84, 40))).astype(np.float32)
RISING = np.sort(RNG.uniform(0, 11_025, 257)).astype(np.float32)

FRAMINGS: list[dict[str, Any]] = [
    {"win_length": 300, "n_fft": 512},
    {"window": "hamming"},
    {"center": False, "hop_length": 100},
    {"pad_mode": "edge"},
    {"pad_mode": "reflect", "n_fft": 1024},
]
FRAMED = [
    "stft",
    "feature.melspectrogram",
    "feature.mfcc",
    "feature.chroma_stft",
    "feature.spectral_centroid",
    "feature.spectral_bandwidth",
    "feature.spectral_rolloff",
    "feature.spectral_flatness",
    "feature.spectral_contrast",
]

DECIDING = {"feature.spectral_rolloff", "feature.tempo", "estimate_tuning", "onset.onset_detect"}
"""Each value is one of a few; the others are continuous."""

ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    *((path, {"y": Y, **framing}) for path in FRAMED for framing in FRAMINGS),
    *((path, {"S": S}) for path in FRAMED if path not in ("stft", "feature.mfcc")),
    ("feature.melspectrogram", {"y": Y, "power": 1.0, "n_mels": 40, "fmin": 100, "fmax": 4_000, "htk": True}),
    ("feature.melspectrogram", {"y": Y, "power": 3.0, "norm": None}),
    ("feature.mfcc", {"y": Y, "n_mfcc": 13, "lifter": 22, "n_mels": 40, "fmax": 8_000, "htk": True, "power": 1.0}),
    ("feature.mfcc", {"y": Y, "norm": None, "mel_norm": None}),
    ("feature.mfcc", {"S": librosa.power_to_db(S)}),
    ("feature.chroma_stft", {"y": Y, "n_chroma": 24, "norm": 2, "tuning": 0.2}),
    ("feature.chroma_stft", {"y": Y, "norm": None}),
    ("feature.chroma_cqt", {"C": C, "bins_per_octave": 12, "threshold": 6.0}),
    ("feature.chroma_cqt", {"C": C, "bins_per_octave": 12, "norm": 1, "fmin": 110.0}),
    ("feature.tonnetz", {"y": Y, "n_octaves": 5, "tuning": 0.0, "hop_length": 256}),
    ("feature.spectral_centroid", {"S": S, "freq": RISING}),
    ("feature.spectral_bandwidth", {"S": S, "freq": RISING, "norm": False, "p": 3}),
    ("feature.spectral_bandwidth", {"S": S, "centroid": np.full((1, S.shape[1]), 700, np.float32)}),
    ("feature.spectral_rolloff", {"S": S, "freq": RISING, "roll_percent": 0.5}),
    ("feature.spectral_contrast", {"S": S, "linear": True, "fmin": 100, "quantile": 0.1}),
    ("feature.spectral_contrast", {"S": S, "freq": np.linspace(0, 8_000, 257, dtype=np.float32), "n_bands": 5}),
    ("feature.spectral_flatness", {"S": S, "amin": 1e-3, "power": 1.5}),
    ("feature.rms", {"y": Y, "frame_length": 700, "hop_length": 200, "center": False}),
    ("feature.rms", {"y": Y, "pad_mode": "reflect"}),
    ("feature.rms", {"S": S, "frame_length": 512}),
    ("feature.rms", {"S": S, "frame_length": 513}),
    ("feature.zero_crossing_rate", {"y": Y, "center": False, "frame_length": 700}),
    ("feature.zero_crossing_rate", {"y": Y, "threshold": 0.2}),
    ("feature.tempo", {"onset_envelope": S[0], "start_bpm": 80.0, "std_bpm": 0.5, "ac_size": 2.0, "max_tempo": 200.0}),
    ("estimate_tuning", {"y": Y, "fmin": 300, "fmax": 2_000, "threshold": 0.3, "resolution": 0.02}),
    ("estimate_tuning", {"S": S, "bins_per_octave": 24}),
    ("onset.onset_strength", {"y": Y, "lag": 2, "max_size": 3, "n_mels": 60, "fmax": 8_000}),
    ("onset.onset_strength", {"S": S, "center": False}),
    *(
        ("onset.onset_detect", {"onset_envelope": ENVELOPE, "sparse": False, **options})
        for options in (
            {"pre_max": 0, "wait": 0, "delta": 0.0},
            {"pre_max": 3, "post_max": 4, "wait": 0},
            {"pre_avg": 10, "post_avg": 1, "delta": 0.2},
            {"pre_avg": 0, "post_avg": 7, "wait": 9},
            {"normalize": False, "post_max": 20, "delta": 1.0, "hop_length": 64},
        )
    ),
    ("cqt", {"y": Y, "n_bins": 48, "fmin": 110.0, "tuning": 0.2, "bins_per_octave": 24}),
    ("power_to_db", {"S": S, "ref": 0.5, "amin": 1e-2, "top_db": 20.0}),
    ("power_to_db", {"S": S, "top_db": None}),
]


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call by name, but for what librosa takes by position."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(**arguments)


@pytest.mark.parametrize(("path", "arguments"), ARGUMENTS, ids=[f"{p} {sorted(a)}" for p, a in ARGUMENTS])
def test_arguments_are_librosas(path: str, arguments: dict[str, Any], margin: Any) -> None:
    ours = getattr(functional, path.split(".")[-1])
    tensors = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in arguments.items()
        if key != "sparse"
    }
    if "centroid" in arguments:
        tensors["centroid"] = tensors["centroid"].squeeze(0)
    found = np.squeeze(call(ours, tensors).numpy())
    theirs, given = operator.attrgetter(path)(librosa), next(iter(arguments))
    expected = np.squeeze(np.asarray(call(theirs, arguments)))
    assert found.shape == expected.shape
    if path in DECIDING:
        around = 33 if given == "y" else 1
        kept = margin.where(
            lambda x: np.squeeze(call(theirs, {**arguments, given: x})), arguments[given], around=around
        )
        margin.check("values")
        found, expected = found[kept], expected[kept]
        assert found.size
    atol = 1e-3 if "contrast" in path else 2e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_decibels_can_be_below_each_items_own_maximum() -> None:
    powers = torch.rand(3, 5, 6) * torch.tensor([1.0, 10.0, 1e-4])[:, None, None]
    ours = functional.power_to_db(powers, ref=torch.amax)
    for item, expected in zip(ours, powers.numpy(), strict=True):
        np.testing.assert_allclose(item.numpy(), librosa.power_to_db(expected, ref=np.max), atol=1e-4)


CONTINUED = [
    (name, framing)
    for name in ("stft", "rms", "spectral_centroid")
    for framing in ({"pad_mode": "edge"}, {"pad_mode": "reflect"}, {"center": False})
]


@pytest.mark.parametrize(("name", "framing"), [*CONTINUED, ("zero_crossing_rate", {"center": False})])
def test_padded_batches_are_continued_at_their_own_ends(name: str, framing: dict[str, Any]) -> None:
    function = getattr(functional, name)
    y = torch.from_numpy(np.stack([Y, Y[::-1].copy()]))
    lengths = torch.tensor([9_001, 3_333])
    batch = function(y=y, hop_length=128, lengths=lengths, **framing)
    for clip, length, values in zip(y, lengths, batch, strict=True):
        alone = function(y=clip[:length], hop_length=128, **framing)
        torch.testing.assert_close(values[..., : alone.shape[-1]], alone, rtol=1e-5, atol=1e-5)
        assert (values[..., alone.shape[-1] :] == 0).all()


@pytest.mark.parametrize("wrong", [{"pre_max": -1}, {"post_max": 0}, {"post_avg": 0}, {"wait": -1}, {"delta": -0.1}])
def test_windows_of_peaks_must_hold_the_peak(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        functional.onset_detect(onset_envelope=torch.rand(50), **wrong)
