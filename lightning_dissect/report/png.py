"""PNG files, written in half the time that a search for each line's best filter takes."""

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_RGB = (8, 2, 0, 0, 0)
_EFFORT = 3
"""Of zlib: above it, time doubles for a tenth of the size."""


def encode_png(pixels: np.ndarray) -> bytes:
    r"""Encode pixels without loss (PNG 1.2, ISO/IEC 15948), no line filtered.

    Args:
        pixels: (height, width, 3) uint8.

    Returns:
        The whole file.

    Raises:
        ValueError: if the pixels are none of that shape and type.

    Example:
        >>> encode_png(np.zeros((2, 3, 3), np.uint8))[:4]
        b'\x89PNG'
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels: {pixels.shape} {pixels.dtype} are not (height, width, 3) uint8.")
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # a line begins with the number of its filter, 0 for none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">2I5B", width, height, *_EIGHT_BIT_RGB)
    data = zlib.compress(lines.tobytes(), _EFFORT)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
