"""Onset strengths and onsets of padded batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lightning_dissect.features.functional import onset_detect, onset_strength


def test_strengths_of_padded_batches_end_where_their_clips_do(phrases: Callable[..., np.ndarray]) -> None:
    y = torch.from_numpy(phrases(4, 1.0)).view(2, 2, -1)
    lengths = torch.tensor([[22_050, 10_000], [4_000, 1]])
    batch = onset_strength(y, lengths=lengths)
    for number in np.ndindex(2, 2):
        alone = onset_strength(y[number][: lengths[number]])
        torch.testing.assert_close(batch[number][: len(alone)], alone, rtol=1e-5, atol=1e-5)
        assert (batch[number][len(alone) :] == 0).all()


def test_onsets_of_padded_batches_are_those_of_their_clips(phrases: Callable[..., np.ndarray], margin: Any) -> None:
    y = torch.from_numpy(phrases(6, 2.0)).view(2, 3, -1)
    lengths = torch.tensor([[44_100, 30_000, 20_001], [5_000, 600, 1]])
    batch = onset_detect(y, lengths=lengths)
    for number in np.ndindex(2, 3):
        clip, n_frames = y[number][: lengths[number]], 1 + int(lengths[number]) // 512
        if margin.keeps(lambda y: onset_detect(torch.from_numpy(y)), clip.numpy()):
            assert torch.equal(batch[number][:n_frames], onset_detect(clip))
        assert not batch[number][n_frames:].any()
    margin.check()
