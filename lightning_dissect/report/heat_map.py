"""The picture of a layer: its units × the features."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lightning_dissect.report.matrices import Matrices, matrices_of
from lightning_dissect.report.panel import TICK_SIZE, Panel, ticks
from lightning_dissect.report.sheet import FOOTING, HEADING, MARGIN, WIDTH, Sheet, measure, shorten
from lightning_dissect.report.style import DIVERGING, FAINT, UNDEFINED, style

_MOST_DOTTED_UNITS = 160
_MOST_COLUMNS = 512
"""Of narrower columns, some would fall between the picture's pixels."""
_ROW, _WORDS, _GAP, _TICKS = 0.19, 0.24, 0.06, 0.4
_MAP = colormaps[DIVERGING].with_extremes(bad=UNDEFINED)
_COLOURS = _MAP(np.linspace(0, 1, 128)[None], bytes=True)


@style()
def heat_map(table: pd.DataFrame, layer: str, q: float = 0.05) -> Figure:
    """Draw how far each unit of a layer resembles each feature more than chance does.

    One panel for each metric and level: features down, units across, the colour is ``effect``, a dot marks ``q_value <
    q``, grey is undefined. A layer of more than 512 units is drawn in columns of neighbouring units, each with the
    strongest effect of its units; one of more than 160 has no dots.
    """
    matrices = matrices_of(table, layer, ("effect", "q_value"))
    units = matrices[0].values["effect"].shape[1]
    per_column = -(-units // _MOST_COLUMNS)
    legend = [f"dot: q < {q:g}"] if units <= _MOST_DOTTED_UNITS else []
    legend += [f"a column is the strongest of {per_column} units"] if per_column > 1 else []
    rows = sum(len(part.features) for part in matrices)
    sheet = Sheet(
        HEADING + _ROW * rows + (_WORDS + _GAP) * len(matrices) + _TICKS + FOOTING,
        f"{layer}: what its units resemble",
        " · ".join(["colour: score minus chance", *legend, "grey: undefined"]),
    )
    drawn = -(-units // per_column) * per_column
    left = MARGIN + min(1.8, max(measure(feature) for part in matrices for feature in part.features)) + 0.1
    top = sheet.height - HEADING
    for part in matrices:
        bottom = top - _WORDS - _ROW * len(part.features)
        box = (left, bottom, WIDTH - MARGIN, top - _WORDS)
        panel = Panel(sheet, box, (-0.5, drawn - 0.5), (len(part.features) - 0.5, -0.5))
        _draw_panel(panel, part, per_column, q)
        top = bottom - _GAP
    panel.mark_x(*ticks((0, units - 1), 8, whole=True))
    words = shorten(f"unit of {layer}", WIDTH - MARGIN - left)
    sheet.write((left + WIDTH - MARGIN) / 2, panel.bottom - 0.3, words, align=0.5)
    return sheet.finish()


def _draw_panel(panel: Panel, part: Matrices, per_column: int, q: float) -> None:
    sheet = panel.sheet
    effect = part.values["effect"]
    units = effect.shape[1]
    values = np.ma.masked_invalid(_strongest(effect, per_column))
    limit = max(float(np.abs(values).max()) if values.count() else 0.0, 1e-3)
    panel.show(values, cmap=_MAP, norm=Normalize(-limit, limit), interpolation="nearest", label=part.words)
    left, right, bottom, top = panel.left, panel.right, panel.bottom, panel.top
    sheet.line([(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)], FAINT)
    panel.name_rows(part.features)
    if units <= _MOST_DOTTED_UNITS:
        down, across = np.nonzero(part.values["q_value"] < q)
        panel.draw(across, down, ls="none", marker="o", ms=2.2, color="black", mew=0, label=part.words)
    sheet.write(panel.left, panel.top + 0.1, part.words)
    _draw_key(panel, limit)


def _draw_key(panel: Panel, limit: float) -> None:
    """What the colours mean, at the upper right."""
    right, middle = panel.right - 0.45, panel.top + 0.1
    key = Panel(panel.sheet, (right - 0.9, middle - 0.05, right, middle + 0.05))
    key.show(_COLOURS, interpolation="nearest")
    panel.sheet.write(key.left - 0.05, middle, f"−{limit:.2g}", size=TICK_SIZE, align=1.0)
    panel.sheet.write(right + 0.05, middle, f"{limit:.2g}", size=TICK_SIZE)


def _strongest(effect: np.ndarray, per_column: int) -> np.ndarray:
    """Of (features, units), the value farthest from 0 of each run of units; NaN where all are."""
    missing = -effect.shape[1] % per_column
    runs = np.pad(effect, ((0, 0), (0, missing)), constant_values=np.nan).reshape(len(effect), -1, per_column)
    place = np.abs(np.nan_to_num(runs)).argmax(-1, keepdims=True)
    strongest: np.ndarray = np.take_along_axis(runs, place, -1)[..., 0]
    return np.where(np.isnan(runs).all(-1), np.nan, np.nan_to_num(strongest))
