"""Random input of any shape, rate, precision and content: a result of the declared shape, or an error that says why."""

import inspect
import re
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.features import FeatureBank, FrequencyAxis, feature_names, functional, make_feature

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]
LENGTHS = [0, 1, 2, 3, 100, 511, 512, 1_025, 2_049, 5_000]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int16, torch.bool]
HOPS = [64, 128, 256, 512, 480]

ROWS: dict[str, tuple[int, ...]] = {
    "stft": (1025,),
    "melspectrogram": (128,),
    "mfcc": (20,),
    "chroma_stft": (12,),
    "hpcp": (12,),
    "cqt": (48,),
    "vqt": (48,),
    "chroma_cqt": (12,),
    "spectral_contrast": (5,),
    **dict.fromkeys(["onset_strength", "onset_detect", "rms", "loudness_stevens", "zero_crossing_rate"], ()),
    **dict.fromkeys(["spectral_centroid", "spectral_bandwidth", "spectral_rolloff", "spectral_flatness"], ()),
    "momentary_loudness": (),
}
"""Functions of waveforms whose results have an axis of frames, and their rows."""

OPTIONS: dict[str, dict[str, int]] = {
    "cqt": {"n_bins": 48},
    "vqt": {"n_bins": 48},
    "chroma_cqt": {"n_octaves": 4},
    "spectral_contrast": {"n_bands": 4},
}
WHOLE = ["tempo", "onset_rate", "estimate_tuning"]
"""Functions with one result a clip."""


def contents(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Audio, silence, a constant, or numbers that no audio holds."""
    x = torch.from_numpy(rng.normal(size=shape))
    kind = rng.integers(8)
    if kind in (1, 2):
        return x * (0, 1e-30)[kind - 1]
    if kind in (3, 4) and x.numel():
        x.view(-1)[int(rng.integers(x.numel()))] = (torch.nan, torch.inf)[kind - 3]
    return {5: torch.ones_like(x), 6: 1e30 * x, 7: x.sign()}.get(int(kind), x)


def call(function: Callable[..., Tensor], y: Tensor, options: dict[str, object], names: set[str]) -> Tensor | None:
    """Call, and return the result, or None for an error that names an argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return function(y, **options)
        except ValueError as error:
            message = str(error)
    assert set(re.findall(r"\w+", message)) & names, f"{message} names none of {sorted(names)}"
    return None


def fuzz_function(rng: np.random.Generator, name: str) -> None:
    function = getattr(functional, name)
    samples = int(rng.choice(LENGTHS))
    lead = tuple(int(n) for n in rng.integers(1, 3, size=rng.integers(0, 3)))
    y = contents(rng, (*lead, samples)).to(DTYPES[rng.integers(len(DTYPES))])
    parameters = set(inspect.signature(function).parameters)
    options: dict[str, object] = dict(OPTIONS.get(name, {}))
    if "sr" in parameters:
        options["sr"] = int(rng.choice(RATES))
    hop_length = 512
    if "hop_length" in parameters:
        options["hop_length"] = hop_length = int(rng.choice(HOPS))
    if "lengths" in parameters and rng.random() < 0.5:
        options["lengths"] = torch.from_numpy(rng.integers(1, max(samples, 1) + 1, size=lead))
    result = call(function, y, options, parameters)
    if not y.is_floating_point() or samples == 0:
        assert result is None, f"{name} took {y.dtype} of shape {tuple(y.shape)}"
        return
    assert result is not None, f"{name} refused {tuple(y.shape)} with {options}"
    expected = lead if name in WHOLE else (*lead, *ROWS[name], 1 + samples // hop_length)
    assert result.shape == expected, (name, options)


def values_of(bank: FeatureBank, name: str, y: Tensor, lengths: Tensor | None) -> Tensor:
    values: Tensor = bank(y, lengths)[name].values
    return values


def fuzz_bank(rng: np.random.Generator, name: str) -> None:
    sample_rate, hop_length = int(rng.choice(RATES)), int(rng.choice(HOPS))
    axis = FrequencyAxis(n_bins=int(rng.integers(1, 40)))
    bank = FeatureBank([name], sample_rate, hop_length=hop_length, frequency=axis)
    for _ in range(8):
        samples = int(rng.choice(LENGTHS))
        y = contents(rng, (*rng.integers(1, 4, size=rng.choice([0, 1, 1, 1, 1, 2])), samples))
        y = y.to(DTYPES[rng.integers(len(DTYPES))])
        lengths = torch.from_numpy(rng.integers(1, max(samples, 1) + 1, size=len(y))) if rng.random() < 0.5 else None
        result = call(partial(values_of, bank, name), y, {"lengths": lengths}, {"waveform", "lengths"})
        fits = y.dim() == 2 and samples > 0 and y.is_floating_point()
        if name != "vqt_nnaudio":
            assert (result is not None) == fits, (name, tuple(y.shape), y.dtype)
        if result is not None:
            declared = make_feature(name)
            assert result.shape[0] == len(y)
            assert result.shape[2:] == (() if declared.level == "clip" else (bank.frames(samples),))
            lost = ~y.isfinite() & (torch.arange(samples) < (samples if lengths is None else lengths[:, None]))
            assert result[lost.any(dim=1)].isnan().all()


@pytest.mark.parametrize("name", [*ROWS, *WHOLE])
def test_functions(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        fuzz_function(rng, name)


@pytest.mark.parametrize("name", feature_names())
def test_features(name: str) -> None:
    fuzz_bank(np.random.default_rng(0), name)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # two minutes of work, on a machine that may be busy
def test_ten_thousand_inputs() -> None:
    rng = np.random.default_rng(1)
    functions, features = [*ROWS, *WHOLE], feature_names()
    for number in range(5_200):
        fuzz_function(rng, functions[number % len(functions)])
    for number in range(600):
        fuzz_bank(rng, features[number % len(features)])
