"""How often the tests between features err: rivals of a label, and what a feature has of its own.

    python benchmarks/calibration_rivals.py [--seeds 1000] [--map-seeds 200] [--label-seeds 20] [--units 40]

Rivals: a unit follows two features alike, which are correlated with each other; a third is noise. How often is one of
the two called significantly lower, and how many labels are called distinct? Unique part: a unit follows one feature,
and another one is correlated with that. How often has the other something of its own? Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from calibration import scenes
from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d

from lightning_dissect.levels import Extent, Level, Levels, valid_frames
from lightning_dissect.metrics import METRICS, SimilarityMetric
from lightning_dissect.run.batch_features import BatchFeatures
from lightning_dissect.run.comparison import Comparison
from lightning_dissect.scores import Block, Scores

CONDITIONS = {"128 clips": (128, False), "16 clips": (16, False), "padded": (128, True)}
"""Number of clips, and whether they are padded."""
RHO = (0.5, 0.9, 0.99)
"""Correlations of the two features."""
FRAMES, BATCH = 32, 32
FEATURES = ("a", "b", "other")

Follows = Literal["both", "first", "second"]
Kind = tuple[str, Level]
"""A metric's name and level."""


class Data(NamedTuple):
    """Units and features at their levels, and the part of each clip that is audio."""

    units: Levels
    features: dict[str, Levels]
    fraction: Tensor | None


