"""Constant-Q and variable-Q transforms with librosa's arguments."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional import cqt, vqt

FILTERS: list[dict[str, Any]] = [
    {"filter_scale": 0.5},
    {"filter_scale": 1.7, "norm": 2, "sparsity": 0.0},
    {"norm": math.inf},
    {"norm": None, "scale": False},
    {"sparsity": 0.1, "window": "hamming"},
    {"window": "blackman"},
    {"window": "bartlett"},
    {"window": "ones", "norm": 3},
    {"pad_mode": "edge"},
    {"pad_mode": "reflect"},
]
JUST = librosa.plimit_intervals(primes=[3, 5], bins_per_octave=12)
INTERVALS: list[dict[str, Any]] = [
    {"intervals": JUST},
    {"intervals": JUST, "gamma": 0.0, "tuning": 0.3},
    {"intervals": librosa.pythagorean_intervals(bins_per_octave=12), "gamma": 8.0, "window": "hamming"},
    {"intervals": [1.0, 1.1, 1.3, 1.5, 1.9], "gamma": 0.0, "filter_scale": 0.7},
    {"intervals": [1.0, 2.5], "n_bins": 7},
    {"intervals": [1.0, 1.5], "n_bins": 1},
]


def check(clip: Any, function: str, options: dict[str, Any]) -> None:
    shared = {"sr": clip.sr, "hop_length": clip.hop_length, "n_bins": 50, **options}
    ours = {"cqt": cqt, "vqt": vqt}[function](torch.from_numpy(clip.y), **shared).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(librosa, function)(clip.y, **shared)[..., : ours.shape[-1]]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(), err_msg=clip.kind)


@pytest.mark.parametrize(
    "number", range(len(FILTERS)), ids=[" ".join(f"{k}={v}" for k, v in o.items()) for o in FILTERS]
)
@pytest.mark.parametrize("function", ["cqt", "vqt"])
def test_filters_are_librosas(many_clips: list[Any], function: str, number: int) -> None:
    for clip in many_clips[number + (7 if function == "vqt" else 0) :: 23]:
        check(clip, function, FILTERS[number])


@pytest.mark.parametrize("number", range(len(INTERVALS)))
def test_intervals_are_librosas(many_clips: list[Any], number: int) -> None:
    for clip in many_clips[number::23]:
        check(clip, "vqt", {"n_bins": 30, **INTERVALS[number]})


def test_windows_can_be_functions(phrases: Callable[..., np.ndarray]) -> None:
    for sr in (16_000, 44_100):
        y = phrases(1, 0.5, sr)[0]
        theirs = librosa.cqt(y, sr=sr, window=np.hanning)
        for window in (lambda n: torch.hann_window(n, periodic=False), np.hanning):
            ours = cqt(torch.from_numpy(y), sr=sr, window=window)
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("scale", [True, False])
def test_a_low_range_at_a_high_rate_skips_rates_as_librosa_does(scale: bool) -> None:
    y = np.random.default_rng(0).normal(size=30_001).astype(np.float32)
    options = {"sr": 96_000, "hop_length": 1_024, "n_bins": 48, "scale": scale}
    ours, theirs = cqt(torch.from_numpy(y), **options), librosa.cqt(y, **options)
    np.testing.assert_allclose(ours.numpy(), theirs[:, : ours.shape[1]], atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("pad_mode", ["edge", "reflect"])
def test_padded_batches_are_continued_at_their_own_ends(phrases: Callable[..., np.ndarray], pad_mode: str) -> None:
    y = 0.5 + torch.from_numpy(phrases(4, 1.0)).view(2, 2, -1)
    lengths = torch.tensor([[22_050, 15_000], [7_001, 640]])
    options: dict[str, Any] = {"pad_mode": pad_mode, "n_bins": 36, "fmin": 130.0}
    batch = cqt(y, lengths=lengths, **options)
    for number in np.ndindex(2, 2):
        alone = cqt(y[number][: lengths[number]], **options)
        values = batch[number]
        torch.testing.assert_close(values[:, : alone.shape[-1]], alone, rtol=0, atol=1e-5 * alone.abs().max().item())
        assert (values[:, alone.shape[-1] :] == 0).all()


def test_transforms_with_other_filters_have_gradients() -> None:
    y = torch.randn(600, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    filters: dict[str, Any] = {
        "window": "hamming",
        "filter_scale": 0.5,
        "norm": 2,
        "pad_mode": "reflect",
        "scale": False,
    }

    def of_audio(y: torch.Tensor) -> torch.Tensor:
        octave: torch.Tensor = vqt(y, sr=4_000, n_bins=5, fmin=220.0, hop_length=256, intervals=JUST[:6], **filters)
        return torch.view_as_real(octave)

    # Filters have single precision, the slope is that of a linear map.
    assert torch.autograd.gradcheck(of_audio, y, eps=1.0, atol=1e-6, rtol=1e-6, fast_mode=True)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"filter_scale": 0}, "filter_scale must be positive, found 0"),
    ({"filter_scale": math.nan}, "filter_scale must be positive, found nan"),
    ({"norm": 0}, "norm must be positive, infinity or None, found 0"),
    ({"sparsity": 1.0}, "sparsity must be from 0 to below 1, found 1.0"),
    ({"window": 3}, "window must be one of hann, .* found 3"),
    ({"window": "flattop"}, "window must be one of hann, .* found 'flattop'"),
    ({"window": lambda n: torch.ones(n + 1)}, "window must return 1000 values where it is called with 1000"),
    ({"pad_mode": "wrap"}, "pad_mode must be constant, edge or reflect, found 'wrap'"),
    ({"filter_scale": 1e-3}, "n_bins: the highest of 84 bins reaches up to"),
    ({"intervals": "ji5"}, "intervals must be 'equal' or the frequencies .* found 'ji5'"),
    ({"intervals": []}, "intervals must be 'equal' or the frequencies"),
    ({"intervals": [1.0, 2.0]}, "intervals must be positive and no two"),
    ({"intervals": [-1.0, 1.5]}, "intervals must be positive and no two"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vqt(torch.randn(4_000), **arguments)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="res_type"):
        cqt(torch.randn(4_000), res_type="kaiser_best")  # type: ignore[call-arg]
