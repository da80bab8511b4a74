"""No function mixes one item with another: a batch is its items one by one."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.features import functional

OPTIONS: dict[str, dict[str, Any]] = {
    "chroma_cqt": {"n_octaves": 4},
    "cqt": {"n_bins": 48},
    "k_weighting": {"sr": 22_050},
    "momentary_loudness": {"sr": 22_050},
    "vqt": {"n_bins": 48},
    "tonnetz": {"n_octaves": 4},
}
WAVEFORM_FUNCTIONS = [
    name
    for name in functional.__all__
    if inspect.isfunction(getattr(functional, name))
    and next(iter(inspect.signature(getattr(functional, name)).parameters), "") == "y"
    and name not in ("frame", "loudness_ebur128")
]


def outcome(name: str, y: Tensor) -> Tensor:
    values: Tensor = getattr(functional, name)(y, **OPTIONS.get(name, {}))
    return torch.view_as_real(values) if values.is_complex() else values.to(torch.float32)


@pytest.fixture(scope="module")
def audio(phrases: Callable[..., np.ndarray]) -> Tensor:
    """Two phrases, one of them faint and one clipped, noise, silence, a constant, and NaN, as (2, 4, samples)."""
    clips = torch.from_numpy(phrases(8, 0.5))
    clips[1] *= 1e-4
    clips[2] = (30 * clips[2]).clamp(-1, 1)
    clips[3] = torch.randn(clips[3].shape, generator=torch.Generator().manual_seed(0))
    clips[4], clips[5], clips[6] = 0, 0.5, torch.nan
    return clips.view(2, 4, -1)


DECIDING = {"onset_detect", "onset_rate", "tempo", "estimate_tuning", "spectral_rolloff", "hpcp", "chroma_stft"}
DECIDING |= {"chroma_cqt", "tonnetz"}
"""They pick peaks, bins or frames, or a tuning on their way."""


def decided_alike(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a change of 1e-6 has done no more than 1e-4, as another decision does."""
    largest = np.nan_to_num(np.abs(expected)).max()
    return np.allclose(found, expected, rtol=0, atol=1e-4 * largest, equal_nan=True)


@pytest.mark.parametrize("name", WAVEFORM_FUNCTIONS)
def test_a_batch_equals_its_items(name: str, audio: Tensor, margin: Any) -> None:
    batch = outcome(name, audio).flatten(0, 1)
    for number, (clip, values) in enumerate(zip(audio.flatten(0, 1), batch, strict=True)):
        if name in DECIDING and not margin.keeps(
            lambda y: outcome(name, torch.from_numpy(y)).numpy(), clip.numpy(), decided_alike
        ):
            continue
        alone = outcome(name, clip)
        atol = 1e-6 * max(alone[alone.isfinite()].abs().max().item() if alone.isfinite().any() else 0.0, 1e-6)
        torch.testing.assert_close(
            values, alone, rtol=0, atol=atol, equal_nan=True, msg=lambda m, n=number: f"{n}: {m}"
        )
        assert number == 6 or alone.isfinite().all()
    if name in DECIDING:
        margin.check(share=0.25 if name == "hpcp" else 0.1)  # for hpcp, peaks of noise are all alike


COUNTED = {"onset_detect", "onset_rate", "zero_crossing_rate", "tempo", "estimate_tuning", "spectral_rolloff"}
"""Their values are counts or bins, which have no slope."""


@pytest.mark.parametrize("name", sorted(set(WAVEFORM_FUNCTIONS) - COUNTED))
def test_gradients_are_finite_and_reach_the_audio(name: str, audio: Tensor) -> None:
    y = audio[0, [0, 3]].clone().requires_grad_()
    outcome(name, y).square().mean().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert (y.grad != 0).any(dim=-1).all()
