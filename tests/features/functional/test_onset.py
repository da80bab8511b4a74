"""Onsets moved back to where they start."""

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional import onset_detect, rms


def moved_back_by_librosa(clip: Any, energy: np.ndarray | None) -> np.ndarray:
    frames = librosa.onset.onset_detect(
        y=clip.y, sr=clip.sr, hop_length=clip.hop_length, backtrack=True, energy=energy, units="frames"
    )
    return np.unique(frames)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("with_energy", [False, True])
def test_onsets_are_moved_back_as_librosa_does(many_clips: list[Any], with_energy: bool) -> None:
    differing, moved = [], 0
    for clip in many_clips:
        y = torch.from_numpy(clip.y)
        options: dict[str, Any] = {"sr": clip.sr, "hop_length": clip.hop_length}
        energy = rms(y, hop_length=clip.hop_length) if with_energy else None
        expected = moved_back_by_librosa(clip, None if energy is None else energy.numpy())
        found = onset_detect(y, backtrack=True, energy=energy, **options).nonzero().flatten().numpy()
        moved += not np.array_equal(found, onset_detect(y, **options).nonzero().flatten().numpy())
        if not np.array_equal(found, expected):
            differing.append(clip.kind)
    # Where rounding decides between equal strengths; see the parity of onset_detect.
    assert len(differing) <= 0.01 * len(many_clips), differing
    assert moved > 100


def test_flat_valleys_end_where_the_energy_rises() -> None:
    envelope = torch.tensor([1.0, 0, 0, 0, 5, 1, 1, 6, 0, 0, 0, 9, 0])
    energy = torch.tensor([0.3, 0.2, 0.2, 0.2, 0.5, 0.1, 0.4, 0.4, 0.3, 0.6, 0.5, 0.5, 0.1])
    options: dict[str, Any] = {"pre_max": 0, "wait": 0, "pre_avg": 1, "post_avg": 1}
    for given in (None, energy):
        found = onset_detect(onset_envelope=envelope, backtrack=True, energy=given, **options)
        expected = librosa.onset.onset_detect(
            onset_envelope=envelope.numpy(), backtrack=True, energy=None if given is None else given.numpy(), **options
        )
        assert found.nonzero().flatten().tolist() == sorted(set(expected.tolist()))


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_few_frames_move_back_to_the_first(n_frames: int) -> None:
    envelope = torch.arange(n_frames).float() + 1
    found = onset_detect(onset_envelope=envelope, backtrack=True, delta=0.0, pre_avg=0, post_avg=1)
    assert found.shape == (n_frames,)
    assert not found[1:].any()


def test_onsets_of_padded_batches_are_moved_back_within_their_clips(phrases: Callable[..., np.ndarray]) -> None:
    y = torch.from_numpy(phrases(6, 2.0)).view(2, 3, -1)
    lengths = torch.tensor([[44_100, 30_000, 20_001], [5_000, 600, 1]])
    energy = rms(y, lengths=lengths) + 0.01 * torch.rand(2, 3, 87)
    for given in (None, energy):
        batch = onset_detect(y, lengths=lengths, backtrack=True, energy=given)
        for number in np.ndindex(2, 3):
            n_frames = 1 + int(lengths[number]) // 512
            alone = onset_detect(
                y[number][: lengths[number]],
                backtrack=True,
                energy=None if given is None else given[number][:n_frames],
            )
            assert torch.equal(batch[number][:n_frames], alone)
            assert not batch[number][n_frames:].any()


def test_energies_need_the_frames_of_the_strength() -> None:
    with pytest.raises(ValueError, match=r"energy must have the shape .*\(44,\), found \(43,\)"):
        onset_detect(torch.randn(22_050), backtrack=True, energy=torch.rand(43))
