"""The picture of a layer's scores against chance (Slizovskaia 2019, figures 3 and 4)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import stdtrit

from lightning_dissect.report.matrices import Matrices, matrices_of
from lightning_dissect.report.panel import Panel
from lightning_dissect.report.sheet import FOOTING, HEADING, MARGIN, WIDTH, Sheet, fit, measure, shorten
from lightning_dissect.report.style import CHANCE, FAINT, OBSERVED, style

_BINS = 24
_FULL = 0.92
"""Of a row's height, the part that its longest bar takes."""
_ACROSS = 5
_ROW, _LOWEST_ROW = 0.42, 0.22
_TALLEST = 8.0
"""Of a grid of rows, in inches, as long as its rows can be read."""
_WORDS, _TICKS, _GAP = 0.42, 0.3, 0.34
_SMALLEST = 6.0


@style()
def against_chance(table: pd.DataFrame, layer: str, q: float = 0.05) -> Figure:
    """Draw how the scores of a layer's units are distributed, and how they would be by chance.

    A row for each feature, a column for each metric and level; every unit counts once in each, with its best supported
    row, where a feature has several (``chroma[A]``, …). A cell is as high as its longest bar. The outline is ``null``;
    for Pearson's correlation over clips, whose null is 0 in the mean, it is the distribution of correlations of so many
    unrelated clips.
    """
    matrices = matrices_of(table, layer, ("score", "null", "q_value", "n_clips"))
    features = list(dict.fromkeys(feature for part in matrices for feature in part.features))
    across = min(_ACROSS, len(matrices))
    bands = [matrices[first : first + across] for first in range(0, len(matrices), across)]
    row = max(_LOWEST_ROW, min(_ROW, _TALLEST / len(features)))
    band_height = _WORDS + row * len(features) + _TICKS
    sheet = Sheet(
        HEADING + band_height * len(bands) + FOOTING,
        f"{layer}: scores against chance",
        f"blue: units by score · orange line: by chance · number: units with q < {q:g}",
    )
    left = MARGIN + min(1.8, max(map(measure, features))) + 0.1
    width = (WIDTH - left) / across - _GAP
    for down, band in enumerate(bands):
        top = sheet.height - HEADING - band_height * down - _WORDS
        for place, part in enumerate(band):
            start = left + place * (width + _GAP)
            panel = _draw_column(sheet, part, features, (start, top - row * len(features), start + width, top), q)
            if place == 0:
                panel.name_rows(features)
    return sheet.finish()


def _draw_column(
    sheet: Sheet, part: Matrices, features: list[str], box: tuple[float, float, float, float], q: float
) -> Panel:
    left, _, right, top = box
    for line, words in enumerate(part.words.split(", ", 1)):
        room = right - left + _GAP - 0.12
        size = max(_SMALLEST, fit(words, room))
        colour = "black" if line == 0 else "0.3"
        sheet.write(left, top + 0.28 - 0.16 * line, shorten(words, room, size), size=size, colour=colour)
    chance = by_chance(part.values)
    edges = _edges(part.values["score"], chance)
    panel = Panel(sheet, box, (edges[0], edges[-1]), (len(features) - 0.5, -0.5))
    panel.frame(across=4)
    bars, outlines = [], []
    for down, feature in enumerate(features):
        middle, bottom = panel.place([(edges[0], down)])[0, 1], down + 0.5
        counts = _count(part, chance, feature, edges)
        if counts is None:
            words = "undefined" if feature in part.features else "not compared"
            sheet.write((left + right) / 2, middle, words, size=7.5, align=0.5, colour="0.5")
            continue
        if edges[0] < 0 < edges[-1]:
            sheet.line(panel.place([(0, bottom - 1), (0, bottom)]), FAINT)
        observed, expected = (_outline(bottom - _FULL * count / counts.max(), bottom, edges) for count in counts)
        bars.append(observed)
        outlines.append(expected)
        supported = int((part.values["q_value"][part.features.index(feature)] < q).sum())
        sheet.write(right + 0.05, middle, str(supported), size=8.0)
    panel.fill(bars, facecolors=OBSERVED, alpha=0.75, linewidths=0, label="score")
    panel.fill(outlines, facecolors="none", edgecolors=CHANCE, linewidths=1.2, closed=False, label="chance")
    return panel


def _count(part: Matrices, chance: np.ndarray, feature: str, edges: np.ndarray) -> np.ndarray | None:
    """How many units have a score between two edges, and would have by chance, (2, bins); None if none has a score."""
    if feature not in part.features:
        return None
    place = part.features.index(feature)
    sides = (side[place][np.isfinite(side[place])] for side in (part.values["score"], chance))
    counts = np.stack([np.histogram(side, edges)[0] for side in sides])
    return counts if counts.any() else None


def by_chance(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """A score by chance for each unit that has one, (features, units); NaN for others.

    Where the null is 0 throughout, as Pearson's over clips is in the mean, these are quantiles of the correlations of
    so many pairs of unrelated normal values: r = t / √(n - 2 + t²), with Student's t of n - 2 degrees of freedom.
    """
    null: np.ndarray = np.where(np.isnan(values["score"]), np.nan, values["null"])
    varies = np.nan_to_num(null).any(axis=1, keepdims=True)
    known = ~np.isnan(null)
    share = (known.cumsum(axis=1) - 0.5) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    degrees = values["n_clips"] - 2
    t = stdtrit(degrees, np.where(known, share, np.nan))
    return np.where(varies, null, t / np.sqrt(degrees + t**2))


def _edges(scores: np.ndarray, chance: np.ndarray) -> np.ndarray:
    values = np.concatenate([side[np.isfinite(side)] for side in (scores, chance)])
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = max(0.02 * (high - low), 1e-6)
    return np.linspace(low - margin, high + margin, _BINS + 1)


def _outline(heights: np.ndarray, base: float, edges: np.ndarray) -> np.ndarray:
    """The steps of a histogram as a polygon, (2 · bins + 2, 2)."""
    x = np.repeat(edges, 2)
    y = np.concatenate([[base], np.repeat(heights, 2), [base]])
    return np.stack([x, y], axis=1)
