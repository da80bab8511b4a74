import cv2
import numpy as np
import pytest
import torch
from kornia.feature import SIFTFeatureScaleSpace, laf_is_filled

from lightning_dissect.metrics.functional import key_points
from lightning_dissect.metrics.functional.scale_space import octaves, scale_space, split_octaves


@pytest.fixture
def gratings():
    """Twelve smooth maps with blobs, lines and texture of several sizes."""
    g = torch.Generator().manual_seed(5)
    maps = sum(
        torch.nn.functional.interpolate(torch.rand(12, 1, 96 // k, 120 // k, generator=g), (96, 120), mode="bicubic")
        for k in (4, 8, 16)
    )[:, 0]
    return (maps - maps.amin((1, 2), True)) / (maps.amax((1, 2), True) - maps.amin((1, 2), True))


def test_levels_equal_opencv_blur(gratings):
    steps = octaves((96, 120), (96, 120), torch.device("cpu"))
    space = scale_space(gratings, steps)
    levels = split_octaves(space)
    doubled = cv2.resize(gratings[3].double().numpy(), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    # OpenCV doubles about pixel corners and we about centres: half a pixel apart, so that borders differ too.
    shifted = cv2.warpAffine(doubled, np.float64([[1, 0, -0.5], [0, 1, -0.5]]), doubled.shape[::-1])
    for level in range(6):
        sigma = np.sqrt((1.6 * 2 ** (level / 3)) ** 2 - 1)
        expected = cv2.GaussianBlur(shifted, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        difference = np.abs(levels[0][level, :, 3].numpy() - expected)[20:-20, 20:-20]
        assert difference.max() < 0.02  # the shift above interpolates once more
    assert levels[1].shape == (6, 96, 12, 120)
    # The second octave is the first one's fourth level, every other pixel.
    torch.testing.assert_close(levels[1][0], levels[0][3, ::2, :, ::2], atol=2e-3, rtol=0)


def test_resizing_is_folded_in(gratings):
    small = torch.nn.functional.interpolate(gratings[:, None], (40, 50), mode="bilinear")[:, 0]
    large = torch.nn.functional.interpolate(small[:, None], (96, 120), mode="bilinear")[:, 0]
    device = torch.device("cpu")
    ours = scale_space(small, octaves((40, 50), (96, 120), device)).gaussian
    torch.testing.assert_close(
        ours, scale_space(large, octaves((96, 120), (96, 120), device)).gaussian, atol=1e-5, rtol=0
    )


def test_agrees_with_kornia(gratings):
    """Kornia refines in three dimensions at once and drops what does not converge: most points are the same."""
    points = key_points(gratings[:, None], (96, 120), num_features=64)
    theirs = SIFTFeatureScaleSpace(64, upright=True, descriptor_backend="pyramid")
    frames, _, descriptors = theirs(gratings[:, None])
    found = similar = total = 0
    for index in range(12):
        ours = points.filled[index, 0]
        other = laf_is_filled(frames)[index]
        distance = torch.cdist(frames[index, other][:, :, 2], points.centres[index, 0, ours])
        near = distance.min(1)
        total += len(near.values)
        found += int((near.values < 1).sum())
        # Kornia's layout is angle-major from 0 degrees on, ours cell-major from -135 degrees on.
        layout = descriptors[index, other].view(-1, 8, 4, 4).roll(3, 1).permute(0, 2, 3, 1).flatten(1)
        product = (layout * points.descriptors[index, 0, ours][near.indices]).sum(1)
        similar += int((product[near.values < 1] > 0.9).sum())
    assert total > 200
    assert found / total > 0.8
    assert similar / found > 0.95


def test_points_move_with_the_map(gratings):
    a = key_points(gratings[:, None, :80, :100], (80, 100), num_features=128)
    b = key_points(gratings[:, None, 8:88, 8:108], (80, 100), num_features=128)
    inner = (a.centres[:, 0] > 24).all(-1) & (a.centres[..., 0] < 76)[:, 0] & (a.centres[..., 1] < 56)[:, 0]
    moved = [
        torch.cdist(a.centres[k, 0][inner[k] & a.filled[k, 0]] - 8, b.centres[k, 0][b.filled[k, 0]]).amin(1)
        for k in range(12)
    ]
    # Octaves sample every other pixel, so that points of coarse octaves move by less than their own size.
    assert (torch.cat(moved) < 1.5).float().mean() > 0.9
