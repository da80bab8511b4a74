"""The picture of a network: how many units of each layer follow one feature, several, something trivial, or nothing."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lightning_dissect.report.kinds import KINDS, count_parts, name_parts
from lightning_dissect.report.panel import Panel
from lightning_dissect.report.sheet import FOOTING, HEADING, MARGIN, WIDTH, Sheet, fit, measure, shorten
from lightning_dissect.report.style import style

_ROW, _BAR = 0.31, 0.8
"""Height of a row, and the part of it that its bar takes."""
MOST_LAYERS = 60
"""Of more layers, these are spread over the network's depth: a picture of a thousand rows takes gigabytes to draw."""
WIDEST = 2.6
"""Width that the name of a layer may take."""
_KEY, _KEY_SIZE = 0.26, 11.0
_ACROSS = 2
"""Kinds beside each other in the key."""


@style()
def overview(labels: pd.DataFrame) -> Figure:
    """Draw how many units of each layer are of which kind, as stacked bars.

    Args:
        labels: One row a unit, like ``Scores.labels()``.

    Returns:
        A figure that belongs to no pyplot window: layers from the input down, of each a bar whose parts are the shares
        of its units, with their number. Of more than 60 layers it shows every second, third, ….
    """
    parts = count_parts(labels)
    shown = spread(parts)
    names = name_parts(parts)
    sizes = shown.sum(axis=1)
    rows = [shorten(f"{layer} ({sizes[layer]} units)", WIDEST) for layer in shown.index]
    left = MARGIN + max(map(measure, rows), default=0) + 0.1
    key = _KEY * -(-len(names) // _ACROSS) + 0.12
    sheet = Sheet(
        HEADING + key + _ROW * len(rows) + FOOTING,
        "What the units of each layer follow",
        f"number of units · width: share of the layer{tell_spread(parts)}",
    )
    _draw_key(sheet, names)
    top = sheet.height - HEADING - key
    box = (left, top - _ROW * len(rows), WIDTH - MARGIN, top)
    panel = Panel(sheet, box, (0, 1), (len(rows) - 0.5, -0.5))
    _draw_bars(panel, shown.div(sizes, axis=0), shown)
    panel.name_rows(rows)
    return sheet.finish()


def spread(counts: pd.DataFrame) -> pd.DataFrame:
    """Of many layers, some that are spread over the network's depth."""
    return counts.iloc[:: max(1, -(-len(counts) // MOST_LAYERS))]


def tell_spread(counts: pd.DataFrame) -> str:
    """Words that say which layers are shown, if not all are."""
    every = max(1, -(-len(counts) // MOST_LAYERS))
    return f" · one in {every} of {len(counts)} layers" if every > 1 else ""


def _draw_bars(panel: Panel, share: pd.DataFrame, counts: pd.DataFrame) -> None:
    ends = share.to_numpy(dtype=float).cumsum(axis=1)
    begins = ends - share.to_numpy(dtype=float)
    half = _BAR / 2
    for place, kind in enumerate(share):
        sides = list(enumerate(zip(begins[:, place], ends[:, place], strict=True)))
        outlines = [
            np.array([(begin, row - half), (end, row - half), (end, row + half), (begin, row + half)])
            for row, (begin, end) in sides
            if end > begin
        ]
        panel.fill(outlines, facecolors=KINDS[str(kind)].colour, edgecolors="white", linewidths=0.6, label=str(kind))
        for row, (begin, end) in sides:
            _write_count(panel, str(counts.iat[row, place]), (begin, end), row, KINDS[str(kind)].ink)


def _write_count(panel: Panel, words: str, span: tuple[float, float], row: int, ink: str) -> None:
    room = (span[1] - span[0]) * (panel.right - panel.left)
    if measure(words) + 0.04 < room:
        x, y = panel.place([(sum(span) / 2, row)])[0]
        panel.sheet.write(x, y, words, align=0.5, colour=ink)


def _draw_key(sheet: Sheet, names: dict[str, str]) -> None:
    """What the colours mean, below the title, to be read in a thumbnail."""
    down = -(-len(names) // _ACROSS)
    room = (WIDTH - 2 * MARGIN) / _ACROSS
    for place, (kind, words) in enumerate(names.items()):
        x = MARGIN + place // down * room
        y = sheet.height - HEADING - _KEY * (place % down) - 0.06
        patch = Panel(sheet, (x, y - 0.08, x + 0.24, y + 0.08))
        square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        patch.fill([square], facecolors=KINDS[kind].colour, edgecolors="0.6", linewidths=0.4, label=f"key {kind}")
        sheet.write(x + 0.32, y, words, size=fit(words, room - 0.4, _KEY_SIZE))
