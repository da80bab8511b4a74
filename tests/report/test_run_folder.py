"""Which files of a run may be read."""

import os
import warnings
from pathlib import Path

import pytest

from lightning_dissect.report.run_folder import may_be_read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with a file, and a file outside, each reached in many ways."""
    folder = tmp_path / "run"
    (folder / "audio").mkdir(parents=True)
    (folder / "audio" / "a.wav").touch()
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a.wav").touch()
    (folder / "inward.wav").symlink_to("audio/a.wav")
    (folder / "outward.wav").symlink_to(tmp_path / "private" / "a.wav")
    (folder / "outward").symlink_to(tmp_path / "private")
    (folder / "nothing.wav").symlink_to("missing")
    (folder / "circle.wav").symlink_to("circle.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    return folder


@pytest.mark.parametrize("name", ["audio/a.wav", "inward.wav", "audio/../audio/a.wav"])
def test_files_of_the_folder_are_read(name: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert may_be_read(folder / name, folder)
    assert may_be_read(tmp_path / "link" / name, tmp_path / "link")


@pytest.mark.parametrize(
    "name",
    ["../private/a.wav", "{tmp_path}/private/a.wav", "/etc/passwd", "outward.wav", "outward/a.wav", "device.wav",
     "folder.wav", "pipe.wav", "."],
)  # fmt: skip
def test_others_are_not_and_named(name: str, folder: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="is left out: only regular files inside .*run are read"):
        assert not may_be_read(folder / name.format(tmp_path=tmp_path), folder)


@pytest.mark.parametrize("name", ["missing.wav", "nothing.wav", "circle.wav", "a\0b", "n" * 5_000, "\udcff.wav"])
def test_what_is_not_there_is_not_named(name: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not may_be_read(folder / name, folder)
