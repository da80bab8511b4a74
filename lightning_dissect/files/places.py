"""Where files lie: on this machine, or wherever fsspec reaches."""

import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")


@dataclass(frozen=True)
class RemotePath:
    """A path on another file system, with those of :class:`pathlib.Path`'s names that a run's files need.

    Args:
        system: The file system, as fsspec has it.
        path: The path on it, without the scheme.

    Example:
        >>> folder = find_place("memory://logs") / "dissect"
        >>> folder.name, str(folder / "a.parquet")
        ('dissect', 'memory:///logs/dissect/a.parquet')
    """

    system: Any
    path: str

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.system, posixpath.join(self.path, name))

    def __str__(self) -> str:
        return str(self.system.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """Its last part."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> "RemotePath":
        """The folder."""
        return RemotePath(self.system, posixpath.dirname(self.path))

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return bool(self.system.exists(self.path))

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return bool(self.system.isdir(self.path))

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self.system.isfile(self.path))

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """The files in it whose name is like that."""
        return (file for file in self.rglob(pattern) if file.parent == self)

    def rglob(self, pattern: str) -> Iterator["RemotePath"]:
        """The files at any depth whose name is like that."""
        self.system.invalidate_cache(self.path)
        found = (RemotePath(self.system, path) for path in self.system.find(self.path))
        return (file for file in found if fnmatchcase(file.name, pattern))

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Make the folder, and those above it, where the file system has any."""
        self.system.makedirs(self.path, exist_ok=exist_ok)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open the file to read bytes."""
        file: IO[bytes] = self.system.open(self.path, mode)
        return file

    def write_bytes(self, content: bytes) -> None:
        """Send a whole file."""
        self.system.pipe_file(self.path, content)

    def unlink(self) -> None:
        """Remove the file."""
        self.system.rm_file(self.path)


Place = Path | RemotePath


def find_place(path: "str | os.PathLike[str] | RemotePath") -> Place:
    """The place that a path names: one with a scheme (``s3://…``) is found by fsspec, any other is local.

    A colon alone makes no scheme: ``lr:0.1`` is a folder. ``file://…`` is local, too.

    Raises:
        ImportError: If a package is missing that the scheme needs.
        ValueError: If fsspec does not know the scheme.

    Example:
        >>> find_place("lr:0.1").name, find_place("file:///tmp/logs").as_posix()
        ('lr:0.1', '/tmp/logs')
    """
    if isinstance(path, RemotePath):
        return path
    path = os.fspath(path)
    if not _SCHEME.match(path):
        return Path(path)
    system, stripped = url_to_fs(path)
    return Path(stripped) if isinstance(system, LocalFileSystem) else RemotePath(system, stripped.rstrip("/"))


def is_inside(place: Place, folder: Place) -> bool:
    """Whether a place lies below a folder when all links are followed; other file systems have no links.

    Example:
        >>> is_inside(Path("run/pictures"), Path("run")), is_inside(Path("run/../other"), Path("run"))
        (True, False)
    """
    if not isinstance(place, Path):
        return True
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(str(folder)))


def rename(place: Place, name: str) -> None:
    """Give a file another name in its folder."""
    target = place.parent / name
    if isinstance(place, Path):
        place.rename(str(target))
    elif isinstance(target, RemotePath):  # fsspec's own `mv` would take brackets in a path for a pattern
        with place.open() as file:
            target.write_bytes(file.read())
        place.unlink()


@contextmanager
def on_disk(place: Place) -> Iterator[Path]:
    """A file as one of this machine, for those who can read no other: itself, or a copy for as long as it is needed."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, place.name)
        with place.open() as file:
            copy.write_bytes(file.read())
        yield copy
