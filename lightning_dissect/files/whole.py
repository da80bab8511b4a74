"""Files that are written wholly or not at all."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from lightning_dissect.files.places import Place, RemotePath


@contextmanager
def whole(path: Place, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """A file to write to that takes its name when everything has been written, in place of an older one.

    If writing fails or is interrupted, the older file stays as it was, and nothing half-written is left beside it;
    after a kill or a power failure, a hidden file may be.

    Args:
        path: The file; its folder is made if it is missing.
        durable: Wait until it is on the disk, so that it also outlives a power failure.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "deep" / "file"
        >>> with whole(path) as file:
        ...     _ = file.write(b"all")
        ...     path.exists()
        False
        >>> path.read_bytes()
        b'all'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(path, RemotePath):
        content = io.BytesIO()
        yield content
        path.write_bytes(content.getvalue())
        return
    partial = path.with_name(f".{path.name[:50]}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        with partial.open("xb") as file:  # through a link of that name, something else would be written over
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
