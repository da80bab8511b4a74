"""The picture of a network's detectors: its layers × the features that set their units apart."""

import math

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lightning_dissect.report.overview import WIDEST, spread, tell_spread
from lightning_dissect.report.panel import TICK_SIZE, Panel
from lightning_dissect.report.sheet import FOOTING, HEADING, MARGIN, SMALL, WIDTH, Sheet, fit, measure, shorten
from lightning_dissect.report.style import SHARE, TRIVIAL, style
from lightning_dissect.scores import count_controls, count_labels, fold_features

_ROW = 0.3
_LONGEST = 1.6
"""Width that the name of a feature may take."""
_KEY = 0.75
"""Width that the colours' key takes at the right."""
_GAP = 0.25
"""Between features and controls, in columns."""


@style()
def detectors(labels: pd.DataFrame, features: list[str], controls: list[str]) -> Figure:
    """Draw how many units of each layer each feature sets apart, and beside that in grey, how many a control explains.

    Args:
        labels: One row a unit, like ``Scores.labels()``.
        features: Names of the features, in their order; the rows of one (``chroma[A]``, …) count together.
        controls: Names of the controls.

    Returns:
        A figure that belongs to no pyplot window: layers from the input down, features across, the colour is the share
        of the layer's units, the number in a cell their count. Of more than 60 layers it shows every second, third, ….
    """
    tables = [count_labels(labels, features), count_controls(labels, controls)]
    layers = list(spread(tables[0]).index)
    sizes = labels["layer"].astype(str).value_counts().reindex(layers)
    rows = [shorten(f"{layer} ({sizes[layer]} units)", WIDEST) for layer in layers]
    names = [[shorten(name, _LONGEST) for name in fold_features(own)] for own in (features, controls)]
    left = MARGIN + max(map(measure, rows), default=0) + 0.1
    room = (WIDTH - left - _KEY) / max(len(features) + len(controls) + (_GAP if controls else 0), 1)
    widest = max(map(measure, names[0] + names[1]), default=0)
    turn = 0 if widest < room - 0.1 else 30 if room > 0.25 else 90
    below = 0.25 + widest * math.sin(math.radians(turn))
    sheet = Sheet(
        HEADING + _ROW * len(layers) + below + FOOTING,
        "Which one feature sets units apart",
        "number of units · colour: share of the layer · grey: units that follow only what this trivial one explains"
        + tell_spread(tables[0]),
    )
    top = sheet.height - HEADING
    for counts, words, colours in zip(tables, names, (SHARE, TRIVIAL), strict=True):
        if not words:
            continue
        box = (left, top - _ROW * len(layers), left + room * len(words), top)
        panel = Panel(sheet, box, (-0.5, len(words) - 0.5), (len(layers) - 0.5, -0.5))
        share = counts.loc[layers].div(sizes, axis=0).to_numpy(dtype=float)
        panel.show(share, cmap=colours, norm=Normalize(0, 1), interpolation="nearest")
        _write_counts(panel, counts.loc[layers].to_numpy(), share, room)
        panel.name_columns(words, min(SMALL, 72 * room), turn)
        if counts is tables[0]:
            panel.name_rows(rows)
        left = panel.right + _GAP * room
    _draw_key(panel)
    return sheet.finish()


def _write_counts(panel: Panel, counts: np.ndarray, share: np.ndarray, room: float) -> None:
    size = fit(str(counts.max(initial=0)), room - 0.03)
    for row, column in np.ndindex(share.shape):
        x, y = panel.place([(column, row)])[0]
        colour = "white" if share[row, column] > 0.6 else "black"
        panel.sheet.write(x, y, str(counts[row, column]), size=size, align=0.5, colour=colour)


def _draw_key(panel: Panel) -> None:
    """What the colours mean, at the right."""
    key = Panel(panel.sheet, (panel.right + 0.15, panel.bottom, panel.right + 0.27, panel.top))
    key.show(np.linspace(1, 0, 64)[:, None], cmap=SHARE, norm=Normalize(0, 1), interpolation="nearest")
    for share, y in ((0, key.bottom + 0.06), (100, key.top - 0.06)):
        panel.sheet.write(key.right + 0.05, y, f"{share} %", size=TICK_SIZE)
