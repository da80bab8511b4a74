import librosa
import numpy as np
import torch

from lightning_dissect.features import functional


def test_a_weighting_is_librosas() -> None:
    frequencies = np.geomspace(10, 20_000, 50)
    ours = functional.A_weighting(torch.from_numpy(frequencies)).numpy()
    np.testing.assert_allclose(ours, librosa.A_weighting(frequencies), atol=1e-5)
