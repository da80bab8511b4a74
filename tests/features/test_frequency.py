import json

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from lightning_dissect.features import FeatureBank, FrequencyAxis


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


def test_a_given_matrix_is_the_axis_of_all_maps() -> None:
    bands = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=40)
    given, named = FrequencyAxis.from_matrix(torch.from_numpy(bands)), FrequencyAxis("mel", 40)
    audio = torch.randn(2, 8_000)
    names = ["harmonic", "percussive", "mel"]
    ours, theirs = (FeatureBank(names, 16_000, 512, 256, axis)(audio) for axis in (given, named))
    for name in names:
        torch.testing.assert_close(ours[name].values, theirs[name].values, atol=1e-3, rtol=0)
    assert given.n_bins == 40
    centres = librosa.mel_frequencies(42, fmin=0, fmax=8_000)[1:-1]
    np.testing.assert_allclose(given.frequencies(16_000).numpy()[5:], centres[5:], rtol=0.03)


def test_settings_tell_one_matrix_from_another() -> None:
    axes = [FrequencyAxis.from_matrix(matrix, torch.tensor([100.0, 200.0])) for matrix in torch.rand(2, 2, 9) + 0.1]
    first, second = (json.loads(json.dumps(axis.settings)) for axis in axes)
    assert {key: first[key] for key in ("scale", "n_bins", "f_min", "f_max")} == {
        "scale": "matrix",
        "n_bins": 2,
        "f_min": 100.0,
        "f_max": 200.0,
    }
    assert first["sha256"] != second["sha256"]
    assert axes[0] != axes[1]
    assert json.loads(json.dumps(FrequencyAxis().settings)) == {
        "scale": "mel",
        "n_bins": 128,
        "f_min": 0.0,
        "f_max": None,
    }


@pytest.mark.parametrize(
    ("matrix", "frequencies", "message"),
    [
        (torch.ones(9), None, r"matrix must have shape \(n_bins, 1 \+ n_fft // 2\), found \(9,\)"),
        (-torch.ones(2, 9), None, "not negative"),
        (torch.eye(3, 9) * torch.tensor([1.0, 0.0, 1.0])[:, None], None, "in each row"),
        (torch.ones(2, 9), torch.ones(3), r"frequencies must have shape \(2,\).* found \(3,\)"),
        (torch.ones(2, 9), torch.tensor([2.0, 1.0]), "must rise"),
    ],
)
def test_bad_matrices_are_refused(matrix: torch.Tensor, frequencies: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrequencyAxis.from_matrix(matrix, frequencies)


def test_a_matrix_for_another_frame_or_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 9\) is for spectra of 9 bins; those of n_fft 2048 have 1025"):
        FeatureBank(["mel"], 16_000, frequency=FrequencyAxis.from_matrix(torch.ones(4, 9)))
    high = FrequencyAxis.from_matrix(torch.ones(2, 9), torch.tensor([100.0, 9_000.0]))
    with pytest.raises(ValueError, match="half the sample_rate"):
        FeatureBank(["mel"], 16_000, 16, frequency=high)


def test_the_named_scales_can_be_read_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--frequency", type=FrequencyAxis | None)
    read = parser.parse_string("frequency: {scale: log, n_bins: 60, f_min: 50.0}")
    assert parser.instantiate_classes(read).frequency == FrequencyAxis("log", 60, 50.0)
