"""Excerpts as files, read back with soundfile."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lightning_dissect.files.playlists import load_playlists, save_playlists, write_wav
from lightning_dissect.playlist import COLUMNS, Excerpt, Played

RATE = 8_000


def tone(level: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def played(audio: dict[Excerpt, np.ndarray]) -> Played:
    columns = dict.fromkeys(COLUMNS, 0) | {"layer": "conv/0", "unit": [0, 0, 1], "rank": [1, 2, 1], "end": 3.0}
    table = pd.DataFrame({**columns, "clip": [4, 9, 4], "start": [1.5, 0.0, 1.5]}).astype(COLUMNS)
    return Played(table, audio)


@pytest.fixture
def two() -> Played:
    return played({Excerpt(0, 0, 4, 1.5): tone(0.5), Excerpt(0, 0, 9, 0.0): tone(0.25, 0.5)})


@pytest.mark.parametrize("seconds", [0.0, 1 / RATE, 0.7])
def test_a_wav_file_has_the_samples(seconds: float, tmp_path: Path) -> None:
    write_wav(tmp_path / "tone.wav", tone(0.8, seconds), RATE)
    samples, rate = soundfile.read(tmp_path / "tone.wav")
    assert rate == RATE
    # two steps of 16 bits: one is rounding, and the reader divides by 32768
    np.testing.assert_allclose(samples, tone(0.8, seconds), atol=2 / 32768)
    assert [path.name for path in tmp_path.iterdir()] == ["tone.wav"]


def test_what_lies_outside_is_clipped(tmp_path: Path) -> None:
    write_wav(tmp_path / "loud.wav", np.array([-3.0, -1.0, 1.0, 3.0]), RATE)
    np.testing.assert_allclose(soundfile.read(tmp_path / "loud.wav")[0], [-1, -1, 1, 1], atol=2 / 32768)


def test_the_table_points_at_files_that_exist(two: Played, tmp_path: Path) -> None:
    written = save_playlists(two, tmp_path / "dissect", RATE, epoch=3, step=70)
    table = load_playlists(tmp_path / "dissect")
    assert table.columns.tolist() == ["epoch", "step", *COLUMNS, "file"]
    assert table["file"].tolist() == written["file"].tolist()
    assert table["file"].tolist() == [
        "audio/clip00004-from1.50s.wav", "audio/clip00009-from0.00s.wav", "audio/clip00004-from1.50s.wav",
    ]  # fmt: skip
    samples, _ = soundfile.read(tmp_path / "dissect" / table["file"][0])
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def test_audio_louder_than_full_scale_keeps_its_proportions(tmp_path: Path) -> None:
    excerpts = {Excerpt(0, 0, 4, 1.5): tone(4.0), Excerpt(0, 0, 9, 0.0): tone(1.0)}
    table = save_playlists(played(excerpts), tmp_path, RATE)
    loud, soft = (soundfile.read(tmp_path / file)[0] for file in table["file"][:2])
    assert np.abs(loud).max() == pytest.approx(1.0, rel=1e-3)
    assert np.abs(soft).max() == pytest.approx(0.25, rel=1e-3)


def test_a_later_run_replaces_an_earlier_one(two: Played, tmp_path: Path) -> None:
    save_playlists(two, tmp_path, RATE)
    (tmp_path / "audio" / "notes.txt").write_text("the user's own")
    table = save_playlists(played({Excerpt(0, 0, 9, 0.0): tone(0.1)}), tmp_path, RATE)
    assert table["file"].isna().tolist() == [True, False, True]
    assert sorted(path.name for path in (tmp_path / "audio").iterdir()) == ["clip00009-from0.00s.wav", "notes.txt"]


def test_processes_and_loaders_have_files_of_their_own(tmp_path: Path) -> None:
    audio = {Excerpt(*name, 4, 1.5): tone(0.1) for name in ((0, 0), (0, 1), (2, 0), (2, 1))}
    save_playlists(played(audio), tmp_path, RATE)
    assert sorted(path.name for path in (tmp_path / "audio").iterdir()) == [
        "clip00004-from1.50s.wav", "loader1-clip00004-from1.50s.wav", "process2-clip00004-from1.50s.wav",
        "process2-loader1-clip00004-from1.50s.wav",
    ]  # fmt: skip


def test_a_folder_without_playlists_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no playlist.parquet here.*unless playlist=0"):
        load_playlists(tmp_path)
