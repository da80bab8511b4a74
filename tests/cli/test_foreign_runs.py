"""Runs that come from elsewhere, damaged or made to do harm: one line says what is wrong, and nothing else happens."""

import json
import os
import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_dissect import Scores
from lightning_dissect.cli import main

LAST = "epoch=0001-step=00000001.parquet"
KEY = b"lightning_dissect"
WAV = "audio/clip00000-from0.00s.wav"
Damage = Callable[[Path], None]


def rewrite(file: Path, columns: dict[str, Any] | None = None, settings: bytes | None = None) -> None:
    """Write a Parquet file again, with other values in some columns (None: without the column) or other settings."""
    table = pq.read_table(file)
    for name, values in (columns or {}).items():
        place = table.column_names.index(name)
        table = table.remove_column(place)
        if values is not None:
            table = table.add_column(place, name, pa.array(values[: len(table)]))
    metadata = {KEY: settings if settings is not None else (table.schema.metadata or {}).get(KEY, b"{}")}
    pq.write_table(table.replace_schema_metadata(metadata), file)


def column(name: str, *first: Any, rest: Any = 0, file: str = LAST) -> Damage:
    return lambda folder: rewrite(folder / file, {name: [*first, *[rest] * 1_000]})


def without(name: str, file: str = LAST) -> Damage:
    return lambda folder: rewrite(folder / file, {name: None})


def settings(value: Any) -> Damage:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda folder: rewrite(folder / LAST, settings=text)


def shorten(name: str, size: int) -> Damage:
    return lambda folder: os.truncate(folder / name, size)


def sound(**header: int) -> Damage:
    def damage(folder: Path) -> None:
        with wave.open(str(folder / WAV), "wb") as file:
            file.setparams((header.get("channels", 1), header.get("width", 2), 8_000, 0, "NONE", ""))
            file.writeframes(b"\0" * 1_000)

    return damage


def claim_frames(folder: Path) -> None:
    """A header of 2 GB above a few samples."""
    content = bytearray((folder / WAV).read_bytes())
    content[4:8] = content[40:44] = (2**31 - 2).to_bytes(4, "little")
    (folder / WAV).write_bytes(content)


