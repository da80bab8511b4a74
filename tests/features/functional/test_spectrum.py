import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_dissect.features import functional

Y = np.random.default_rng(0).normal(size=5_000).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"n_fft": 1024, "hop_length": 300},
        {"n_fft": 2048, "win_length": 800},
        {"n_fft": 513, "hop_length": 100},
        {"window": "hamming", "pad_mode": "reflect"},
        {"center": False, "window": "blackman"},
    ],
    ids=str,
)
def test_stft_takes_librosas_arguments(options: dict[str, object]) -> None:
    ours = functional.stft(torch.from_numpy(Y), **options)
    theirs = librosa.stft(Y, **options)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6 * np.abs(theirs).max())


@given(st.integers(1, 3000), st.sampled_from([64, 512, 700]))
def test_centred_frames_are_one_more_than_whole_hops(samples: int, hop_length: int) -> None:
    y = torch.ones(2, samples)
    assert functional.stft(y, hop_length=hop_length).shape == (2, 1025, 1 + samples // hop_length)
    assert functional.rms(y, hop_length=hop_length).shape == (2, 1 + samples // hop_length)


def test_each_item_of_a_batch_has_its_own_range_in_db() -> None:
    S = torch.rand(2, 5, 6) ** 20 * torch.tensor([1.0, 1e-6])[:, None, None]
    both = functional.power_to_db(S)
    for ours, item in zip(both, S.numpy(), strict=True):
        np.testing.assert_allclose(ours.numpy(), librosa.power_to_db(item), atol=1e-4)


def test_decibels_go_back_to_power() -> None:
    S = torch.rand(4, 5) + 0.1
    torch.testing.assert_close(functional.db_to_power(functional.power_to_db(S)), S)


@pytest.mark.parametrize("norm", [1, 2, np.inf, None])
def test_normalize_leaves_what_is_next_to_nothing(norm: float | None) -> None:
    x = np.array([[1.0, 0.0, 1e-39], [-3.0, 0.0, 1e-39]], dtype=np.float32)
    ours = functional.normalize(torch.from_numpy(x), norm=norm, dim=0).numpy()
    np.testing.assert_allclose(ours, librosa.util.normalize(x, norm=norm, axis=0), rtol=1e-6)


@pytest.mark.parametrize("options", [{"n_mels": 40}, {"htk": True}, {"norm": None}, {"fmin": 125.0, "fmax": 7500.0}])
def test_mel_filters_are_librosas(options: dict[str, object]) -> None:
    ours = functional.mel_filters(sr=22_050, n_fft=2048, **options)
    np.testing.assert_allclose(ours.numpy(), librosa.filters.mel(sr=22_050, n_fft=2048, **options), atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"tuning": 0.3}, {"n_chroma": 24}, {"octwidth": None}, {"base_c": False}])
def test_chroma_filters_are_librosas(options: dict[str, object]) -> None:
    ours = functional.chroma_filters(sr=22_050, n_fft=2048, **options)
    np.testing.assert_allclose(ours.numpy(), librosa.filters.chroma(sr=22_050, n_fft=2048, **options), atol=1e-6)


def test_a_weighting_is_librosas() -> None:
    frequencies = np.geomspace(10, 20_000, 50)
    ours = functional.A_weighting(torch.from_numpy(frequencies)).numpy()
    np.testing.assert_allclose(ours, librosa.A_weighting(frequencies), atol=1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.zeros(0), "at least one sample"),
        (torch.tensor(1.0), "shape"),
        (torch.zeros(5, dtype=torch.int16), "floating point"),
        (np.zeros(5), "must be a tensor"),
    ],
    ids=["empty", "scalar", "integers", "array"],
)
def test_what_is_no_waveform_is_refused(y: object, message: str) -> None:
    for function in (functional.stft, functional.rms, functional.zero_crossing_rate, functional.melspectrogram):
        with pytest.raises(ValueError, match=message):
            function(y)  # type: ignore[operator]


def test_exactly_one_of_waveform_and_spectrogram_is_needed() -> None:
    for arguments in ({}, {"y": torch.zeros(9), "S": torch.zeros(1025, 3)}):
        with pytest.raises(ValueError, match="exactly one of y"):
            functional.spectral_centroid(**arguments)
