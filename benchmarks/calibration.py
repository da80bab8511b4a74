"""How often metrics call chance a finding, and how many clips they need to find what is there.

    python benchmarks/calibration.py [--seeds 50] [--units 8] [--metrics pearson/clip sift/map] [--skip-alarms]
        [--skip-power]

False alarms: random convolutions of random scenes (tones that fade) against the features of other scenes of the same
kind. Power: units that are the feature plus white noise. Prints two tables in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from lightning_dissect.levels import valid_frames
from lightning_dissect.metrics import METRICS, DescriptorMetric, SimilarityMetric

Build = Callable[[], SimilarityMetric]
Measure = Callable[[Sequence[Build], int, int], list[list[str]]]

ROWS, FRAMES = 48, 64
CONDITIONS = ("128 clips", "16 clips", "slow envelopes", "padded")
CLIPS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
NOISE = (10, 0, -10)


class Data(NamedTuple):
    """Maps of units and of one feature row, (clips, rows, frequency, time), and the part of each clip that is audio."""

    activations: Tensor
    features: Tensor
    fraction: Tensor


def scenes(n: int, generator: torch.Generator, slow: bool) -> Tensor:
    """Spectrograms (n, 48, 64) of twelve tones each, which fade after an onset, or whose level wanders slowly."""
    pitch = torch.rand(n, 12, 1, generator=generator) * ROWS
    profile = torch.exp(-0.5 * ((torch.arange(ROWS) - pitch) / 0.8).square())
    time = torch.arange(FRAMES)
    if slow:
        steps = torch.randn(n, 12, FRAMES, generator=generator).cumsum(-1)
        level = (torch.randn(n, 12, 1, generator=generator) + 0.2 * steps).abs()
    else:
        since = time - (2 * torch.rand(n, 12, 1, generator=generator) - 1) * FRAMES
        level = torch.where(since > 0, torch.exp(-since / (4 + 20 * torch.rand(n, 12, 1, generator=generator))), 0)
    return profile.mT @ level + 0.02 * torch.rand(n, ROWS, FRAMES, generator=generator)


def chance(seed: int, units: int, condition: str, n: int) -> Data:
    """A random network's maps of some scenes, and a feature of others."""
    g = torch.Generator().manual_seed(seed)
    slow = condition == "slow envelopes"
    heard, feature = scenes(n, g, slow), avg_pool2d(scenes(n, g, slow).unsqueeze(1), (1, 9), 1, (0, 4))
    filters = torch.randn(units, 1, 5, 5, generator=g)
    maps = max_pool2d(conv2d(heard.unsqueeze(1), filters, padding=2).relu(), 2)
    # Each unit hears the scenes in an order of its own, so that units are as many trials.
    maps = torch.stack([unit[torch.randperm(n, generator=g)] for unit in maps.unbind(1)], 1)
    fraction = torch.ones(n)
    if condition == "padded":
        fraction = torch.randint(12, FRAMES // 2 + 1, (n, 1), generator=g)[:, 0] / (FRAMES // 2)
        maps, feature = (values * valid_frames(fraction, values.shape[-1])[:, None, None] for values in (maps, feature))
    return Data(maps, feature, fraction)


def planted(seed: int, units: int, noise: int, n: int, level: str) -> Data:
    """Units that are the feature plus noise so many dB below its variance at the level of the comparison."""
    g = torch.Generator().manual_seed(seed)
    feature = scenes(n, g, slow=False).unsqueeze(1)
    ratio = 10 ** (-noise / 20)
    if level == "map":
        wide = torch.randn(n, units, ROWS, FRAMES, generator=g) * ratio * feature.std((2, 3), keepdim=True)
        maps = feature + wide
    else:
        rows = feature.mean(2)
        added = torch.randn(n, units, FRAMES, generator=g) * rows.std(-1, keepdim=True)
        if level == "clip":
            added = torch.randn(n, units, 1, generator=g).expand(-1, -1, FRAMES) * rows.mean(-1, keepdim=True).std(0)
        maps = (rows + ratio * added).unsqueeze(2).expand(-1, -1, ROWS, -1)
    return Data(maps, feature, torch.ones(n))


def p_values(metric: SimilarityMetric, data: Data, prepared: dict[Any, Any] | None = None) -> np.ndarray:
    """p-values of one run, in batches of 32 clips; metrics of the same data may share what they prepare."""
    prepared = {} if prepared is None else prepared
    x, f, fraction = data
    frames = x.shape[-1]
    if metric.level != "map":
        x, f = x.mean(2), f.mean(2).unflatten(-1, (frames, -1)).mean(-1)
    elif not isinstance(metric, DescriptorMetric) and f.shape[-1] != frames:
        f = avg_pool2d(f, 2)
    if metric.level == "clip":
        inside = valid_frames(fraction, frames).unsqueeze(1)
        x, f = ((v * inside).sum(-1) / inside.sum(-1) for v in (x, f))
    for part in torch.arange(len(x)).split(32):
        a, b = x[part], f[part]
        if isinstance(metric, DescriptorMetric):
            key, grid = (metric.preparation, int(part[0])), metric.grid(x.shape)
            if key not in prepared:
                prepared[key] = metric.prepare(a, grid), metric.prepare(b, grid)
            a, b = prepared[key]
        metric.update(a, b, fraction[part])
    return metric.compute().p_value.numpy().ravel()


def false_alarms(builds: Sequence[Build], seeds: int, units: int) -> list[list[str]]:
    """Share of p < 0.05 and of q < 0.05, for each metric in each condition; all metrics see the same data."""
    cells: list[list[str]] = [[] for _ in builds]
    for condition in CONDITIONS:
        runs: list[list[np.ndarray]] = [[] for _ in builds]
        for seed in range(seeds):
            data = chance(seed, units, condition, 16 if condition == "16 clips" else 128)
            prepared: dict[Any, Any] = {}
            for of_metric, build in zip(runs, builds, strict=True):
                of_metric.append(p_values(build(), data, prepared))
        for row, of_metric in zip(cells, runs, strict=True):
            p = np.concatenate(of_metric)
            tested = [run[np.isfinite(run)] for run in of_metric]
            labels = sum((stats.false_discovery_control(run) < 0.05).sum() for run in tested if len(run))
            row.append(f"{np.mean(p[np.isfinite(p)] < 0.05):.3f} / {labels / max(p.size, 1):.3f}")
    return cells


def clips_needed(builds: Sequence[Build], seeds: int, units: int) -> list[list[str]]:
    """Fewest clips at which 90 % of planted units have p < 0.001, for each metric at each noise."""
    return [[fewest_clips(build, noise, seeds, units) for noise in NOISE] for build in builds]


def fewest_clips(build: Build, noise: int, seeds: int, units: int) -> str:
    """Fewest clips at which 90 % of planted units have p < 0.001."""
    for n in CLIPS:
        runs = [p_values(build(), planted(seed, units, noise, n, build().level)) for seed in range(seeds)]
        if np.mean(np.concatenate(runs) < 0.001) >= 0.9:
            return str(n)
    return f"> {CLIPS[-1]}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--units", type=int, default=8, help="units of each network")
    parser.add_argument("--metrics", nargs="+", help="name/level, such as pearson/frame; all by default")
    parser.add_argument("--skip-alarms", action="store_true")
    parser.add_argument("--skip-power", action="store_true")
    arguments = parser.parse_args()
    kinds: dict[str, tuple[type[SimilarityMetric], dict[str, Any]]] = {
        f"{name}/{level}": (kind, {"level": level}) for name, kind in METRICS.items() for level in kind.levels
    }
    # SIFT also with only the matches that agree on one shift and scale.
    for name in ("sift", "sift_count", "sift_distance"):
        kinds[f"{name}/map, tolerance"] = METRICS[name], {"tolerance": 3.0}
    chosen = arguments.metrics or list(kinds)
    torch.set_grad_enabled(False)
    tables: list[tuple[str, Sequence[str], Measure, int, Sequence[str]]] = []
    if not arguments.skip_alarms:
        title = "share of p < 0.05 / of labels with q < 0.05"
        tables.append((title, CONDITIONS, false_alarms, arguments.seeds, chosen))
    if not arguments.skip_power:
        head = [f"clips needed at {noise} dB" for noise in NOISE]
        per_unit = [key for key in chosen if kinds[key][0].per_unit]
        tables.append(("planted units", head, clips_needed, max(2, arguments.seeds // 10), per_unit))
    for title, columns, measure, seeds, keys in tables:
        print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        builds = [partial(kinds[key][0], **kinds[key][1]) for key in keys]
        for key, cells in zip(keys, measure(builds, seeds, arguments.units), strict=True):
            print(f"| {key} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