def pipe(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def whole_layers(folder: Path) -> None:
    for file in folder.glob("epoch=*.parquet"):
        table = Scores.load(file).table.query("unit == 0").drop(columns="q_value")
        Scores(table.assign(unit=pd.array([pd.NA] * len(table), dtype="Int32"), metric="cka")).save(file)


def damaged_baseline(folder: Path) -> None:
    (folder / "untrained.parquet").write_bytes(b"no table")


def no_rows(folder: Path) -> None:
    Scores(Scores.load(folder / LAST).table.head(0)).save(folder / LAST)


# What is wrong, the statuses of show and report, and words of the report's line.
DAMAGES: dict[str, tuple[Damage, int, int, str]] = {
    "whole layers alone": (whole_layers, 0, 0, ""),
    "empty WAV": (shorten(WAV, 0), 0, 2, "cannot be read as WAV"),
    "truncated header": (shorten(WAV, 30), 0, 2, "cannot be read as WAV"),
    "truncated WAV": (shorten(WAV, 1_001), 0, 2, "ends too early"),
    "WAV without samples": (shorten(WAV, 44), 0, 2, "ends too early"),
    "stereo": (sound(channels=2), 0, 2, "no mono WAV file"),
    "8 bits": (sound(width=1), 0, 2, "no mono WAV file"),
    "WAV of 2 GB": (claim_frames, 0, 2, "ends too early"),
    "playlist without file": (without("file", "playlist.parquet"), 0, 2, "lacks the columns ['file']"),
    "playlist of words": (column("time", rest="now", file="playlist.parquet"), 0, 2, "'time' cannot be of type"),
    "no playlist at all": (shorten("playlist.parquet", 100), 0, 2, "cannot be read as playlists"),
    "fractional units": (column("unit", 0.5), 2, 2, "'unit' cannot be of type"),
    "negative units": (column("unit", -3), 2, 2, "has a unit -3"),
    "a large unit": (column("unit", 2**31 - 2), 0, 2, "has a unit 2147483646"),
    "units of words": (column("unit", rest="first"), 2, 2, "'unit' cannot be of type"),
    "no layer": (column("layer", None, rest="conv"), 2, 2, "'layer' lacks values"),
    "layers that are lists": (column("layer", rest=["conv"]), 2, 2, "'layer' cannot be of type"),
    "layers without letters": (column("layer", rest=b"\xff"), 2, 2, "'layer' cannot be of type"),
    "no feature": (column("feature", rest=None), 2, 2, "'feature' lacks values"),
    "epochs of words": (column("epoch", rest="one"), 2, 2, "'epoch' cannot be of type"),
    "infinite scores": (column("effect", rest=np.inf), 1, 0, ""),
    "scores beyond all numbers": (column("score", rest=1e300), 0, 0, ""),
    "p-values beyond 1": (column("p_value", -5.0, rest=7.0), 0, 0, ""),
    "q-values beyond 1": (column("q_value", -5.0, rest=7.0), 0, 0, ""),
    "no scores": (no_rows, 1, 2, "holds no scores"),
    "settings that are a list": (settings(["torch"]), 2, 2, "no names with values"),
    "settings that are none": (settings(None), 2, 2, "no names with values"),
    "settings that are no JSON": (settings(b"{"), 2, 2, "its settings cannot be read"),
    "settings without letters": (settings(b'"\xff"'), 2, 2, "its settings cannot be read"),
    "halves of letters": (settings({"\ud800": "\ud800"}), 2, 2, "its settings cannot be read"),
    "versions that are a word": (settings({"versions": "all"}), 2, 2, "no names with values"),
    "settings in settings": (settings(b'{"a":' * 500 + b"1" + b"}" * 500), 2, 2, "no names with values"),
    "deeper settings": (settings(b"[" * 100_000), 2, 2, "its settings cannot be read"),
    "a rate that is a word": (settings({"sample_rate": "fast"}), 0, 0, ""),
    "a rate that is a list": (settings({"sample_rate": [8_000]}), 0, 0, ""),
    "frames of no length": (settings({"sample_rate": 8_000, "n_fft": 0, "hop_length": -1}), 0, 0, ""),
    "frames that are words": (settings({"sample_rate": 8_000, "n_fft": "long", "hop_length": None}), 0, 0, ""),
    "frames of 8 TB": (settings({"sample_rate": 8_000, "n_fft": 2**40, "hop_length": 1}), 0, 0, ""),
    "a rate of 1 THz": (settings({"sample_rate": 10**12}), 0, 0, ""),
    "a pipe for scores": (pipe("epoch=0002.parquet"), 0, 0, "epoch=0002.parquet is left out"),
    "a pipe for a baseline": (pipe("untrained.parquet"), 0, 0, "untrained.parquet is left out"),
    "a damaged baseline": (damaged_baseline, 2, 2, "untrained.parquet cannot be read as scores"),
    "a pipe for a playlist": (pipe("playlist.parquet"), 0, 0, "playlist.parquet is left out"),
    "a pipe for a WAV": (pipe(WAV), 0, 0, "00s.wav is left out"),
    "a pipe for a picture": (pipe("pictures/conv/clips.png"), 0, 0, "clips.png is left out"),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("damage", "show", "report", "words"), DAMAGES.values(), ids=DAMAGES)
def test_one_line_says_what_is_wrong(
    damage: Damage, show: int, report: int, words: str, scores_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder := scores_folder)
    for command, status in (("show", show), ("report", report)):
        assert main([command, str(folder)]) == status, command
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 if status == 2 else len(lines) <= 1
    assert words in "".join(lines)
    page = folder / "report.html"
    assert page.exists() == (report == 0)
    assert report or not re.search(r'id="meta">.*(NaN|Infinity)', page.read_text())  # which JSON has not


def test_a_run_of_whole_layers_says_so(scores_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_layers(folder := scores_folder)
    assert main(["show", str(folder), "--feature", "percussive"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["layer", "feature", "level", "metric"],
        ["conv", "percussive", "clip", "cka"],
        ["embedding", "percussive", "clip", "cka"],
    ]
    assert main(["show", str(folder), "--layer", "none"]) == 1
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert "No unit was compared" in page
    assert page.count("kernel alignment (CKA), one value a clip") == 8
    assert "<script" not in page
    assert main(["compare", str(folder / LAST), str(folder)]) == 2
    assert "whole layers alone" in capsys.readouterr().err


def test_a_pipe_in_place_of_a_run_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "run.parquet")
    for run in (tmp_path, tmp_path / "run.parquet"):
        assert main(["show", str(run)]) == 2
    with pytest.raises(ValueError, match="no regular file"):
        Scores.load(tmp_path / "run.parquet")


OPTIONS = {
    "endless": (["features", "a.wav", "--seconds", "inf"], "inf is no length"),
    "no length": (["features", "a.wav", "--seconds", "nan"], "nan is no length"),
    "negative": (["run", "a.pt", "--network", "VGGish", "--seconds", "-1"], "-1 is no length"),
    "nothing": (["run", "a.pt", "--network", "VGGish", "--seconds", "0"], "0 is no length"),
    "no clips": (["run", "a.pt", "--network", "VGGish", "--batch-size", "0"], "0 is no whole number"),
    "negative rate": (["run", "a.pt", "--model", "a:B", "--sample-rate", "-8"], "-8 is no whole number"),
    "no rate": (["features", "a.wav", "--sample-rate", "0"], "0 is no whole number"),
    "no epochs": (["demo", "--epochs", "-1"], "-1 is no whole number"),
}


@pytest.mark.parametrize(("arguments", "words"), OPTIONS.values(), ids=OPTIONS)
def test_numbers_that_cannot_work(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1
