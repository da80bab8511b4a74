"""A small run on disk: three epochs, two layers, one of them with a name that would be a tag in HTML."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_dissect import Scores

EVIL = "conv<script>alert(1)</script>&\"'"
ROWS = [
    ("loudness", "pearson", "clip"),
    ("percussive", "pearson", "clip"),
    ("chroma[A]", "pearson", "clip"),
    ("chroma[B]", "pearson", "clip"),
    ("percussive", "sift", "map"),
]


def make_table(epoch: int, units: dict[str, int], seed: int = 0) -> pd.DataFrame:
    """Units 0, 3, … follow percussive, 1, 4, … chroma[B], more from epoch to epoch; the last of each layer is dead."""
    rng = np.random.default_rng([seed, epoch])
    rows = []
    for layer, size in units.items():
        for feature, metric, level in ROWS:
            if metric == "sift" and layer == "embedding":
                continue
            for unit in range(size):
                follows = {0: "percussive", 1: "chroma[B]"}.get(unit % 3) == feature and unit < 4 * epoch + 4
                follows = follows and metric == "pearson"
                effect = rng.uniform(0.6, 0.9) if follows else rng.normal(0, 0.05)
                p_value = 1e-12 if follows else rng.uniform(0.2, 1)
                if unit == size - 1:
                    effect = p_value = np.nan
                rows.append((layer, unit, feature, level, metric, effect + 0.1, 0.1, effect, p_value))
    names = ["layer", "unit", "feature", "level", "metric", "score", "null", "effect", "p_value"]
    return pd.DataFrame(rows, columns=names).assign(epoch=epoch, step=10 * (epoch + 1), dataloader=0, n_clips=60)


SETTINGS = {"versions": {"torch": "2.11.0"}, "sample_rate": 16_000, "layers": [EVIL, "embedding"]}


def write_run(folder: Path, epochs: int = 3) -> Path:
    for epoch in range(epochs):
        scores = Scores(make_table(epoch, {EVIL: 14, "embedding": 40}), SETTINGS)
        scores.save(folder / "dissect" / f"epoch={epoch:04d}-step={10 * (epoch + 1):08d}.parquet")
    return folder


@pytest.fixture(scope="session")
def evil() -> str:
    return EVIL


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))
