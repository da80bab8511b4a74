"""Recordings of which some are bad."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_dissect.cli.recordings import Recordings, read_clip

RATE = 8_000


def write(path: Path, seconds: float = 3.0, **options: str) -> Path:
    samples = np.random.default_rng(0).normal(size=round(seconds * RATE)) * 0.1
    soundfile.write(path, samples, RATE, **options)
    return path


def cut(path: Path, share: float) -> None:
    os.truncate(path, round(share * path.stat().st_size))


def not_finite(folder: Path) -> None:
    soundfile.write(folder / "bad.wav", np.full(3 * RATE, np.nan), RATE, subtype="FLOAT")


def not_utf8(folder: Path) -> None:
    write(folder / "bad.wav").rename(folder / os.fsdecode(b"bad\xff.wav"))


BAD = {
    "truncated FLAC": lambda folder: cut(write(folder / "bad.flac"), 0.5),
    "truncated MP3": lambda folder: cut(write(folder / "bad.mp3"), 0.5),
    "not finite": not_finite,
    "no byte": lambda folder: (folder / "bad.wav").touch(),
    "no sample": lambda folder: write(folder / "bad.wav", 0),
    "no audio": lambda folder: (folder / "bad.ogg").write_text("not audio"),
    "not UTF-8": not_utf8,
    "a folder": lambda folder: (folder / "bad.wav").mkdir(),
    "a pipe": lambda folder: os.mkfifo(folder / "bad.wav"),
    "a link to nothing": lambda folder: (folder / "bad.wav").symlink_to(folder / "nothing"),
}


@pytest.mark.parametrize("make_bad", BAD.values(), ids=BAD)
def test_a_bad_recording_is_named_and_left_out(make_bad, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_bad(tmp_path)
    for name in ("a.wav", "c.flac", "d.mp3"):
        write(tmp_path / name)
    clips = Recordings(tmp_path, RATE, seconds=2.0, batch_size=2)
    assert len(clips) == 2
    batches = list(clips)
    assert [batch["waveform"].shape for batch in batches] == [(2, 2 * RATE), (1, 2 * RATE)]
    assert [length for batch in batches for length in batch["lengths"].tolist()] == [2 * RATE] * 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 1
    assert f"{tmp_path}/bad" in lines[0]
    assert lines[0].isprintable()


@pytest.mark.parametrize("make_bad", BAD.values(), ids=BAD)
def test_none_but_bad_ones_are_an_error(make_bad, tmp_path: Path) -> None:
    make_bad(tmp_path)
    with pytest.raises(ValueError, match="none of 1 recordings can be read"):
        list(Recordings(tmp_path, RATE, seconds=2.0, batch_size=2))


def test_what_is_cut_off_after_the_middle_counts(tmp_path: Path) -> None:
    whole, shorter = (write(tmp_path / name) for name in ("whole.flac", "cut.flac"))
    cut(shorter, 0.9)
    np.testing.assert_array_equal(read_clip(shorter, RATE, 1.0), read_clip(whole, RATE, 1.0))
