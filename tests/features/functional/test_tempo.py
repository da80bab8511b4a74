"""Tempi by other preferences, of padded batches, and of what is no audio."""

from collections.abc import Callable
from functools import partial
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.features.functional import tempo

VARIANTS: list[dict[str, Any]] = [
    {"max_tempo": None, "start_bpm": 600.0},
    {"max_tempo": 160.0, "std_bpm": 0.4},
    {"ac_size": 3.0, "start_bpm": 70.0},
]


@pytest.mark.parametrize("options", VARIANTS, ids=[" ".join(v) for v in VARIANTS])
def test_tempi_are_librosas(phrases: Callable[..., np.ndarray], options: dict[str, Any], margin: Any) -> None:
    found_tempi = set()
    for sr in (8_000, 22_050, 44_100):
        reference = partial(librosa.feature.tempo, sr=sr, **options)
        for y in phrases(8, 3.0, sr, seed=sr):
            if margin.keeps(lambda y, reference=reference: reference(y=y), y):
                found = tempo(torch.from_numpy(y), sr=sr, **options).item()
                assert found == pytest.approx(reference(y=y).item(), rel=1e-6)  # tempi of lags, in float32
                found_tempi.add(round(found, 3))
    margin.check()
    assert len(found_tempi) > 5


@pytest.mark.parametrize("given", ["y", "onset_envelope"])
def test_padded_batches_have_the_tempi_of_their_clips(
    phrases: Callable[..., np.ndarray], given: str, margin: Any
) -> None:
    if given == "y":
        batch = torch.from_numpy(phrases(4, 3.0)).view(2, 2, -1)
        lengths = torch.tensor([[66_150, 50_000], [33_333, 22_050]])
    else:
        batch = torch.rand(2, 2, 100, generator=torch.Generator().manual_seed(0)) ** 3
        lengths = torch.tensor([[100, 80], [60, 33]])
    found = tempo(**{given: batch}, lengths=lengths)
    assert found.shape == (2, 2)

    def alone(x: np.ndarray) -> Tensor:
        return tempo(**{given: torch.from_numpy(x)})

    for number in np.ndindex(2, 2):
        clip = batch[number][: lengths[number]].numpy()
        if margin.keeps(alone, clip, around=33 if given == "y" else 1):
            torch.testing.assert_close(found[number], alone(clip))
    margin.check()


def test_clips_with_nan_have_no_tempo() -> None:
    strength = torch.rand(3, 200)
    strength[1, 5] = torch.nan
    assert torch.equal(tempo(onset_envelope=strength).isnan(), torch.tensor([False, True, False]))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"onset_envelope": torch.rand(50), "y": torch.rand(900)}, "exactly one of y .* and onset_envelope"),
    ({"onset_envelope": torch.rand(2, 50), "lengths": torch.tensor(3)}, "lengths must be integers of shape"),
    ({"onset_envelope": torch.rand(50), "ac_size": 0.1}, "ac_size: 0.1 s hold no period"),
    ({"onset_envelope": torch.rand(50), "std_bpm": 0.0}, "std_bpm, max_tempo must be positive"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tempo(**arguments)
