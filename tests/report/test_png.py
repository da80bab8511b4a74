"""Pixels as PNG files, read back by Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from lightning_dissect.report.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (301, 2, 3)])
@pytest.mark.parametrize("kind", ["noise", "one colour"])
def test_pixels_come_back_as_they_were(shape: tuple[int, int, int], kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = noise if kind == "noise" else np.broadcast_to(noise[:1, :1], shape)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        image.verify()  # the checksums
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3))])
def test_other_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pixels: \(2, 2.*are not \(height, width, 3\) uint8"):
        encode_png(pixels)
