from collections.abc import Callable

import essentia
import essentia.standard
import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional import onset_rate
from lightning_dissect.features.functional.onset_rate import onset_frames

essentia.log.infoActive = False


def test_onsets_are_where_essentia_has_them(phrases: Callable[..., np.ndarray]) -> None:
    for y in phrases(20, 2.0, 44_100):
        expected, _ = essentia.standard.OnsetRate()(y)
        found = onset_frames(torch.from_numpy(y)).nonzero().flatten().numpy() * 512 / 44_100
        np.testing.assert_allclose(found, expected, atol=1e-4)  # Essentia's times are float32


@pytest.mark.parametrize("sr", [8_000, 16_000, 22_050, 48_000, 96_000])
def test_other_rates_need_no_resampling(phrases: Callable[..., np.ndarray], sr: int) -> None:
    equal = []
    for y in phrases(30, 2.0, 44_100, seed=1):
        there = librosa.resample(y, orig_sr=44_100, target_sr=sr)
        back = librosa.resample(there, orig_sr=sr, target_sr=44_100)
        expected, _ = essentia.standard.OnsetRate()(back)
        equal.append(int(onset_frames(torch.from_numpy(there), sr=sr).sum()) == len(expected))
    assert np.mean(equal) >= 0.9


def test_rate_is_onsets_by_seconds_of_each_clip() -> None:
    clicks = torch.zeros(2, 44_100)
    clicks[:, 5_000::10_000] = 1.0
    rate = onset_rate(clicks, lengths=torch.tensor([44_100, 22_050]))
    torch.testing.assert_close(rate, torch.tensor([4.0, 4.0]))
    torch.testing.assert_close(rate[1], onset_rate(clicks[1, :22_050]))


@pytest.mark.parametrize("sr", [0, -1, 44_100.5, None, True])
def test_sampling_rate_must_be_a_positive_integer(sr: object) -> None:
    with pytest.raises(ValueError, match="sr must be a positive integer"):
        onset_rate(torch.zeros(100), sr=sr)  # type: ignore[arg-type]
