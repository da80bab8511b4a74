"""Onset strengths of other spectrograms and without their trend, and onsets moved back to where they start."""

from collections.abc import Callable
from functools import partial
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional import chroma_stft, melspectrogram, onset_detect, onset_strength, rms, stft


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("with_energy", [False, True])
def test_onsets_are_moved_back_as_librosa_does(many_clips: list[Any], with_energy: bool, margin: Any) -> None:
    moved = 0
    for clip in many_clips[::6]:
        y = torch.from_numpy(clip.y)
        options: dict[str, Any] = {"sr": clip.sr, "hop_length": clip.hop_length}
        energy = rms(y, hop_length=clip.hop_length) if with_energy else None
        given = {"energy": None if energy is None else energy.numpy(), "backtrack": True, **options}
        reference = partial(librosa.onset.onset_detect, units="frames", **given)
        if margin.keeps(lambda y, reference=reference: np.unique(reference(y=y)), clip.y):
            found = onset_detect(y, backtrack=True, energy=energy, **options).nonzero().flatten().numpy()
            np.testing.assert_array_equal(found, np.unique(reference(y=clip.y)), err_msg=clip.kind)
            moved += not np.array_equal(found, onset_detect(y, **options).nonzero().flatten().numpy())
    margin.check()
    assert moved > 15


def test_flat_valleys_end_where_the_energy_rises() -> None:
    envelope = torch.tensor([1.0, 0, 0, 0, 5, 1, 1, 6, 0, 0, 0, 9, 0])
    energy = torch.tensor([0.3, 0.2, 0.2, 0.2, 0.5, 0.1, 0.4, 0.4, 0.3, 0.6, 0.5, 0.5, 0.1])
    options: dict[str, Any] = {"pre_max": 0, "wait": 0, "pre_avg": 1, "post_avg": 1}
    for given in (None, energy):
        found = onset_detect(onset_envelope=envelope, backtrack=True, energy=given, **options)
        expected = librosa.onset.onset_detect(
            onset_envelope=envelope.numpy(), backtrack=True, energy=None if given is None else given.numpy(), **options
        )
        assert found.nonzero().flatten().tolist() == sorted(set(expected.tolist()))


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_few_frames_move_back_to_the_first(n_frames: int) -> None:
    envelope = torch.arange(n_frames).float() + 1
    found = onset_detect(onset_envelope=envelope, backtrack=True, delta=0.0, pre_avg=0, post_avg=1)
    assert found.shape == (n_frames,)
    assert not found[1:].any()


def test_onsets_of_padded_batches_are_moved_back_within_their_clips(
    phrases: Callable[..., np.ndarray], margin: Any
) -> None:
    y = torch.from_numpy(phrases(6, 2.0)).view(2, 3, -1)
    lengths = torch.tensor([[44_100, 30_000, 20_001], [5_000, 600, 1]])
    energy = rms(y, lengths=lengths) + 0.01 * torch.rand(2, 3, 87, generator=torch.Generator().manual_seed(0))
    for given in (None, energy):
        batch = onset_detect(y, lengths=lengths, backtrack=True, energy=given)
        for number in np.ndindex(2, 3):
            clip, n_frames = y[number][: lengths[number]], 1 + int(lengths[number]) // 512
            alone = partial(onset_detect, backtrack=True, energy=None if given is None else given[number][:n_frames])
            if margin.keeps(lambda y, alone=alone: alone(torch.from_numpy(y)), clip.numpy()):
                assert torch.equal(batch[number][:n_frames], alone(clip))
            assert not batch[number][n_frames:].any()
    margin.check()


def test_energies_need_the_frames_of_the_strength() -> None:
    with pytest.raises(ValueError, match=r"energy must have the shape .*\(44,\), found \(43,\)"):
        onset_detect(torch.randn(22_050), backtrack=True, energy=torch.rand(43))


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("options", [{}, {"lag": 3}, {"center": False}])
def test_trends_are_taken_away_as_librosa_does(many_clips: list[Any], options: dict[str, Any]) -> None:
    below = 0
    for clip in many_clips[::4]:
        shared = {"sr": clip.sr, "hop_length": clip.hop_length, "detrend": True, **options}
        found = onset_strength(torch.from_numpy(clip.y), **shared)
        if len(clip.y) // clip.hop_length < options.get("lag", 1):
            continue  # librosa fails there
        expected = librosa.onset.onset_strength(y=clip.y, **shared)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-5 * max(np.abs(expected).max(), 1e-3))
        below += (expected < 0).any()
    assert below > 20


def test_long_trends_are_taken_away_in_any_type() -> None:
    S = 10 * torch.rand(3, 2, 7, 3_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = librosa.onset.onset_strength(S=S.numpy(), detrend=True)
    np.testing.assert_allclose(onset_strength(S=S, detrend=True).numpy(), expected, atol=1e-10)
    S = S[0, 0, :, :40].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda S: onset_strength(S=S, detrend=True), S)


def test_strengths_of_padded_batches_end_where_their_clips_do(phrases: Callable[..., np.ndarray]) -> None:
    y = torch.from_numpy(phrases(4, 1.0)).view(2, 2, -1)
    lengths = torch.tensor([[22_050, 10_000], [4_000, 1]])
    for options in ({}, {"detrend": True}, {"feature": chroma_stft, "detrend": True}):
        batch = onset_strength(y, lengths=lengths, **options)
        for number in np.ndindex(2, 2):
            alone = onset_strength(y[number][: lengths[number]], **options)
            torch.testing.assert_close(batch[number][: len(alone)], alone, rtol=1e-5, atol=1e-5)
            assert (batch[number][len(alone) :] == 0).all()


def complex_spectra(y: Any, sr: float, n_fft: int, hop_length: int) -> Any:
    transform: Any = stft if isinstance(y, torch.Tensor) else librosa.stft
    return transform(y=y, n_fft=n_fft, hop_length=hop_length)


FEATURES: list[tuple[Any, Any, dict[str, Any]]] = [
    (chroma_stft, librosa.feature.chroma_stft, {"tuning": 0.0}),
    (melspectrogram, librosa.feature.melspectrogram, {"n_mels": 40, "fmax": 3_000}),
    (complex_spectra, complex_spectra, {}),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), FEATURES, ids=["chroma", "mel", "complex"])
def test_rises_of_other_spectrograms_are_librosas(
    phrases: Callable[..., np.ndarray], ours: Any, theirs: Any, options: dict[str, Any]
) -> None:
    for sr in (8_000, 22_050, 44_100):
        for y in phrases(3, 1.0, sr, seed=sr):
            shared = {"sr": sr, "hop_length": 256, **options}
            found = onset_strength(torch.from_numpy(y), feature=ours, **shared).numpy()
            expected = librosa.onset.onset_strength(y=y, feature=theirs, **shared)
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * expected.max())


def test_functions_must_make_what_is_asked_for() -> None:
    y = torch.randn(2, 4_000)
    with pytest.raises(ValueError, match=r"feature must make spectrograms .* \(2, 4000\), found \(2, 8\)"):
        onset_strength(y, feature=lambda y, **_: rms(y))
    with pytest.raises(ValueError, match=r"aggregate must take a tensor and dim, .* shape \(2, 7\), found median"):
        onset_strength(y, aggregate=torch.median)  # type: ignore[arg-type]
