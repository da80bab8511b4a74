"""Constant-Q and variable-Q transforms with librosa's arguments."""

import warnings
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional import cqt, vqt

OPTIONS: list[dict[str, Any]] = [
    {"tuning": 0.3},
    {"bins_per_octave": 24, "n_bins": 90},
    {"fmin": 110.0, "n_bins": 30},
]


def check(clip: Any, function: str, options: dict[str, Any]) -> None:
    shared = {"sr": clip.sr, "hop_length": clip.hop_length, "n_bins": 50, **options}
    ours = {"cqt": cqt, "vqt": vqt}[function](torch.from_numpy(clip.y), **shared).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(librosa, function)(clip.y, **shared)[..., : ours.shape[-1]]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(), err_msg=clip.kind)


@pytest.mark.parametrize("number", range(len(OPTIONS)))
@pytest.mark.parametrize("function", ["cqt", "vqt"])
def test_coefficients_are_librosas(many_clips: list[Any], function: str, number: int) -> None:
    for clip in many_clips[number + (7 if function == "vqt" else 0) :: 23]:
        check(clip, function, OPTIONS[number])


def test_a_low_range_at_a_high_rate_skips_rates_as_librosa_does() -> None:
    y = np.random.default_rng(0).normal(size=30_001).astype(np.float32)
    options = {"sr": 96_000, "hop_length": 1_024, "n_bins": 48}
    ours, theirs = cqt(torch.from_numpy(y), **options), librosa.cqt(y, **options)
    np.testing.assert_allclose(ours.numpy(), theirs[:, : ours.shape[1]], atol=1e-5 * np.abs(theirs).max())


def test_padded_batches_end_where_their_clips_do(phrases: Callable[..., np.ndarray]) -> None:
    y = 0.5 + torch.from_numpy(phrases(4, 1.0)).view(2, 2, -1)
    lengths = torch.tensor([[22_050, 15_000], [7_001, 640]])
    options: dict[str, Any] = {"n_bins": 36, "fmin": 130.0}
    batch = cqt(y, lengths=lengths, **options)
    for number in np.ndindex(2, 2):
        alone = cqt(y[number][: lengths[number]], **options)
        values = batch[number]
        torch.testing.assert_close(values[:, : alone.shape[-1]], alone, rtol=0, atol=1e-5 * alone.abs().max().item())
        assert (values[:, alone.shape[-1] :] == 0).all()


def test_transforms_have_gradients() -> None:
    y = torch.randn(600, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def of_audio(y: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(vqt(y, sr=4_000, n_bins=5, fmin=220.0, hop_length=256))

    # Filters have single precision, the slope is that of a linear map.
    assert torch.autograd.gradcheck(of_audio, y, eps=1.0, atol=1e-6, rtol=1e-6, fast_mode=True)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"fmin": 0.0}, "n_bins and bins_per_octave must be at least 1 and fmin positive, found 84, 12, 0.0"),
    ({"gamma": -1.0}, "gamma must not be negative, found -1.0"),
    ({"n_bins": 120}, "n_bins: the highest of 120 bins reaches up to"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vqt(torch.randn(4_000), **arguments)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="res_type"):
        cqt(torch.randn(4_000), res_type="kaiser_best")  # type: ignore[call-arg]
