import pickle

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, max_pool2d

from lightning_dissect.levels import Extent, Levels, valid_frames
from lightning_dissect.metrics import DenseSIFTSimilarity, SIFTCountSimilarity, SIFTDistanceSimilarity, SIFTSimilarity
from lightning_dissect.metrics.descriptors import before_end
from lightning_dissect.metrics.functional import (
    KeyPoints,
    consistent_matches,
    key_points,
    map_grid,
    match_scores,
    mutual_matches,
    sift_matches,
)
from lightning_dissect.run.batch_features import BatchFeatures
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.comparison import Comparison


def run(units, feature, sizes=None, **kwargs):
    metric = SIFTSimilarity(**kwargs)
    for a, b in zip(units.split(sizes or len(units)), feature.split(sizes or len(units)), strict=True):
        metric.update(a, b.unsqueeze(1))
    return metric.compute()


def test_shifted_and_pooled_maps_are_recognised(scenes, rng):
    shifted = torch.roll(scenes, (3, 4), (1, 2))
    pooled = max_pool2d(scenes, 2)
    noise = torch.rand(8, 64, 80, generator=rng)
    for other in (scenes, shifted):
        result = run(torch.stack([other, noise], 1), scenes)
        assert result.score[0] > 0.5
        assert result.effect[0] > 0.4
        assert result.p_value[0] < 1e-3
        assert result.p_value[1] > 0.01
    assert run(pooled.unsqueeze(1), scenes).p_value < 0.01


@pytest.fixture
def steady(rng, left_out):
    """Takes the pairs of clips whose rates, also with swapped features, stay when their maps change by a millionth."""

    def take(units, feature):
        grid = map_grid(units.shape)

        def rates(change):
            x, f = (maps * (1 + change * (2 * torch.rand(maps.shape, generator=rng) - 1)) for maps in (units, feature))
            a, b = key_points(x, grid), key_points(f.unsqueeze(1), grid)
            swapped = KeyPoints(*(part.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for part in b))
            return torch.stack([match_scores(a, b).rate, match_scores(a, swapped).rate]).unflatten(1, (-1, 2))

        own = rates(0)
        kept = torch.stack([rates(1e-6) == own for _ in range(3)]).transpose(0, 2).flatten(1).all(1)
        left_out(int((~kept).sum()), len(kept), "pairs of clips")
        assert kept.sum() >= 3
        clips = kept.repeat_interleave(2)
        return units[clips], feature[clips]

    return take


def test_identical_maps_score_one_and_do_not_depend_on_range(scenes, steady):
    _, scenes = steady(scenes.unsqueeze(1), scenes)
    result = run(torch.stack([scenes, 1e5 * scenes, 1e-5 * scenes - 3e-6], 1), scenes)
    # Equal descriptors of two equal spots in one map fail the ratio test.
    assert (result.score > 0.95).all()
    torch.testing.assert_close(result.score[1:], result.score[:1].expand(2, 1), atol=1e-6, rtol=0)


def test_score_equals_a_plain_loop(scenes, left_out):
    units = torch.stack([max_pool2d(scenes, (2, 3), 1)[:, :62], avg_pool2d(scenes, 3, 1)], 1)
    grid = (64, 80)
    a, b = key_points(units, grid), key_points(scenes.unsqueeze(1), grid)
    scores = match_scores(a, b, ratio=0.9)
    open_ = matches = 0
    for clip in range(3):
        for unit in range(2):
            da = a.descriptors[clip, unit][a.filled[clip, unit]].double().numpy()
            db = b.descriptors[clip, 0][b.filled[clip, 0]].double().numpy()
            distance = np.linalg.norm(da[:, None] - db[None], axis=-1)
            ratios = []
            for i, row in enumerate(distance):
                column = distance[:, row.argmin()]
                if column.argmin() == i:
                    ratios.append(row.min() / min(np.partition(row, 1)[1], np.partition(column, 1)[1]))
            # Squares are differences of numbers near 1 in float32, so that ratios are known to 1e-4.
            fewest, most = (sum(ratio < 0.9 + step for ratio in ratios) for step in (-1e-4, 1e-4))
            assert fewest <= scores.number[clip, unit] <= most
            torch.testing.assert_close(scores.rate[clip, unit], scores.number[clip, unit] / min(len(da), len(db)))
            open_, matches = open_ + most - fewest, matches + most
    left_out(open_, matches, "matches")
    assert open_ <= 0.01 * matches


