"""A run of two epochs and a folder of recordings."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lightning_dissect import Scores
from lightning_dissect.run.excerpts import Excerpt
from lightning_dissect.run.playlist import Played
from lightning_dissect.run.playlist_files import save_playlists


def make_scores(epoch: int) -> Scores:
    """Of six units each of two layers, 0 and 1 follow percussive, unit 4 in epoch 1 loudness, or chroma[A] as well.

    In epoch 1, unit 1 follows what the control, rms_db, explains as well.
    """
    rng = np.random.default_rng(epoch)
    rows = []
    for layer in ("conv", "embedding"):
        for feature in ("loudness", "percussive", "chroma[A]", "rms_db"):
            for unit in range(6):
                follows = (feature == "percussive" and unit < 2) or (feature == "loudness" and unit == 4 and epoch == 1)
                effect, p_value = (0.8, 1e-12) if follows else (rng.normal(0, 0.05), rng.uniform(0.3, 1))
                as_well = (unit == 4 and feature == "chroma[A]") or (unit == 1 and epoch == 1 and feature == "rms_db")
                lower = 1.0 if follows else 0.7 if as_well else 1e-6
                rows.append((layer, unit, feature, effect + 0.1, effect, p_value, lower))
    table = pd.DataFrame(rows, columns=["layer", "unit", "feature", "score", "effect", "p_value", "lower_p_value"])
    table["control"] = table["feature"] == "rms_db"
    same = {"epoch": epoch, "step": epoch, "dataloader": 0, "level": "clip", "metric": "pearson", "null": 0.1}
    return Scores(table.assign(**same, n_clips=60), {"sample_rate": 8_000})


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for epoch in range(2):
        make_scores(epoch).save(folder / "dissect" / f"epoch={epoch:04d}-step={epoch:08d}.parquet")
    return folder


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise bursts at 12 levels, at another rate than any network's, one of them stereo; and a file that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for n in range(12):
        samples = rng.normal(size=(44_100, 1 + (n == 3))) * 10 ** (-n / 6) * 0.2
        soundfile.write(folder / f"{n:02d}.wav", samples, 44_100)
    (folder / "broken.flac").write_text("not audio")
    return folder


@pytest.fixture
def scores_folder(run: Path, tmp_path: Path) -> Path:
    """The folder of a run's scores, with one excerpt that drives unit 0."""
    folder = tmp_path / "dissect"
    shutil.copytree(run / "dissect", folder)
    row = {"layer": "conv", "unit": 0, "rank": 1, "process": 0, "dataloader": 0, "clip": 0}
    table = pd.DataFrame([row | {"time": 0.1, "start": 0.0, "end": 0.5, "activation": 1.0}])
    samples = np.sin(np.arange(4_000) / 4).astype(np.float32)
    save_playlists(Played(table, {Excerpt(0, 0, 0, 0.0): samples}), folder, 8_000, epoch=1, step=1)
    return folder


@pytest.fixture
def little_memory() -> Iterator[None]:
    """What asks for gigabytes fails, instead of being given memory that it does not touch."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**31, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
