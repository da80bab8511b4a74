"""A panel of a sheet: a frame with ticks, in which data have their place."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, BboxTransform, TransformedBbox

from lightning_dissect.report.sheet import MARGIN, Sheet, shorten

_TICK = 0.04
"""The length of a tick in inches."""
TICK_SIZE = 7.5
"""Of the numbers at ticks, in points."""


class Panel:
    """A part of a sheet with axes of its own.

    Args:
        sheet: The picture.
        box: Left, bottom, right and top, in inches.
        x: The values at the left and at the right.
        y: The values at the bottom and at the top.
    """

    def __init__(
        self,
        sheet: Sheet,
        box: tuple[float, float, float, float],
        x: tuple[float, float] = (0.0, 1.0),
        y: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.sheet, self.x, self.y = sheet, x, y
        self.left, self.bottom, self.right, self.top = box
        self._box = Bbox.from_extents(*box)
        self._to_inches = BboxTransform(Bbox.from_extents(x[0], y[0], x[1], y[1]), self._box)
        self._transform = self._to_inches + sheet.figure.dpi_scale_trans

    def place(self, points: Any) -> np.ndarray:
        """Points, (n, 2), in inches of the sheet."""
        placed: np.ndarray = self._to_inches.transform(np.asarray(points, dtype=float))
        return placed

    def draw(self, x: Any, y: Any, **look: Any) -> None:
        """Draw a line or markers; ``look`` is that of matplotlib's ``Line2D``."""
        self.sheet.add(Line2D(x, y, transform=self._transform, **look))

    def fill(self, outlines: Sequence[np.ndarray], **look: Any) -> None:
        """Draw areas or their outlines, (n, 2) each; ``look`` is that of matplotlib's ``PolyCollection``."""
        self.sheet.add(PolyCollection(outlines, transform=self._transform, **look))

    def show(self, values: np.ndarray, *, origin: Literal["upper", "lower"] = "upper", **look: Any) -> None:
        """Show a matrix in the whole panel; ``look`` is that of matplotlib's ``BboxImage``."""
        image = BboxImage(TransformedBbox(self._box, self.sheet.figure.dpi_scale_trans), origin=origin, **look)
        image.set_data(values)
        self.sheet.add(image)

    def frame(self, *, across: int = 0, up: int = 0, whole: bool = False) -> None:
        """Draw the axes, with at most so many ticks each at round numbers; ``whole`` if those across are counts."""
        self.sheet.line([(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)])
        self.mark_x(*ticks(self.x, across, whole=whole))
        self.mark_y(*ticks(self.y, up))

    def name_rows(self, names: Sequence[str]) -> None:
        """Write names at the left, the first at y = 0, the next at 1, …."""
        for row, name in enumerate(names):
            y = self.place([(self.x[0], row)])[0, 1]
            self.sheet.write(self.left - 0.07, y, shorten(name, self.left - MARGIN - 0.1), align=1.0)

    def name_columns(self, names: Sequence[str], size: float, turn: float) -> None:
        """Write names below, the first at x = 0, the next at 1, …, in points and turned by degrees."""
        for column, name in enumerate(names):
            x = self.place([(column, self.y[0])])[0, 0]
            self.sheet.write(x, self.bottom - 0.12, name, size=size, align=1.0 if turn else 0.5, turn=turn)

    def mark_x(self, values: Sequence[float], words: Sequence[str]) -> None:
        """Draw ticks below, with words."""
        for value, word in zip(values, words, strict=True):
            x = self.place([(value, self.y[0])])[0, 0]
            self.sheet.line([(x, self.bottom), (x, self.bottom - _TICK)])
            self.sheet.write(x, self.bottom - _TICK - 0.08, word, size=TICK_SIZE, align=0.5)

    def mark_y(self, values: Sequence[float], words: Sequence[str]) -> None:
        """Draw ticks at the left, with words."""
        for value, word in zip(values, words, strict=True):
            y = self.place([(self.x[0], value)])[0, 1]
            self.sheet.line([(self.left - _TICK, y), (self.left, y)])
            self.sheet.write(self.left - _TICK - 0.03, y, word, size=TICK_SIZE, align=1.0)


def ticks(limits: tuple[float, float], most: int, *, whole: bool = False) -> tuple[list[float], list[str]]:
    """At most so many round numbers between two limits, and how they are written; ``whole`` if they are counts.

    Example:
        >>> ticks((-0.42, 0.9), 3)
        ([0.0, 0.5], ['0.0', '0.5'])
    """
    low, high = limits
    if most < 1 or not np.isfinite([low, high]).all():
        return [], []
    found = MaxNLocator(nbins=most, steps=[1, 2, 5, 10], integer=whole).tick_values(low, high)
    values = [float(value) for value in found if low <= value <= high]
    return values, [_write(value, found[1] - found[0]) for value in values]


def around(*values: np.ndarray) -> tuple[float, float]:
    """Limits a little wider than the finite ones of some values."""
    known = np.concatenate([side[np.isfinite(side)] for side in values])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _write(value: float, step: float) -> str:
    """Write a number with as many digits as tell it from its neighbours."""
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    digits += round(step * 10**digits, 6) % 1 > 0  # one more for steps of 2.5
    written = f"{value:.{digits}f}" if digits < 5 and abs(value) < 1e5 else f"{value:.3g}"
    return written.replace("-", "−")
