import librosa
import numpy as np
import torch

from lightning_dissect.features import functional


def test_each_item_of_a_batch_has_its_own_range_in_db() -> None:
    S = torch.rand(2, 5, 6) ** 20 * torch.tensor([1.0, 1e-6])[:, None, None]
    both = functional.power_to_db(S)
    for ours, item in zip(both, S.numpy(), strict=True):
        np.testing.assert_allclose(ours.numpy(), librosa.power_to_db(item), atol=1e-4)
