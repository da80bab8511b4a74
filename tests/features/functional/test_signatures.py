"""Every argument of librosa's functions is one of ours, or there is a reason."""

import inspect
import operator
from typing import Any, get_args, get_type_hints

import librosa
import numpy as np
import pytest

from lightning_dissect.features import functional

PRECISION = "the result has the precision of what is given"
FILTERS = "filters, padding and the lowering of rates are librosa's by default"
TRANSFORM = "the constant-Q transform is the full one, librosa's default"
FUNCTIONS = "functions of the user's own can be applied to what this function takes or returns"
OF_WAVELETS = dict.fromkeys(
    ["filter_scale", "norm", "pad_mode", "res_type", "scale", "sparsity", "window"], FILTERS
) | {"dtype": PRECISION}
WITHOUT: dict[str, dict[str, str]] = {
    "stft": {"dtype": PRECISION, "out": "there is nothing to gain from a buffer where gradients may be wanted"},
    "cqt": OF_WAVELETS,
    "vqt": {**OF_WAVELETS, "intervals": "bins are those of equal temperament, librosa's default"},
    "feature.rms": {"dtype": PRECISION},
    "feature.mfcc": {"dct_type": "the transform is the type II of nearly all uses, librosa's default"},
    "feature.chroma_cqt": {"cqt_mode": TRANSFORM, "window": "bins of a pitch class count alike, librosa's default"},
    "feature.tempo": {
        "aggregate": FUNCTIONS,
        "prior": "the preference is normal over octaves, librosa's default",
        "tg": "a tempo is that of a strength",
    },
    "onset.onset_strength": {
        "aggregate": FUNCTIONS,
        "detrend": "a filter of the result, which is librosa's default not to apply",
        "feature": FUNCTIONS,
        "ref": "rises are those from an earlier frame, librosa's default",
    },
    "onset.onset_detect": {
        "backtrack": "onsets are where the strength peaks, librosa's default",
        "energy": "only for backtrack",
        "sparse": "clips of a batch have unequal numbers of onsets, which only a mask can hold",
        "units": "a mask is over frames",
    },
}
OTHERWISE: dict[tuple[str, str], Any] = {
    ("cqt", "fmin"): librosa.note_to_hz("C1"),
    ("vqt", "fmin"): librosa.note_to_hz("C1"),
    ("feature.chroma_cqt", "fmin"): librosa.note_to_hz("C1"),
}
"""Defaults that librosa fills in where it finds None."""

SHARED = [
    path
    for module in ("", "feature.", "onset.", "decompose.")
    for name in functional.__all__
    if inspect.isfunction(getattr(functional, name)) and name != "median_filter"
    for path in [module + name]
    if hasattr(operator.attrgetter(module[:-1])(librosa) if module else librosa, name)
]


def arguments(function: Any) -> dict[str, Any]:
    """Return the arguments that can be given by name, with their defaults where they are in the signature."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found[name] = parameter.default
        elif options := get_args(parameter.annotation):
            found |= dict.fromkeys(get_type_hints(options[0]))
    return found


def test_the_functions_that_librosa_has_are_found() -> None:
    assert len(SHARED) > 24
    assert set(WITHOUT) <= set(SHARED)


@pytest.mark.parametrize("path", SHARED)
def test_arguments_of_librosa_are_there_or_there_is_a_reason(path: str) -> None:
    ours = arguments(getattr(functional, path.split(".")[-1]))
    theirs = arguments(operator.attrgetter(path)(librosa))
    assert theirs.keys() - ours.keys() == WITHOUT.get(path, {}).keys()


@pytest.mark.parametrize("path", SHARED)
def test_defaults_are_librosas(path: str) -> None:
    function = getattr(functional, path.split(".")[-1])
    signature = inspect.signature(function).parameters
    for name, default in arguments(operator.attrgetter(path)(librosa)).items():
        if name in signature and default is not inspect.Parameter.empty:
            expected = OTHERWISE.get((path, name), default)
            found = signature[name].default
            assert found == expected or np.isclose(found, expected, rtol=1e-12), name
