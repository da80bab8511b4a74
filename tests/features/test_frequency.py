import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_dissect.features import FrequencyAxis


@pytest.mark.parametrize(("scale", "htk"), [("mel", False), ("mel_htk", True)])
def test_mel_axes_are_librosas(scale: str, htk: bool) -> None:
    axis = FrequencyAxis(scale, 64, 125.0, 7_500.0)  # type: ignore[arg-type]
    bands = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=125.0, fmax=7_500.0, htk=htk)
    np.testing.assert_allclose(axis.projection(16_000, 1024).numpy(), bands, atol=1e-7)
    centres = librosa.mel_frequencies(66, fmin=125.0, fmax=7_500.0, htk=htk)[1:-1]
    np.testing.assert_allclose(axis.frequencies(16_000).numpy(), centres, rtol=1e-5)


def test_a_linear_axis_as_fine_as_the_spectrum_changes_nothing() -> None:
    projection = FrequencyAxis("linear", 257).projection(16_000, 512)
    torch.testing.assert_close(projection, torch.eye(257), atol=1e-5, rtol=0)


@given(
    st.sampled_from(["linear", "log"]),
    st.integers(2, 300),
    st.floats(20, 500),
    st.floats(600, 4_000),
    st.sampled_from([256, 1024, 4096]),
)
def test_bins_are_averages_around_their_centres(scale: str, n_bins: int, low: float, high: float, n_fft: int) -> None:
    axis = FrequencyAxis(scale, n_bins, low, high)  # type: ignore[arg-type]
    projection, centres = axis.projection(8_000, n_fft), axis.frequencies(8_000)
    torch.testing.assert_close(projection.sum(dim=1), torch.ones(n_bins))
    assert (projection >= 0).all()
    means = projection @ (torch.arange(1 + n_fft // 2) * 8_000 / n_fft)
    spacing = max(8_000 / n_fft, float(centres.diff().max()))
    assert (means - centres).abs().max() <= spacing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bark",), "scale must be"),
        (("mel", 0), "n_bins"),
        (("log",), "f_min must be above 0"),
        (("mel", 10, -1.0), "f_min must be at least 0"),
        (("mel", 10, 500.0, 400.0), "f_max must be above f_min"),
    ],
)
def test_bad_axes_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrequencyAxis(*arguments)  # type: ignore[arg-type]
