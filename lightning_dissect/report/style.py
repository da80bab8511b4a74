"""The look that all pictures share: sizes, type, and colours that every eye can tell apart."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe & Ito (2008), which people with any kind of colour vision can tell apart."""
OBSERVED, CHANCE = COLOURS[0], COLOURS[1]
UNDEFINED, FAINT = "0.85", "0.8"
DIVERGING, SHARE, TRIVIAL, TOGETHER, MAP = "RdBu_r", "Blues", "Greys", "Oranges", "magma"
MARKERS = "osD^v*"


@contextmanager
def style() -> Iterator[None]:
    """Draw with the settings of all pictures, whatever style the user has set; also a decorator."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"savefig.dpi": 140, "figure.dpi": 140})
        yield


@style()
def render(figure: Figure) -> np.ndarray:
    """Draw a figure into pixels, (height, width, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def encode_png(pixels: np.ndarray) -> bytes:
    r"""Write pixels, (height, width, 3) uint8, as a PNG file, at the least effort: more takes longer than it saves.

    Example:
        >>> encode_png(np.zeros((2, 3, 3), np.uint8))[:4]
        b'\x89PNG'
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
