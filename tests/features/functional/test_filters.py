import librosa
import numpy as np
import pytest

from lightning_dissect.features import functional


@pytest.mark.parametrize("options", [{"n_mels": 40}, {"htk": True}, {"norm": None}, {"fmin": 125.0, "fmax": 7500.0}])
def test_mel_filters_are_librosas(options: dict[str, object]) -> None:
    ours = functional.mel_filters(sr=22_050, n_fft=2048, **options)
    np.testing.assert_allclose(ours.numpy(), librosa.filters.mel(sr=22_050, n_fft=2048, **options), atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"tuning": 0.3}, {"n_chroma": 24}])
def test_chroma_filters_are_librosas(options: dict[str, object]) -> None:
    ours = functional.chroma_filters(sr=22_050, n_fft=2048, **options)
    np.testing.assert_allclose(ours.numpy(), librosa.filters.chroma(sr=22_050, n_fft=2048, **options), atol=1e-6)
