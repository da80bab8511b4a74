import librosa
import numpy as np
import pytest
import torch
from scipy.signal import get_window

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


def test_the_window_itself_may_be_given() -> None:
    ours = functional.stft(torch.from_numpy(Y), window=torch.from_numpy(get_window("flattop", 2048)))
    theirs = librosa.stft(Y, window="flattop")
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6 * np.abs(theirs).max())


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
