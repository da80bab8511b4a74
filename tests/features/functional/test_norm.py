import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features import functional


@pytest.mark.parametrize("norm", [1, 2, np.inf, None])
def test_normalize_leaves_what_is_next_to_nothing(norm: float | None) -> None:
    x = np.array([[1.0, 0.0, 1e-39], [-3.0, 0.0, 1e-39]], dtype=np.float32)
    ours = functional.normalize(torch.from_numpy(x), norm=norm, dim=0).numpy()
    np.testing.assert_allclose(ours, librosa.util.normalize(x, norm=norm, axis=0), rtol=1e-6)
