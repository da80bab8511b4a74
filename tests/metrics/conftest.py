import pytest
import torch


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def scenes(rng):
    """Eight maps (8, 64, 80) like spectrograms: a few horizontal tones and vertical strokes each, and some noise."""
    maps = 0.05 * torch.rand(8, 64, 80, generator=rng)
    rows = torch.randint(3, 60, (8, 5), generator=rng)
    columns = torch.randint(3, 76, (8, 6), generator=rng)
    lengths = torch.randint(10, 50, (8, 5), generator=rng)
    for clip in range(8):
        for row, length in zip(rows[clip], lengths[clip], strict=True):
            maps[clip, row : row + 2, : int(length)] += 1
        for column in columns[clip]:
            maps[clip, int(column) % 40 : int(column) % 40 + 20, column : column + 2] += 0.8
    return maps
