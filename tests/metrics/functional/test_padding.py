import pytest
import torch

from lightning_dissect.levels import valid_frames
from lightning_dissect.metrics.functional.padding import valid_points


@pytest.mark.parametrize("frames", [1, 7, 100, 4321])
def test_frames_wholly_inside_the_audio_count(frames):
    whole = torch.arange(frames + 1)
    assert torch.equal(valid_frames(whole / frames, frames).sum(1), whole)  # whatever the fraction's rounding
    partly = (torch.arange(frames) + 0.5) / frames
    assert torch.equal(valid_frames(partly, frames).sum(1), torch.arange(frames))


def test_points_of_maps_are_those_of_their_rows():
    fraction, maps = torch.tensor([0.5, 1.0]), torch.zeros(2, 3, 5, 8)
    points = valid_points(fraction, maps)
    assert torch.equal(points.view(2, 5, 8), valid_frames(fraction, 8).unsqueeze(1).expand(2, 5, 8))
    assert torch.equal(valid_points(fraction, maps[:, :, 0]), valid_frames(fraction, 8))
    assert valid_points(None, maps) is None
