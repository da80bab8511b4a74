"""The sheet that pictures are drawn on, where everything has its place in inches.

A run ends with dozens of panels. matplotlib's ``Axes`` finds the place of each label anew, which takes 10 ms and more a
panel; here margins follow from the words, which are drawn as outlines, each made once.
"""

from bisect import bisect_right
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D

WIDTH = 7.0
"""Of every picture, in inches; with the type below it, titles can be read in a thumbnail of 300 pixels."""
MARGIN = 0.1
HEADING = 0.42
"""Height that the title takes, in inches."""
FOOTING = 0.3
"""Height that the line below takes, in inches."""
SMALL, LARGE = 8.5, 13.0
_MEASURED = 200
"""Characters; what is longer fits nowhere, and to measure thousands takes seconds."""
_CAPITALS = 0.73
"""Height of a capital in a line of one em."""


class Sheet:
    """A picture under way: a title over it, a line below it that explains the signs, and what is put between them.

    Attributes:
        figure: Belongs to no pyplot window; whole once :meth:`finish` has been called.
        height: In inches.
    """

    def __init__(self, height: float, title: str, subtitle: str) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH, height))
        self._words: list[tuple[str, Path, str]] = []
        self._lines: list[tuple[np.ndarray, str, float]] = []
        room = WIDTH - 2 * MARGIN
        title = shorten(title, room, SMALL, bold=True)
        self.write(MARGIN, height - 0.18, title, size=fit(title, room, LARGE, bold=True), bold=True)
        self.write(MARGIN, 0.12, subtitle, size=fit(subtitle, room), colour="0.3")

    def write(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = SMALL,
        align: float = 0.0,
        colour: str = "black",
        turn: float = 0.0,
        bold: bool = False,
    ) -> None:
        """Write a line whose capitals have their middle at ``y``, and at ``x`` its begin (``align`` 0), … or end (1).

        Places are in inches, ``size`` is in points, ``turn`` in degrees, counterclockwise about that place.
        """
        outline = _outline(words, bold)
        place = Affine2D().translate(-align * _ems(words, bold), -_CAPITALS / 2)
        place.scale(size / 72).rotate_deg(turn).translate(x, y)
        self._words.append((words, place.transform_path(outline), colour))

    def line(self, points: Any, colour: str = "black", width: float = 0.8) -> None:
        """Draw a line through points, (n, 2) in inches."""
        self._lines.append((np.asarray(points, dtype=float), colour, width))

    def add(self, artist: Artist) -> None:
        """Put an artist on the sheet, which brings its transform."""
        self.figure.add_artist(artist)

    def finish(self) -> Figure:
        """Put the words and the lines on the sheet.

        All words are one artist, in the order in which they were written, which takes a tenth of the time of as many
        texts; its label is what they say.
        """
        inches = self.figure.dpi_scale_trans
        if self._lines:
            points, colours, widths = zip(*self._lines, strict=True)
            self.add(LineCollection(points, colors=colours, linewidths=widths, transform=inches, capstyle="projecting"))
        words, outlines, colours = zip(*self._words, strict=True)
        self.add(PathCollection(outlines, facecolors=colours, linewidths=0, transform=inches, label="\n".join(words)))
        return self.figure


def fit(words: str, room: float, size: float = SMALL, *, bold: bool = False) -> float:
    """The size in points at which words fit into a room in inches, at most ``size``."""
    return min(size, size * room / measure(words, size, bold=bold))


def measure(words: str, size: float = SMALL, *, bold: bool = False) -> float:
    """The width of words in inches; of more than 200 characters, as if they went on as they begin."""
    begin = words[:_MEASURED]
    return _ems(begin, bold) * size / 72 * max(1.0, len(words) / _MEASURED)


def shorten(words: str, room: float, size: float = SMALL, *, bold: bool = False) -> str:
    """Words that fit into a room in inches, their middle left out if need be."""
    if len(words) < 3 or measure(words, size, bold=bold) <= room:
        return words
    if len(words) == 3:
        return words[:1]
    lengths = range(3, len(words))
    fitting = bisect_right(lengths, room, key=lambda kept: measure(_cut(words, kept), size, bold=bold))
    return _cut(words, fitting + 2)


def _cut(words: str, kept: int) -> str:
    return f"{words[: (kept + 1) // 2]}…{words[-(kept // 2) :]}"


def _font(bold: bool) -> FontProperties:
    return FontProperties(size=1.0, weight="bold" if bold else "normal")


@lru_cache(maxsize=4096)
def _ems(words: str, bold: bool) -> float:
    """The width of words in units of the font's size."""
    width: float = text_to_path.get_text_width_height_descent(words, _font(bold), ismath=False)[0]
    return width


@lru_cache(maxsize=1024)
def _outline(words: str, bold: bool) -> Path:
    """The outline of words, from the begin of their baseline, in units of the font's size."""
    points, codes = text_to_path.get_text_path(_font(bold), words, ismath=False)
    return Path(np.asarray(points).reshape(-1, 2) / text_to_path.FONT_SCALE, codes)
