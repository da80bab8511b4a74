import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional.decimation import decimate


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
@pytest.mark.parametrize("samples", [16, 17, 700, 4_001, 4_002, 4_003])
def test_rates_are_lowered_as_librosa_does_from_the_first_sample_to_the_last(factor: int, samples: int) -> None:
    y = np.random.default_rng(0).normal(size=samples)
    ours, lengths = decimate(torch.from_numpy(y), factor)
    theirs = librosa.resample(y, orig_sr=factor, target_sr=1, res_type="soxr_hq", scale=True)
    assert lengths is None
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)  # soxr computes in float32


@pytest.mark.parametrize("factor", [2, 4])
def test_padded_batches_end_where_their_clips_do(factor: int) -> None:
    y = torch.randn(4, 300)
    lengths = torch.tensor([300, 241, 122, 3])
    lowered, shorter = decimate(torch.where(torch.arange(300) < lengths[:, None], y, 0.0), factor, lengths)
    assert shorter is not None
    for clip, length, ours, kept in zip(y, lengths, lowered, shorter, strict=True):
        alone, _ = decimate(clip[:length], factor)
        assert alone.numel() == kept
        torch.testing.assert_close(ours[:kept], alone, atol=3e-6, rtol=0)  # float32 sums of values up to 4
        assert (ours[kept:] == 0).all()
