import importlib.util
import itertools

import pytest
import torch
from torch.nn.functional import avg_pool2d

from lightning_dissect.metrics.functional import KeyPoints, key_points, match_scores, sift

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")


@pytest.fixture
def plainly(monkeypatch):
    """Find key points by tensor functions alone."""

    def find(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(sift, "_compiled_code", lambda: None)
            return key_points(*arguments)

    return find


def maps_of(kind, shape, g):
    maps = torch.rand(3, 4, *shape, generator=g)
    if kind == "smooth":
        maps = avg_pool2d(maps, 5, 1, 2)
    elif kind == "lines":
        maps = 0.01 * maps
        maps[:, :, torch.randint(shape[0], (6,), generator=g)] += 1
        maps[..., torch.randint(shape[1], (3,), generator=g)] += 0.5
    elif kind == "broken":
        maps[0, 0, 0, 0], maps[1, 1], maps[2, 2] = torch.nan, 1.0, torch.inf
    elif kind == "huge":
        maps = 1e30 * maps
    return maps


@pytest.mark.parametrize("kind", ["noise", "smooth", "lines", "broken", "huge"])
@pytest.mark.parametrize(("shape", "grid"), [((98, 66), (98, 66)), ((17, 31), (64, 64)), ((5, 200), (64, 181))])
def test_compiled_key_points_equal_the_plain_ones(plainly, kind, shape, grid):
    g = torch.Generator().manual_seed(3)
    maps = maps_of(kind, shape, g)
    ours, plain = key_points(maps, grid), plainly(maps, grid)
    assert ours.descriptors.shape == plain.descriptors.shape
    # Sums in another order differ by 1e-7: an extremum near the threshold, or no larger than another, may come or go.
    assert (ours.filled != plain.filled).sum() <= 0.01 * plain.filled.sum()
    assert plain.filled.any()
    found = 0
    for clip, unit in itertools.product(range(3), range(4)):
        a, b = (KeyPoints(*(part[clip, unit][p.filled[clip, unit]] for part in p)) for p in (ours, plain))
        if not len(b.filled):
            continue
        places = (torch.cat([p.centres, p.sigma.unsqueeze(1)], 1) for p in (a, b))
        apart, same = torch.cdist(*places, compute_mode="donot_use_mm_for_euclid_dist").min(0)
        # Where the peak is flat, its vertex is a quotient of small differences.
        close = apart < 0.02
        # A sample halfway between two pixels may be taken from either.
        found += int((close & ((a.descriptors[same] * b.descriptors).sum(-1) > 0.95)).sum())
        assert (a.reach[same] - b.reach)[close].abs().max() < 1e-3
        torch.testing.assert_close(torch.linalg.vector_norm(a.descriptors, dim=-1), torch.ones(len(a.filled)))
    assert found >= 0.98 * plain.filled.sum()


def test_scores_do_not_tell_which_code_ran(plainly):
    g = torch.Generator().manual_seed(4)
    maps = maps_of("smooth", (64, 80), g)
    other = (maps + 0.05 * torch.rand(maps.shape, generator=g))[:, :1]
    compiled = match_scores(key_points(maps, (64, 80)), key_points(other, (64, 80)), tolerance=4.0)
    plain = match_scores(plainly(maps, (64, 80)), plainly(other, (64, 80)), tolerance=4.0)
    assert plain.number[:, 0].min() > 20
    # One match of thirty, should a key point come or go.
    torch.testing.assert_close(compiled.rate, plain.rate, atol=0.04, rtol=0)


def test_threads_do_not_matter():
    maps = maps_of("lines", (40, 50), torch.Generator().manual_seed(5))
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(key_points(maps, (64, 64)))
    finally:
        torch.set_num_threads(threads)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_no_maps():
    points = key_points(torch.rand(0, 3, 40, 40), (64, 64))
    assert points.descriptors.shape == (0, 3, 64, 128)