def test_a_batch_without_key_points():
    result = run(torch.ones(4, 2, 40, 40), torch.rand(4, 40, 40))
    assert result.score.isnan().all()
    assert result.p_value.isnan().all()
    assert (result.n_clips == 0).all()


def test_empty_slots_do_not_match(scenes):
    points = key_points(scenes.unsqueeze(1), (64, 80), num_features=512)
    filled = points.filled.sum(-1)
    assert (filled < 400).all()
    assert (match_scores(points, points).rate <= 1).all()


def test_constant_and_broken_maps_have_no_score(scenes):
    units = torch.stack([scenes, torch.full_like(scenes, 0.1), 1e4 + 1e-4 * scenes], 1)
    units[3, 0, 5, 5] = torch.nan
    units[5, 0] = torch.inf
    result = run(units, scenes)
    assert result.score[1:].isnan().all()
    assert result.n_clips.ravel().tolist() == [6, 0, 0]
    assert result.score[0] > 0.9


@pytest.mark.parametrize("sizes", [[1] * 8, [3, 5], [2, 1, 5]])
def test_batches_do_not_matter(scenes, sizes, steady):
    units, scenes = steady(max_pool2d(scenes, 2, stride=1).unsqueeze(1), scenes)
    sizes = [min(size, len(scenes) - sum(sizes[:k])) for k, size in enumerate(sizes) if sum(sizes[:k]) < len(scenes)]
    whole, parts = run(units, scenes), run(units, scenes, sizes)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, equal_nan=True)


def test_prepared_once_equals_raw(scenes, steady):
    units, scenes = steady(max_pool2d(scenes, 2).unsqueeze(1), scenes)
    metric = SIFTSimilarity()
    grid = metric.grid(units.shape)
    assert grid == (64, 64)
    a, b = metric.prepare(units, grid), metric.prepare(scenes.unsqueeze(1), grid)
    clone = metric.clone()
    clone.update(a, b)
    for x, y in zip(clone.compute(), run(units, scenes), strict=True):
        torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-5, equal_nan=True)
    with pytest.raises(ValueError, match="both be prepared"):
        metric.update(a, scenes.unsqueeze(1))


def test_key_points_at_the_end_of_a_clip_are_left_out(scenes, rng):
    # Unrelated maps that both stop at column 50 share that edge.
    noise = 0.3 + torch.rand(8, 64, 80, generator=rng)
    fraction = torch.tensor([1.0] + [50 / 80] * 7)
    mask = valid_frames(fraction, 80)[:, None, None]
    metric = SIFTSimilarity()
    units, features = noise.unsqueeze(1) * mask, scenes.unsqueeze(1) * mask
    a = metric.prepare(units, metric.grid(units.shape))
    kept = before_end(a, fraction)
    assert torch.equal(kept.filled[0], a.filled[0])
    right = kept.centres[1:, ..., 0][kept.filled[1:]]
    assert right.max() < 50 - 3  # a descriptor covers at least this much beside its centre
    assert kept.filled[1:].any()
    metric.update(units, features, fraction)
    assert metric.compute().n_clips.item() <= 8


def test_drawn_matches_lie_where_the_maps_agree(scenes):
    small = avg_pool2d(scenes[:1], 2)[0]
    matches = sift_matches(small, scenes[0])
    assert len(matches.distance) >= 4
    assert (matches.distance.diff() >= 0).all()
    assert (matches.points_a >= 0).all()
    assert (matches.points_a < torch.tensor([40.0, 32.0])).all()
    offset = matches.points_b - 2 * matches.points_a
    assert (offset.abs() < 3).all(1).float().mean() > 0.6
    assert len(sift_matches(torch.zeros(64, 80), scenes[0]).distance) == 0


def test_agreeing_on_a_shift_halves_the_null_and_keeps_the_score(scenes):
    shifted = torch.roll(scenes, (3, 4), (1, 2)).unsqueeze(1)
    plain, agreeing = run(shifted, scenes), run(shifted, scenes, tolerance=3.0)
    assert agreeing.null < 0.5 * plain.null
    assert agreeing.score > 0.8 * plain.score
    assert agreeing.effect > plain.effect


