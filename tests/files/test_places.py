"""Local paths, and those that fsspec reaches."""

import os
from pathlib import Path

import fsspec
import pytest

from lightning_dissect.files import RemotePath, find_place, is_inside, on_disk
from lightning_dissect.files.places import rename


@pytest.mark.parametrize(
    "path", ["lr:0.1", "a/b:c/d", "s3:/bucket", "memory", "C:\\logs", "x::y", "/tmp/with://inside"]
)
def test_a_path_is_local_unless_it_begins_with_a_scheme(path: str) -> None:
    assert find_place(path) == Path(path)


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_the_scheme_of_local_files_is_local(scheme: str, tmp_path: Path) -> None:
    assert find_place(f"{scheme}://{tmp_path}/a b") == tmp_path / "a b"


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        find_place("nowhere://x")


def test_a_remote_folder_holds_files() -> None:
    folder = find_place("memory://places/deep")
    assert isinstance(folder, RemotePath)
    assert not folder.exists()
    assert list(folder.rglob("*")) == []
    file = folder / "below" / "a[1].txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"text")
    assert (folder.is_dir(), file.is_file(), file.is_dir(), file.name) == (True, True, False, "a[1].txt")
    assert list(folder.rglob("*.txt")) == [file] == list(file.parent.glob("a*"))
    assert list(folder.glob("*.txt")) == []
    assert find_place(str(file)) == file
    with on_disk(file) as local:
        assert (local.name, local.read_bytes()) == ("a[1].txt", b"text")
    assert not local.exists()
    rename(file, "b.txt")
    moved = file.parent / "b.txt"
    assert (file.exists(), moved.open().read()) == (False, b"text")
    moved.unlink()
    assert fsspec.filesystem("memory").find("/places") == []


def test_links_are_followed_to_tell_what_lies_inside(tmp_path: Path) -> None:
    run, private = tmp_path / "run", tmp_path / "private"
    for folder in (run / "own", private):
        folder.mkdir(parents=True)
    os.symlink(private, run / "out")
    os.symlink(run / "own", run / "in")
    os.symlink(run / "loop", run / "loop")
    inside = {name: is_inside(run / name, run) for name in ("own", "in", "out", "out/x", "..", "missing/x", "loop")}
    assert inside == {
        "own": True, "in": True, "out": False, "out/x": False, "..": False, "missing/x": True, "loop": True,
    }  # fmt: skip
    os.symlink(run, tmp_path / "linked")
    assert is_inside(tmp_path / "linked" / "own", tmp_path / "linked")
