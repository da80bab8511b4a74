import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from lightning_dissect.metrics import DenseSIFTSimilarity
from lightning_dissect.metrics.functional import dense_cosine, dense_descriptors


def run(units, feature, sizes=None, fraction=None, **kwargs):
    metric = DenseSIFTSimilarity(**kwargs)
    for part in torch.arange(len(units)).split(sizes or len(units)):
        metric.update(units[part], feature[part].unsqueeze(1), None if fraction is None else fraction[part])
    return metric.compute()


def plain_histogram(image, top, left):
    """Votes of one place of 16 by 16 pixels, pixel by pixel."""
    dy, dx = np.gradient(image)
    histogram = np.zeros((4, 4, 8))
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            angle = (np.arctan2(dy[y, x], dx[y, x]) + 3 * np.pi / 4) * 4 / np.pi
            for row in range(4):
                for column in range(4):
                    away = abs(y - (top + 4 * row + 1.5)), abs(x - (left + 4 * column + 1.5))
                    if max(away) < 4:
                        share = 2 * np.hypot(dy[y, x], dx[y, x]) * (1 - away[0] / 4) * (1 - away[1] / 4)
                        histogram[row, column, int(np.floor(angle)) % 8] += share * (1 - angle % 1)
                        histogram[row, column, int(np.floor(angle) + 1) % 8] += share * (angle % 1)
    return histogram.ravel()


def test_descriptors_equal_a_plain_loop(rng):
    maps = torch.rand(1, 1, 32, 40, generator=rng)
    found = dense_descriptors(maps, (32, 40))
    assert found.descriptors.shape == (1, 1, 3 * 4, 128)
    assert found.filled.all()
    image = ((maps - maps.min()) / (maps.max() - maps.min()))[0, 0].double().numpy()
    for place in (0, 3, 5, 11):
        row, column = divmod(place, 4)
        expected = plain_histogram(image, 8 * row, 8 * column)
        clipped = np.minimum(expected / np.linalg.norm(expected), 0.2)
        root = np.sqrt(clipped / clipped.sum())
        # The square root of a bin that is nearly empty keeps half of float32's digits.
        torch.testing.assert_close(found.descriptors[0, 0, place].double(), torch.from_numpy(root), atol=1e-3, rtol=0)
        assert found.reach[0, 0, place] == pytest.approx((8 * column + 16) / 40)


def test_cosine_equals_a_plain_loop(rng):
    units, feature = torch.rand(2, 3, 9, 12, generator=rng), torch.rand(2, 1, 9, 12, generator=rng)
    units[0, 1, :, 4:] = 0.5
    a, b = dense_descriptors(units, (48, 48)), dense_descriptors(feature, (48, 48))
    assert not a.filled[0, 1].all()
    result = dense_cosine(a, b)
    for clip in range(2):
        for unit in range(3):
            cosines = [
                float(x @ y) if in_a and in_b else 0.0
                for x, y, in_a, in_b in zip(
                    a.descriptors[clip, unit],
                    b.descriptors[clip, 0],
                    a.filled[clip, unit],
                    b.filled[clip, 0],
                    strict=True,
                )
                if in_a or in_b
            ]
            assert result[clip, unit] == pytest.approx(np.mean(cosines), abs=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (6, 10), (8, 15), (20, 4), (64, 80)])
def test_small_maps_are_recognised(scenes, rng, size):
    feature = interpolate(scenes.unsqueeze(1), size, mode="bilinear", antialias=True)
    near = feature + 0.02 * torch.rand(feature.shape, generator=rng)
    other = torch.rand(feature.shape, generator=rng)
    result = run(torch.cat([near, 1e4 * near, other], 1), scenes)
    assert (result.score[:2] > 0.85).all()
    assert (result.effect[:2] > 0.2).all()
    assert (result.p_value[:2] < 0.01).all()
    torch.testing.assert_close(result.score[0], result.score[1], atol=1e-3, rtol=0)
    assert result.p_value[2] > 0.01
    assert result.effect[2].abs() < 0.05


def test_undefined_maps(scenes):
    units = torch.stack([scenes, torch.zeros_like(scenes), scenes / 0], 1)
    units[2, 0] = torch.nan
    result = run(units, scenes)
    assert result.n_clips.ravel().tolist() == [7, 0, 0]
    assert result.score[0] > 0.99
    assert result.score[1:].isnan().all()


@pytest.mark.parametrize("sizes", [1, 3])
def test_batches_do_not_matter(scenes, sizes):
    units = avg_pool2d(scenes, 8).unsqueeze(1)
    for whole, parts in zip(run(units, scenes), run(units, scenes, sizes), strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4, equal_nan=True)


def test_what_lies_beyond_a_clips_end_does_not_count(scenes, rng):
    fraction = torch.full((8,), 0.5)
    units = avg_pool2d(scenes, 4).unsqueeze(1)
    noisy = units.clone()
    noisy[..., 10:] = torch.rand(8, 1, 16, 10, generator=rng) * units.amax()
    assert run(noisy, scenes, fraction=fraction).score > run(noisy, scenes).score + 0.05


def test_wrong_arguments():
    with pytest.raises(ValueError, match="min_size=200"):
        DenseSIFTSimilarity(min_size=200)
    with pytest.raises(ValueError, match="both be prepared"):
        DenseSIFTSimilarity().update(dense_descriptors(torch.rand(2, 1, 8, 8), (32, 32)), torch.rand(2, 1, 8, 8))
