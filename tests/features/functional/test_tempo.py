"""Tempi of frames, of given tempograms, and by other preferences."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from lightning_dissect.features.functional import tempo, tempogram


def median(x: Tensor, dim: int) -> Tensor:
    return x.nanquantile(0.5, dim=dim)


LOG_NORMAL = scipy.stats.lognorm(s=0.4, scale=90.0)
VARIANTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"aggregate": None}, {"aggregate": None}),
    ({"aggregate": torch.amax}, {"aggregate": np.max}),
    ({"aggregate": median}, {"aggregate": np.median}),
    ({"prior": scipy.stats.uniform(30, 300)}, {"prior": scipy.stats.uniform(30, 300)}),
    ({"prior": torch.distributions.LogNormal(math.log(90.0), 0.4).log_prob}, {"prior": LOG_NORMAL}),
    ({"prior": LOG_NORMAL, "aggregate": None, "max_tempo": 160.0}, {"prior": LOG_NORMAL, "aggregate": None}),
    ({"max_tempo": None, "start_bpm": 600.0}, {"max_tempo": None, "start_bpm": 600.0}),
]


@pytest.fixture(scope="module")
def tempograms(many_clips: list[Any]) -> list[tuple[Any, np.ndarray]]:
    """A fifth of the clips, with librosa's tempograms in float32; both sides start from them.

    Clips without two onsets, where the correlation at all tempi below 320 is rounding, are left out.
    """
    made = []
    for clip in many_clips[::5]:
        options = {"sr": clip.sr, "hop_length": clip.hop_length}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tg = librosa.feature.tempogram(y=clip.y, win_length=int(4 * clip.sr // clip.hop_length), **options)
        if (tg[60 * clip.sr // (320 * clip.hop_length) + 1 :] > 1e-9).any():
            made.append((clip, tg.astype(np.float32)))
    assert len(made) > 30
    return made


@pytest.mark.parametrize(("ours", "theirs"), VARIANTS, ids=[" ".join(v[0]) for v in VARIANTS])
def test_tempi_of_tempograms_are_librosas(
    tempograms: list[tuple[Any, np.ndarray]], ours: dict[str, Any], theirs: dict[str, Any], margin: Any
) -> None:
    found_tempi = set()
    for clip, tg in tempograms:
        options = {"sr": clip.sr, "hop_length": clip.hop_length, "max_tempo": ours.get("max_tempo", 320.0)}
        reference = partial(librosa.feature.tempo, **{**options, **theirs})
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = margin.where(lambda tg, reference=reference: reference(tg=tg), tg, around=1)
            expected = reference(tg=tg)
        found = np.atleast_1d(tempo(tg=torch.from_numpy(tg), **{**options, **ours}).numpy())
        assert found.shape == expected.shape
        np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-6)  # tempi of lags, in float32
        found_tempi.update(found[kept].round(3).tolist())
    margin.check("tempi")
    assert len(found_tempi) > 10


@pytest.mark.parametrize("sr", [8_000, 22_050, 44_100])
def test_tempi_of_frames_are_librosas(phrases: Callable[..., np.ndarray], sr: int, margin: Any) -> None:
    reference = partial(librosa.feature.tempo, sr=sr, aggregate=None)
    for y in phrases(4, 3.0, sr, seed=sr):
        kept = margin.where(lambda y: reference(y=y), y)
        found = tempo(torch.from_numpy(y), sr=sr, aggregate=None).numpy()
        np.testing.assert_allclose(found[kept], reference(y=y)[kept], rtol=1e-6)
    margin.check("tempi")


@pytest.mark.parametrize("aggregate", [None, torch.mean, median])
@pytest.mark.parametrize("given", ["y", "onset_envelope", "tg"])
def test_padded_batches_have_the_tempi_of_their_clips(
    phrases: Callable[..., np.ndarray], aggregate: Callable[..., Tensor] | None, given: str, margin: Any
) -> None:
    y = torch.from_numpy(phrases(4, 3.0)).view(2, 2, -1)
    if given == "y":
        batch, lengths, hop = y, torch.tensor([[66_150, 50_000], [33_333, 22_050]]), 512
    else:
        lengths, hop = torch.tensor([[100, 80], [60, 33]]), 1
        batch = torch.rand(2, 2, 100, generator=torch.Generator().manual_seed(0)) ** 3
    if given == "tg":
        batch = tempogram(onset_envelope=batch, win_length=90, lengths=lengths) + 0.1
    found = tempo(**{given: batch}, aggregate=aggregate, lengths=lengths)
    assert found.shape == ((2, 2) if aggregate else (2, 2, 130 if given == "y" else 100))
    for number in np.ndindex(2, 2):
        clip, n_frames = batch[number][..., : lengths[number]], 1 + (int(lengths[number]) - (hop == 1)) // hop
        values = found[number] if aggregate else found[number][:n_frames]

        def alone(x: np.ndarray) -> Tensor:
            return tempo(**{given: torch.from_numpy(x)}, aggregate=aggregate)

        kept = torch.tensor(margin.where(alone, clip.numpy(), around=33 if given == "y" else 1))
        torch.testing.assert_close(values[kept], alone(clip.numpy())[kept])
        if aggregate is None:
            assert (found[number][n_frames:] == 0).all()
    margin.check("tempi")


@pytest.mark.parametrize("window", ["hamming", "blackman", "ones", np.hanning])
@pytest.mark.parametrize("center", [True, False])
def test_windows_of_tempograms_are_librosas(phrases: Callable[..., np.ndarray], window: Any, center: bool) -> None:
    for sr, win_length in ((8_000, 11), (22_050, 60), (44_100, 87)):
        for y in phrases(2, 1.5, sr, seed=sr):
            options: dict[str, Any] = {"sr": sr, "win_length": win_length, "center": center, "window": window}
            if 1 + len(y) // 512 < win_length:
                continue
            expected = librosa.feature.tempogram(y=y, **options)
            found = tempogram(torch.from_numpy(y), **options).numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_uncentred_tempograms_of_padded_batches_end_where_their_clips_do() -> None:
    strength = torch.rand(2, 50, generator=torch.Generator().manual_seed(0))
    batch = tempogram(onset_envelope=strength, win_length=20, center=False, lengths=torch.tensor([31, 12]))
    assert batch.shape == (2, 20, 31)
    torch.testing.assert_close(
        batch[0, :, :12], tempogram(onset_envelope=strength[0, :31], win_length=20, center=False)
    )
    assert (batch[0, :, 12:] == 0).all()
    assert (batch[1] == 0).all()
    with pytest.raises(ValueError, match="win_length: 51 are more than all 50 frames"):
        tempogram(onset_envelope=strength, win_length=51, center=False)


def test_frames_with_nan_have_no_tempo() -> None:
    tg = torch.rand(3, 200, 7)
    tg[1, 5, 3] = torch.nan
    assert torch.equal(tempo(tg=tg, aggregate=None).isnan().nonzero(), torch.tensor([[1, 3]]))
    assert torch.equal(tempo(tg=tg).isnan(), torch.tensor([False, True, False]))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tg": torch.rand(50, 3), "y": torch.rand(900)}, "exactly one of y .* tg"),
    ({"tg": torch.rand(50)}, r"tg must be floats of shape \(\.\.\., lags, frames\), found torch.float32 \(50,\)"),
    ({"tg": torch.rand(3, 50)}, "tg: 3 lags hold no period"),
    ({"tg": torch.rand(50, 3), "lengths": torch.tensor([3])}, "lengths must be integers of shape"),
    ({"tg": torch.rand(50, 3), "aggregate": torch.median}, "aggregate must .* of shape"),
    ({"tg": torch.rand(50, 3), "aggregate": lambda x, dim: x.mean()}, r"aggregate must .* found \(\)"),
    ({"tg": torch.rand(50, 3), "prior": 120}, "prior must be a function or have a method logpdf, found 120"),
    ({"tg": torch.rand(50, 3), "prior": lambda bpm: bpm[:4]}, "prior must give the log-density"),
    ({"tg": torch.rand(50, 3), "prior": lambda bpm: bpm * torch.nan}, "prior must give the log-density"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tempo(**arguments)
