import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_dissect.features import functional


@given(st.integers(1, 3000), st.sampled_from([64, 512, 700]))
def test_centred_frames_are_one_more_than_whole_hops(samples: int, hop_length: int) -> None:
    y = torch.ones(2, samples)
    assert functional.stft(y, hop_length=hop_length).shape == (2, 1025, 1 + samples // hop_length)
    assert functional.rms(y, hop_length=hop_length).shape == (2, 1 + samples // hop_length)