def test_consistent_matches_equal_a_plain_loop(rng):
    shift = 10 * torch.rand(2, 3, 12, 2, generator=rng)
    zeros, sizes = torch.zeros(2, 3, 12), 1 + torch.rand(2, 2, 3, 12, generator=rng)
    centres = 50 * torch.rand(2, 3, 12, 2, generator=rng)
    a = KeyPoints(torch.zeros(2, 3, 12, 128), centres, sizes[0], zeros, zeros.bool())
    partner = torch.arange(12).expand(2, 3, 12)
    matched = torch.rand(2, 3, 12, generator=rng) < 0.7
    kept = 0
    for clip in range(2):
        for unit in range(3):
            one = KeyPoints(*(part[clip : clip + 1, unit : unit + 1] for part in a))
            b = one._replace(centres=one.centres + shift[clip, unit], sigma=sizes[1, clip, unit].view(1, 1, 12))
            here = matched[clip : clip + 1, unit : unit + 1]
            found = consistent_matches(one, b, here, partner[:1, :1], 4.0)[0, 0]
            expected = plain_consistent(one, b, here[0, 0], 4.0)
            assert found.nonzero()[:, 0].tolist() == expected
            kept += len(expected)
    assert kept > 12


def plain_consistent(a, b, matched, tolerance):
    """The largest group of matches that one shift and scale explains, proposals of the first kind first."""
    p, q = a.centres[0, 0].double().numpy(), b.centres[0, 0].double().numpy()
    ratio = (b.sigma / a.sigma)[0, 0].double().numpy()
    usable = matched.nonzero()[:, 0].tolist()
    groups = []
    for own_size in (False, True):
        for i in usable:
            scale = ratio[i] if own_size else 1.0
            laid = q[i] + scale * (p - p[i])
            same_size = np.abs(np.log2(ratio / scale)) <= 0.5
            group = [j for j in usable if same_size[j] and np.abs(laid[j] - q[j]).max() <= tolerance]
            groups.append((len(group) - own_size, group))
    largest = max(votes for votes, _ in groups)
    return next(group for votes, group in groups if votes == largest) if largest > 1 else []


def test_agreeing_on_a_scale_finds_an_enlarged_map(rng):
    maps = torch.nn.functional.interpolate(torch.rand(6, 1, 12, 14, generator=rng), (96, 112), mode="bicubic")
    enlarged = torch.nn.functional.interpolate(maps, scale_factor=1.25, mode="bicubic")[..., 10:106, 14:126]
    a, b = key_points(enlarged, (96, 112)), key_points(maps, (96, 112))
    matched, partner, _ = mutual_matches(a, b)
    kept = consistent_matches(a, b, matched, partner, 3.0)
    there = b.centres[:, 0].gather(1, partner[:, 0, :, None].expand(-1, -1, 2))
    # Where the enlarged map's pixel centres lie on the other: OpenCV's and torch's convention.
    laid = (a.centres[:, 0] + torch.tensor([14.5, 10.5])) / 1.25 - 0.5
    true = ((laid - there).abs() < 3).all(-1) & matched[:, 0]
    assert true.sum() > 60
    assert (kept[:, 0] & true).sum() > 0.8 * true.sum()
    # A shift alone explains the points near one place only.
    same_size = a._replace(sigma=torch.ones_like(a.sigma)), b._replace(sigma=torch.ones_like(b.sigma))
    assert consistent_matches(*same_size, matched, partner, 3.0).sum() < 0.6 * kept.sum()


def test_count_and_distance_are_of_the_same_matches(scenes):
    units = torch.stack([torch.roll(scenes, (3, 4), (1, 2)), torch.full_like(scenes, 0.1)], 1)
    a, b = key_points(units, (64, 80)), key_points(scenes.unsqueeze(1), (64, 80))
    scores = match_scores(a, b)
    matched, _, square = mutual_matches(a, b)
    assert torch.equal(scores.number[:, 0], matched[:, 0].sum(-1).float())
    fewer = torch.minimum(a.filled[:, 0].sum(-1), b.filled[:, 0].sum(-1))
    torch.testing.assert_close(scores.rate[:, 0], scores.number[:, 0] / fewer)
    for clip in range(8):
        distances = square[clip, 0][matched[clip, 0]].sqrt()
        torch.testing.assert_close(scores.distance[clip, 0], distances.mean())
    assert all(part[:, 1].isnan().all() for part in scores)
    for metric, part in ((SIFTCountSimilarity(), scores.number), (SIFTDistanceSimilarity(), scores.distance)):
        metric.update(units, scenes.unsqueeze(1))
        result = metric.compute()
        torch.testing.assert_close(result.score[0, 0], part[:, 0].double().mean(), atol=1e-6, rtol=1e-6)
        assert result.p_value[0] < 0.01
        assert (result.effect[0] > 0) == metric.higher_is_better
        assert result.n_clips.ravel().tolist() == [8, 0]


