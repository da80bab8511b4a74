"""The picture of a network: its layers × the features that their units are labelled with."""

import math

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lightning_dissect.report.panel import TICK_SIZE, Panel
from lightning_dissect.report.sheet import FOOTING, HEADING, MARGIN, SMALL, WIDTH, Sheet, fit, measure, shorten
from lightning_dissect.report.style import SHARE, style
from lightning_dissect.scores import count_labels

_ROW = 0.3
_MOST_LAYERS = 60
"""Of more layers, these are spread over the network's depth: a picture of a thousand rows takes gigabytes to draw."""
_WIDEST = 2.6
"""Width that the name of a layer may take."""
_LONGEST = 1.6
"""Width that the name of a feature may take."""
_KEY = 0.75
"""Width that the colours' key takes at the right."""


@style()
def overview(labels: pd.DataFrame, features: list[str]) -> Figure:
    """Draw how many units of each layer are labelled with each feature.

    Args:
        labels: One row a unit, like ``Scores.labels()``.
        features: Names of the features, in their order; the rows of one (``chroma[A]``, …) count together.

    Returns:
        A figure that belongs to no pyplot window: layers from the input down, features across, the colour is the share
        of the layer's units, the number in a cell their count. Of more than 60 layers it shows every second, third, ….
    """
    counts = count_labels(labels, features)
    every = max(1, -(-len(counts) // _MOST_LAYERS))
    shown = f" · one in {every} of {len(counts)} layers" if every > 1 else ""
    counts = counts.iloc[::every]
    layers = list(counts.index)
    sizes = labels["layer"].astype(str).value_counts().reindex(layers)
    rows = [shorten(f"{layer} ({sizes[layer]} units)", _WIDEST) for layer in layers]
    names = [shorten(feature, _LONGEST) for feature in features]
    left = MARGIN + max(map(measure, rows), default=0) + 0.1
    room = (WIDTH - left - _KEY) / max(len(features), 1)
    widest = max(map(measure, names), default=0)
    turn = 0 if widest < room - 0.1 else 30 if room > 0.25 else 90
    size = min(SMALL, 72 * room)
    below = 0.25 + widest * math.sin(math.radians(turn))
    sheet = Sheet(
        HEADING + _ROW * len(layers) + below + FOOTING,
        "Which feature the units follow best",
        f"number of labelled units of each layer (at most 5 % of them false) · colour: share of the layer{shown}",
    )
    top = sheet.height - HEADING
    box = (left, top - _ROW * len(layers), WIDTH - _KEY, top)
    panel = Panel(sheet, box, (-0.5, len(features) - 0.5), (len(layers) - 0.5, -0.5))
    share = counts.div(sizes, axis=0).to_numpy(dtype=float)
    panel.show(share, cmap=SHARE, norm=Normalize(0, 1), interpolation="nearest")
    _write_counts(panel, counts.to_numpy(), share, room)
    panel.name_rows(rows)
    for across, name in enumerate(names):
        x = panel.place([(across, 0)])[0, 0]
        sheet.write(x, panel.bottom - 0.12, name, size=size, align=1.0 if turn else 0.5, turn=turn)
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
