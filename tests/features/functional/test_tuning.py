from collections.abc import Callable
from functools import partial
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.features import functional
from lightning_dissect.features.functional import tuning


@pytest.fixture(scope="module")
def magnitudes(phrases: Callable[..., np.ndarray]) -> Tensor:
    """Spectrograms of phrases in several tunings, noise, silence, a plateau and NaN, as (8, frequency, frames)."""
    clips = torch.from_numpy(phrases(8, 1.0))
    clips[3] = torch.randn(clips[3].shape, generator=torch.Generator().manual_seed(0))
    clips[4], clips[5] = 0, 0.5
    S = functional.stft(clips).abs()
    S[6] = S[6].mul(10).round()
    S[7, :, 5] = torch.nan
    return S


@pytest.mark.parametrize("bins_per_octave", [12, 36])
def test_each_item_has_librosas_tuning(magnitudes: Tensor, bins_per_octave: int, margin: Any) -> None:
    settings = {"sr": 22_050, "bins_per_octave": bins_per_octave}
    ours = functional.estimate_tuning(S=magnitudes[:6].view(2, 3, *magnitudes.shape[1:]), **settings).flatten()
    for found, S in zip(ours.tolist(), magnitudes[:6].numpy(), strict=True):
        theirs = partial(librosa.estimate_tuning, **settings)
        if margin.keeps(lambda S, theirs=theirs: theirs(S=S), S, around=1):
            assert found == pytest.approx(theirs(S=S), abs=1e-6)  # a number of hundredths, in float32
    margin.check()


def index(S: Tensor | np.ndarray, exponent: int = 1) -> Tensor:
    return tuning.tuning_index(torch.as_tensor(S), sr=22_050, n_fft=2048, exponent=exponent)


@pytest.fixture
def decided(magnitudes: Tensor, margin: Any) -> np.ndarray:
    """Which items keep their tuning."""
    kept: np.ndarray = margin.where(index, magnitudes.numpy(), around=1)
    margin.check()
    return kept


def test_peaks_picked_in_advance_vote_as_all_bins_do(
    magnitudes: Tensor, decided: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = index(magnitudes)
    monkeypatch.setattr(tuning, "_in_front", tuning._all_places)
    assert torch.equal(picked[decided], index(magnitudes)[decided])
    assert len(picked[decided].unique()) > 3


def test_magnitudes_stand_for_powers(magnitudes: Tensor, margin: Any) -> None:
    decided = margin.where(partial(index, exponent=2), magnitudes.numpy(), around=1)
    assert torch.equal(index(magnitudes, exponent=2)[decided], index(magnitudes.square())[decided])
    margin.check()


def test_pieces_make_no_difference(magnitudes: Tensor, decided: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = index(magnitudes)
    monkeypatch.setattr(tuning, "chunk_size", lambda device: 1)
    assert torch.equal(whole[decided], index(magnitudes)[decided])
