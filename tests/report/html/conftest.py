"""A small run on disk: three epochs, two layers, one of them with a name that would be a tag in HTML."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lightning_dissect import Scores
from lightning_dissect.files.layout import picture_file
from lightning_dissect.run.excerpts import Excerpt
from lightning_dissect.run.playlist import Played
from lightning_dissect.run.playlist_files import save_playlists

EVIL = "conv<script>alert(1)</script>&\"'"
RATE = 8_000
ROWS = [
    ("loudness", "pearson", "clip"),
    ("onset_strength", "pearson", "clip"),
    ("chroma[A]", "pearson", "clip"),
    ("chroma[B]", "pearson", "clip"),
    ("onset_strength", "sift", "map"),
    ("rms_db", "pearson", "clip"),
]


def write_table(epoch: int, units: dict[str, int], seed: int = 0) -> pd.DataFrame:
    """Units 0, 3, … follow onset_strength, 1, 4, … chroma[B], more each epoch; the last of each layer is dead.

    What unit 3 follows, loudness explains as well; what unit 6 follows, the control does.
    """
    rng = np.random.default_rng([seed, epoch])
    rows = []
    for layer, size in units.items():
        for feature, metric, level in ROWS:
            if metric == "sift" and layer == "embedding":
                continue
            for unit in range(size):
                follows = {0: "onset_strength", 1: "chroma[B]"}.get(unit % 3) == feature and unit < 4 * epoch + 4
                follows = follows and metric == "pearson"
                effect = rng.uniform(0.6, 0.9) if follows else rng.normal(0, 0.05)
                p_value = 1e-12 if follows else rng.uniform(0.2, 1)
                if unit == size - 1:
                    effect = p_value = np.nan
                lower = 1.0 if follows else 0.7 if (unit, feature) in ((3, "loudness"), (6, "rms_db")) else 1e-6
                rows.append((layer, unit, feature, level, metric, effect + 0.1, 0.1, effect, p_value, lower))
    names = ["layer", "unit", "feature", "level", "metric", "score", "null", "effect", "p_value", "lower_p_value"]
    table = pd.DataFrame(rows, columns=names).assign(epoch=epoch, step=10 * (epoch + 1), dataloader=0, n_clips=60)
    return table.assign(control=table["feature"] == "rms_db")


SETTINGS = {"versions": {"torch": "2.11.0"}, "sample_rate": RATE, "layers": [EVIL, "embedding"]}


def write_run(folder: Path, epochs: int = 3) -> Path:
    for epoch in range(epochs):
        scores = Scores(write_table(epoch, {EVIL: 14, "embedding": 40}), SETTINGS)
        scores.save(folder / "dissect" / f"epoch={epoch:04d}-step={10 * (epoch + 1):08d}.parquet")
    write_playlist(folder / "dissect")
    picture = folder / "dissect" / picture_file("correlations")
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), "orange").save(picture)
    for layer in (EVIL, "embedding"):
        picture = folder / "dissect" / picture_file("clips", layer)
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 4), "red").save(picture)
    return folder


def write_playlist(folder: Path) -> None:
    """Units 0 and 1 of the first layer, which follow onset_strength and chroma[B], are driven by clips 3 and 5."""
    seconds = np.arange(RATE) / RATE
    sounds = {3: np.where(seconds % 0.5 < 0.02, 0.5, 0.0), 5: 0.3 * np.sin(2 * np.pi * 493.88 * seconds)}
    rows = [(EVIL, 0, 1, 3), (EVIL, 0, 2, 5), (EVIL, 1, 1, 5), (EVIL, 1, 2, 9)]
    table = pd.DataFrame(rows, columns=["layer", "unit", "rank", "clip"]).assign(
        process=0, dataloader=0, time=0.25, start=0.0, end=1.0, activation=2.0
    )
    audio = {Excerpt(0, 0, clip, 0.0): samples.astype(np.float32) for clip, samples in sounds.items()}
    save_playlists(Played(table, audio), folder, RATE, epoch=2, step=30)


@pytest.fixture(scope="session")
def evil() -> str:
    return EVIL


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def make_table() -> Callable[..., pd.DataFrame]:
    return write_table