def test_no_match_has_no_distance(scenes):
    a, b = key_points(scenes.unsqueeze(1), (64, 80)), key_points(scenes.flip(0).unsqueeze(1), (64, 80))
    scores = match_scores(a, b, ratio=0.01)
    assert (scores.number == 0).all()
    assert (scores.rate == 0).all()
    assert scores.distance.isnan().all()


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (300, 20)])
def test_small_and_long_maps(shape, rng):
    maps = torch.rand(4, *shape, generator=rng)
    result = run(maps.unsqueeze(1), maps)
    assert result.score.shape == (1, 1)
    assert result.score > 0.5


def test_pickle_with_a_waiting_clip(scenes, steady):
    units, scenes = steady(max_pool2d(scenes, 2, stride=1).unsqueeze(1), scenes)
    metric = SIFTSimilarity()
    metric.update(units[:3], scenes[:3].unsqueeze(1))
    copy = pickle.loads(pickle.dumps(metric.half()))
    copy.update(units[3:], scenes[3:].unsqueeze(1))
    torch.testing.assert_close(copy.compute().p_value, run(units, scenes).p_value, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_features": 1}, "num_features=1"),
        ({"ratio": 0.0}, "ratio=0.0"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"min_size": 300}, "min_size=300"),
        ({"level": "clip"}, "works at: map"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SIFTSimilarity(**arguments)


def test_statistics_share_key_points_and_rows_are_maps_of_their_own(scenes):
    metrics = [SIFTSimilarity(), SIFTCountSimilarity(), SIFTDistanceSimilarity()]
    assert len({metric.preparation for metric in metrics}) == 1
    assert len({metric.preparation for metric in (SIFTSimilarity(), SIFTSimilarity(32), DenseSIFTSimilarity())}) == 3
    units = torch.stack([max_pool2d(scenes, 2), max_pool2d(scenes.flip(1), 2)], 1)
    rows = torch.stack([scenes, scenes.flip(1), scenes.flip(2)], 1)
    grid = metrics[0].grid(units.shape)
    prepared = metrics[0].prepare(units, grid), metrics[0].prepare(rows, grid)
    for metric in metrics:
        one = metric.clone()
        metric.update(*prepared)
        one.update(units, rows[:, 1:2])
        assert metric.compute().score.shape == (2, 3)
        for ours, expected in zip(metric.compute(), one.compute(), strict=True):
            torch.testing.assert_close(ours[:, 1:2], expected, atol=1e-6, rtol=1e-5, equal_nan=True)


def test_a_run_finds_key_points_once_for_all_statistics(scenes, monkeypatch):
    calls = []

    def counted(maps, *arguments):
        calls.append(tuple(maps.shape))
        return key_points(maps, *arguments)

    monkeypatch.setattr("lightning_dissect.metrics.sift.key_points", counted)
    metrics = find_metrics(["sift", "sift_count", "sift_distance", "dense_sift"])
    comparison = Comparison(metrics, ["large", "small"], {"harmonic": ("harmonic",)})
    extent = Extent(clips=8, frames=80, fraction=None, map_clips=8)
    clip = torch.zeros(8, 1)
    batch = BatchFeatures(extent, {"harmonic": Levels(clip, None, scenes.unsqueeze(1))})
    for name, size in (("large", 2), ("small", 8)):
        comparison.update(name, Levels(clip, None, max_pool2d(scenes, size).unsqueeze(1)), batch)
    assert calls == [(8, 1, 32, 40), (8, 1, 64, 80)]
    compared = [(columns["layer"], columns["metric"]) for columns, *_ in comparison.blocks()]
    # Eight bins are too few for key points.
    assert compared == [("large", metric.name) for metric in metrics] + [("small", "dense_sift")]
