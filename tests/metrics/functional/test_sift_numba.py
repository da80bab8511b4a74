import pytest
import torch
from torch.nn.functional import avg_pool2d

from lightning_dissect.metrics.functional import key_points, match_scores, sift
from lightning_dissect.metrics.functional.descriptors import CELL_WIDTH, _sample
from lightning_dissect.metrics.functional.scale_space import SIGMA, Octave, octaves, scale_space, split_octaves

pytest.importorskip("numba", reason="install numba to run these too")

from lightning_dissect.metrics.functional.scale_space_numba import ScaleSpaces


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


def exact_space(maps, grid):
    """The scale space of maps ``(N, H, W)``, rounded from float64: the same numbers on every CPU."""
    steps = octaves(tuple(maps.shape[1:]), grid, maps.device)
    space = scale_space(maps.double(), tuple(Octave(*(matrix.double() for matrix in step)) for step in steps))
    return space._replace(gaussian=space.gaussian.float())


@pytest.fixture
def from_one_space(monkeypatch):
    """Have key points looked for in :func:`exact_space`, by whatever code."""

    def use(grid):
        def fill(self, upright):
            exact = exact_space(torch.from_numpy(upright.T)[None], grid)
            for space, octave in zip(self.octaves, split_octaves(exact), strict=True):
                space[:, :-1] = octave[:, :, 0]

        monkeypatch.setattr(ScaleSpaces, "fill", fill)
        monkeypatch.setattr(sift, "scale_space", lambda maps, steps: exact_space(maps, grid))

    return use


KINDS = pytest.mark.parametrize("kind", ["noise", "smooth", "lines", "broken", "huge"])
SHAPES = pytest.mark.parametrize(("shape", "grid"), [((98, 66), (98, 66)), ((17, 31), (64, 64)), ((5, 200), (64, 181))])


@KINDS
@SHAPES
def test_compiled_scale_spaces_equal_the_plain_ones(monkeypatch, kind, shape, grid):
    maps, found, fill = maps_of(kind, shape, torch.Generator().manual_seed(3)), [], ScaleSpaces.fill

    def fill_and_note(self, upright):
        fill(self, upright)
        found.append([torch.from_numpy(space[:, :-1].copy()) for space in self.octaves])

    monkeypatch.setattr(ScaleSpaces, "fill", fill_and_note)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # map after map
    key_points(maps, grid)
    flat, _ = sift.unit_range(maps)
    plain = split_octaves(scale_space(flat, octaves(shape, grid, maps.device)))
    for octave, expected in enumerate(plain):
        ours = torch.stack([spaces[octave] for spaces in found], 2)
        # Values in [0, 1], each of two sums of up to 200 products, one after another: sqrt(200) roundings of 6e-8 each.
        torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)


def certain(points, grid, slack=2e-4):
    """Which key points sample the same pixels for their descriptor when they are moved by a small part of a pixel.

    From the same differences of Gaussians both codes refine a place but for rounding, of 1.5e-5 at column 200.
    """
    # On the first octave, which has the finest samples, the grid is doubled; later ones have whole parts of these.
    octave = (torch.log2(points.sigma / SIGMA) + 1 - 0.5 / 3).floor().clamp(min=0)
    scale = torch.exp2(octave - 1)
    same = points.filled.clone()
    for axis in (0, 1):
        place, size = points.centres[..., axis] / scale, torch.tensor(2 * grid[1 - axis]) // torch.exp2(octave)
        ends = (_sample(place + step, CELL_WIDTH * points.sigma / scale, size)[0] for step in (-slack, slack))
        same &= torch.eq(*ends).all(-1)
    return same


@KINDS
@SHAPES
def test_compiled_key_points_equal_the_plain_ones(plainly, from_one_space, left_out, kind, shape, grid):
    """From the same scale space: which extrema there are, their order, their places and their descriptors."""
    maps = maps_of(kind, shape, torch.Generator().manual_seed(3))
    from_one_space(grid)
    ours, plain = key_points(maps, grid), plainly(maps, grid)
    assert plain.filled.sum() > 50
    assert torch.equal(ours.filled, plain.filled)
    for name in ("centres", "sigma", "reach"):
        places = (getattr(points, name)[plain.filled] for points in (ours, plain))
        torch.testing.assert_close(*places, atol=3e-5, rtol=1e-6)  # the last digits of 200 in float32
    clear = certain(plain, grid)
    left_out(int((plain.filled & ~clear).sum()), int(plain.filled.sum()), "descriptors")
    assert clear.sum() >= 0.95 * plain.filled.sum()
    # The histograms that a descriptor is the root of, which would make much of votes near zero.
    histograms = (points.descriptors[clear].square() for points in (ours, plain))
    torch.testing.assert_close(*histograms, atol=1e-5, rtol=0)


def test_scores_do_not_tell_which_code_ran(plainly, from_one_space, left_out):
    g = torch.Generator().manual_seed(4)
    maps = maps_of("smooth", (64, 80), g)
    pair = maps, (maps + 0.05 * torch.rand(maps.shape, generator=g))[:, :1]
    from_one_space((64, 80))
    clear = [certain(plainly(part, (64, 80)), (64, 80)) for part in pair]

    def number(find, ratio):
        points = (find(part, (64, 80))._replace(filled=filled) for part, filled in zip(pair, clear, strict=True))
        return match_scores(*points, ratio=ratio).number

    # Descriptors equal to 1e-5 have distances equal to 1e-4, of .2 and more here: their ratios are equal to 1e-3.
    fewest, plain, most = (number(plainly, 0.9 + step) for step in (-1e-3, 0, 1e-3))
    compiled = number(key_points, 0.9)
    left_out(int((most - fewest).sum()), int(plain.sum()), "matches")
    assert plain[:, 0].min() > 20
    assert most.sum() - fewest.sum() < 0.02 * plain.sum()
    assert ((fewest <= compiled) & (compiled <= most)).all()


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