def series(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Series (..., frames) that wander slowly around a level of each clip's own, with variance 1 each."""
    wander = avg_pool1d(torch.randn(*shape, FRAMES + 4, generator=generator).flatten(0, -2), 5, 1) * 5**0.5
    return wander.view(*shape, FRAMES) + torch.randn(*shape, 1, generator=generator)


def maps(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Spectrograms (..., 24, 32) of mean 0 and variance 1."""
    n = int(np.prod(shape))
    found = avg_pool2d(scenes(n, generator, slow=False), 2)
    found = (found - found.mean((1, 2), keepdim=True)) / found.std((1, 2), keepdim=True)
    return found.view(*shape, *found.shape[1:])


def simulate(seed: int, condition: str, rho: float, follows: Sequence[Follows], levels: Collection[str]) -> Data:
    """Units that follow two features correlated by ``rho``, or one of them, with as much noise."""
    g = torch.Generator().manual_seed(seed)
    n, padded = CONDITIONS[condition]
    fraction = torch.randint(12, FRAMES + 1, (n,), generator=g) / FRAMES if padded else None
    inside = valid_frames(torch.ones(n) if fraction is None else fraction, FRAMES)
    weight = {"both": (0.5, 0.5), "first": (1.0, 0.0), "second": (0.0, 1.0)}
    weights = torch.tensor([weight[which] for which in follows])

    def make(draw: object) -> tuple[Tensor, Tensor]:
        shared, a, b, other = draw((4, n), g)  # type: ignore[operator]
        a, b = (rho**0.5 * shared + (1 - rho) ** 0.5 * own for own in (a, b))
        followed = torch.einsum("uf,fn...->un...", weights, torch.stack([a, b]))
        return (followed + draw((len(weights), n), g)).transpose(0, 1), torch.stack([a, b, other], 1)  # type: ignore[operator]

    found: dict[str, tuple[Tensor, Tensor]] = {}
    if {"clip", "frame"} & set(levels):
        x, f = (values * inside.unsqueeze(1) for values in make(series))
        found["frame"] = x, f
        found["clip"] = tuple(v.sum(-1) / inside.sum(-1, keepdim=True) for v in (x, f))  # type: ignore[assignment]
    if "map" in levels:
        found["map"] = tuple(v * inside[:, None, None] for v in make(maps))  # type: ignore[assignment]
    units = Levels(*(found[level][0] if level in levels else None for level in Levels._fields))
    features = {
        name: Levels(*(found[level][1][:, [place]] if level in levels else None for level in Levels._fields))
        for place, name in enumerate(FEATURES)
    }
    return Data(units, features, fraction)


def compare(data: Data, metrics: Sequence[SimilarityMetric]) -> list[Block]:
    """What the metrics find in the data, in batches."""
    comparison = Comparison(metrics, ["units"], {name: (name,) for name in data.features})
    n = next(len(values) for values in data.units if values is not None)
    for part in torch.arange(n).split(BATCH):
        fraction = None if data.fraction is None else data.fraction[part]
        units, *features = (
            Levels(*(None if values is None else values[part] for values in levels))
            for levels in (data.units, *data.features.values())
        )
        extent = Extent(len(part), FRAMES, fraction, len(part))
        batch = BatchFeatures(extent, dict(zip(data.features, features, strict=True)))
        comparison.update("units", units, batch)
        comparison.settle()
    return comparison.blocks({"epoch": 0, "step": 0})


def p_values(title: str, seed: int, units: int, condition: str, rho: float, kinds: Sequence[Kind]) -> list[np.ndarray]:
    """p-values of one run by metric, one for each unit; NaN where nothing is tested.

    Of "rivals", that the worse of two features, which the unit follows alike, explains it less. Of "unique", that a
    feature has something of its own, where the unit follows another one.
    """
    which: Follows = "both" if title == "rivals" else "second"
    follows = [which] * units
    levels = {level for _, level in kinds} | {"frame"}
    blocks = compare(
        simulate(seed, condition, rho, follows, levels), [METRICS[name](level=level) for name, level in kinds]
    )
    found = []
    for kind in kinds:
        a, b = (
            block
            for block in blocks
            if (block.constant["metric"], block.constant["level"]) == kind and block.features[0] in ("a", "b")
        )
        assert a.lower_p_value is not None
        assert b.lower_p_value is not None
        lower = torch.minimum(a.lower_p_value, b.lower_p_value)
        found.append((lower if title == "rivals" else a.similarity.unique_p_value).flatten().numpy())
    return found


def shares(title: str, seeds: int, units: int, kinds: Sequence[Kind]) -> dict[Kind, list[str]]:
    """Share of p < 0.05 for each metric in each condition."""
    cells: dict[Kind, list[str]] = {kind: [] for kind in kinds}
    for condition in CONDITIONS:
        for rho in RHO:
            runs = [p_values(title, seed, units, condition, rho, kinds) for seed in range(seeds)]
            for kind, of_kind in zip(kinds, zip(*runs, strict=True), strict=True):
                p = np.concatenate(of_kind)
                tested = np.isfinite(p)
                few = f" of {tested.sum()}" if tested.mean() < 0.5 else ""
                cells[kind].append(f"{np.mean(p[tested] < 0.05):.3f}{few}" if tested.any() else "–")
    return cells


def wrong_labels(seeds: int, units: int, condition: str, rho: float, distinct: bool) -> tuple[str, str]:
    """Share of distinct labels that are wrong, and of the others' units that have one; all levels and metrics at once.

    Args:
        seeds: Number of runs.
        units: Number of units, which follow two features alike at every level.
        condition: Number of clips.
        rho: Correlation of these.
        distinct: Whether as many other units follow one of them alone.
    """
    kinds: tuple[Follows, ...] = ("both", "first") if distinct else ("both",)
    follows = [which for which in kinds for _ in range(units)]
    rates, false = [], []
    for seed in range(seeds):
        metrics = [METRICS[name](level=level) for name, level in LABEL_METRICS]
        blocks = compare(simulate(seed, condition, rho, follows, Levels._fields), metrics)
        kind = (Scores.from_blocks(blocks).labels()["kind"] == "distinct").to_numpy()
        wrong = kind[:units].sum()
        rates.append(wrong / max(kind.sum(), 1))
        false.append(wrong / units)
    return f"{np.mean(rates):.3f}", f"{np.mean(false):.3f}"


LABEL_METRICS: tuple[Kind, ...] = (("pearson", "clip"), ("euclidean", "clip"), ("pearson", "frame"), ("pearson", "map"))
BELOW_MAPS: tuple[Kind, ...] = (
    *(("pearson", "clip"), ("spearman", "clip"), ("euclidean", "clip"), ("pearson", "frame"), ("spearman", "frame")),
)
MAPS: tuple[Kind, ...] = (("pearson", "map"), ("sift", "map"))
UNIQUE: tuple[Kind, ...] = (("pearson", "clip"), ("spearman", "clip"), ("pearson", "frame"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=300, help="runs of 4 units")
    parser.add_argument("--map-seeds", type=int, default=100, help="the same at level map")
    parser.add_argument("--label-seeds", type=int, default=20, help="runs in which labels are counted")
    parser.add_argument("--units", type=int, default=40, help="units of each kind in these")
    parser.add_argument("--parts", nargs="+", default=["rivals", "maps", "unique", "labels"])
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    columns = [f"{condition}, r = {rho}" for condition in CONDITIONS for rho in RHO]
    parts = (
        ("rivals", "rivals", arguments.seeds, BELOW_MAPS),
        ("maps", "rivals", arguments.map_seeds, MAPS),
        ("unique", "unique", arguments.seeds, UNIQUE),
    )
    for part, title, seeds, kinds in parts:
        if part in arguments.parts:
            print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
            for (name, level), cells in shares(title, seeds, 4, kinds).items():
                print(f"| {name}/{level} | {' | '.join(cells)} |", flush=True)
    if "labels" in arguments.parts:
        print(f"\n| distinct labels | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        for title, distinct in (("no unit is distinct", False), ("half of the units are", True)):
            cells = [
                " / ".join(wrong_labels(arguments.label_seeds, arguments.units, condition, rho, distinct))
                for condition in CONDITIONS
                for rho in RHO
            ]
            print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
