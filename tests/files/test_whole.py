"""Files that are written wholly or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from lightning_dissect.files import find_place, whole


@pytest.mark.parametrize("where", ["{tmp_path}/a:b/file", "memory://whole/file"])
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_takes_its_name_when_all_is_written(where: str, durable: bool, tmp_path: Path) -> None:
    path = find_place(where.format(tmp_path=tmp_path))
    for content in (b"first", b"second"):
        with whole(path, durable=durable) as file:
            file.write(content)
        assert path.open("rb").read() == content
    assert [file.name for file in path.parent.glob("*")] == ["file"]


@pytest.mark.parametrize("where", ["{tmp_path}/file", "memory://failed/file"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit()])
def test_what_fails_half_way_leaves_the_old_file(where: str, error: BaseException, tmp_path: Path) -> None:
    path = find_place(where.format(tmp_path=tmp_path))
    with whole(path) as file:
        file.write(b"old")

    def write_half() -> None:
        with whole(path) as file:
            file.write(b"ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.open("rb").read() == b"old"
    assert [file.name for file in path.parent.glob("*")] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_disk_that_is_full_when_the_file_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written waits in a buffer, and fails when it goes to the disk."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: real(Path("/dev/full"), "wb"))
    with pytest.raises(OSError, match="No space left"), whole(path) as file:
        file.write(b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_no_link_is_written_through(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_bytes(b"secret")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("file", f".file.{os.getpid()}.partial"):
        os.symlink(private, run / name)
    with whole(run / "file") as file:
        file.write(b"new")
    assert private.read_bytes() == b"secret"
    assert (run / "file").read_bytes() == b"new"
    assert os.listdir(run) == ["file"]


def test_a_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with whole(tmp_path / "file"):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    with whole(path) as file:
        file.write(b"all")
    assert path.read_bytes() == b"all"
