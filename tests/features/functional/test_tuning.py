from collections.abc import Callable

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
def test_each_item_has_librosas_tuning(magnitudes: Tensor, bins_per_octave: int) -> None:
    settings = {"sr": 22_050, "bins_per_octave": bins_per_octave}
    ours = functional.estimate_tuning(S=magnitudes[:6].view(2, 3, *magnitudes.shape[1:]), **settings)
    theirs = [librosa.estimate_tuning(S=S, **settings) for S in magnitudes[:6].numpy()]
    np.testing.assert_allclose(ours.flatten(), theirs, atol=1e-6)


def test_peaks_picked_in_advance_vote_as_all_bins_do(magnitudes: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    picked = tuning.tuning_index(magnitudes, sr=22_050, n_fft=2048)
    monkeypatch.setattr(tuning, "_in_front", tuning._all_places)
    assert torch.equal(picked, tuning.tuning_index(magnitudes, sr=22_050, n_fft=2048))
    assert len(picked.unique()) > 3


def test_magnitudes_stand_for_powers(magnitudes: Tensor) -> None:
    of_magnitudes = tuning.tuning_index(magnitudes, sr=22_050, n_fft=2048, exponent=2)
    assert torch.equal(of_magnitudes, tuning.tuning_index(magnitudes.square(), sr=22_050, n_fft=2048))


def test_pieces_make_no_difference(magnitudes: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tuning.tuning_index(magnitudes, sr=22_050, n_fft=2048)
    monkeypatch.setattr(tuning, "chunk_size", lambda device: 1)
    assert torch.equal(whole, tuning.tuning_index(magnitudes, sr=22_050, n_fft=2048))
