"""Names that every file system and every logger can take."""

import hashlib
import re

_LONGEST_FILE_NAME = 120
"""Bytes; most file systems take 255, encrypted ones 143."""
_PLAIN = re.compile(r"\w[\w .,+=@()\[\]-]*")


def file_name(name: str) -> str:
    """A name for a file or a folder, which leads nowhere else: a plain name of moderate length is left as it is.

    In others, a digest of the whole name stands at the end, so that no two names become one.

    Example:
        >>> file_name("features.0"), file_name("../etc")
        ('features.0', '_etc-f7f9121f')
    """
    # A name like that of a picture could meet the picture itself.
    plain = _PLAIN.fullmatch(name) and not name.endswith((".", " ", ".png"))
    if plain and len(name.encode()) <= _LONGEST_FILE_NAME:
        return name
    safe = re.sub(r"[^\w .,+=@()\[\]-]", "_", name).lstrip(". -")
    begin = safe.encode()[: _LONGEST_FILE_NAME - 9].decode(errors="ignore")
    return f"{begin}-{_digest(name)}"


def shorten_name(name: str, longest: int) -> str:
    """A name of at most so many bytes: its begin, a digest of the whole, and its end.

    Example:
        >>> shorten_name("dissect.conv/rms", 200), shorten_name("a" * 30 + "/best", 20)
        ('dissect.conv/rms', 'aaaaa-33991327-/best')
    """
    written = name.encode(errors="surrogatepass")
    if len(written) <= longest:
        return name
    kept = (longest - 10) // 2
    begin, end = (part.decode(errors="ignore") for part in (written[:kept], written[-kept:]))
    return f"{begin}-{_digest(name)}-{end}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
