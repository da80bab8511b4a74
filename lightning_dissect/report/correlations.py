"""The picture of the features among themselves: which of them the clips of a run cannot tell apart."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from lightning_dissect.report.panel import Panel
from lightning_dissect.report.sheet import FOOTING, HEADING, MARGIN, SMALL, WIDTH, Sheet, fit, measure, shorten
from lightning_dissect.report.style import TOGETHER, UNDEFINED, style
from lightning_dissect.scores import base_feature, fold_features

_CELL, _LONGEST = 0.5, 1.8
_FEWEST = 4
"""Clips: of fewer, correlations say nothing."""
_MAP = colormaps[TOGETHER].with_extremes(bad=UNDEFINED)
EXPLANATION = (
    "Two features that go together (near 1) cannot be told apart on these clips. "
    "To tell them apart, add clips in which they differ."
)


def correlate_features(values: Mapping[str, Tensor]) -> pd.DataFrame:
    """Correlate features over clips: the largest of their rows, without sign.

    Args:
        values: By feature, shape (clips, rows); undefined ones are NaN.

    Returns:
        Features × features; NaN on the diagonal, and where fewer than 4 clips have both or one is constant.
    """
    columns = {
        f"{name}[{row}]": column for name, own in values.items() for row, column in enumerate(own.double().numpy().T)
    }
    table = pd.DataFrame(columns)
    size = table.corr(min_periods=_FEWEST).abs()
    base = base_feature(size.columns.to_series())
    largest: pd.DataFrame = size.groupby(base, sort=False).max().T.groupby(base, sort=False).max()
    return largest.mask(np.eye(len(largest), dtype=bool))


@style()
def correlations(values: Mapping[str, Tensor]) -> Figure | None:
    """Draw how far the features go together on the clips of a run.

    Args:
        values: By feature, shape (clips, rows), like ``ClipValues.features()``.

    Returns:
        A figure that belongs to no pyplot window: features × features, the number is the size of their correlation over
        clips, of features with several rows (chroma's twelve) the largest; ``None`` for fewer than two features.
    """
    if len(values) < 2:
        return None
    found = correlate_features(values)
    names = [shorten(name, _LONGEST) for name in fold_features(found.index)]
    widest = max(map(measure, names))
    left = MARGIN + widest + 0.1
    cell = min(_CELL, (WIDTH - MARGIN - left) / len(names))
    turn = 0 if widest < cell - 0.05 else 40 if cell > 0.25 else 90
    below = 0.25 + widest * math.sin(math.radians(turn))
    sheet = Sheet(
        HEADING + 0.4 + cell * len(names) + below + FOOTING,
        "How far features go together on these clips",
        f"size of the correlation over {len(next(iter(values.values())))} clips · of a feature's rows (the twelve of "
        "chroma) the largest",
    )
    top = sheet.height - HEADING
    for line in EXPLANATION.split(". ", 1):
        words = line.rstrip(".") + "."
        sheet.write(MARGIN, top - 0.02, words, size=fit(words, WIDTH - 2 * MARGIN, 10.0))
        top -= 0.2
    panel = Panel(
        sheet,
        (left, top - cell * len(names), left + cell * len(names), top),
        (-0.5, len(names) - 0.5),
        (len(names) - 0.5, -0.5),
    )
    matrix = found.to_numpy()
    panel.show(np.ma.masked_invalid(matrix), cmap=_MAP, norm=Normalize(0, 1), interpolation="nearest", label="r")
    panel.name_rows(names)
    _write_numbers(panel, matrix, cell)
    panel.name_columns(names, min(SMALL, 72 * cell), turn)
    return sheet.finish()


def _write_numbers(panel: Panel, matrix: np.ndarray, cell: float) -> None:
    size = fit("0.00", cell - 0.03)
    for row, column in np.ndindex(matrix.shape):
        x, y = panel.place([(column, row)])[0]
        value = matrix[row, column]
        words = "" if row == column else f"{value:.2f}" if np.isfinite(value) else "–"
        panel.sheet.write(x, y, words, size=size, align=0.5, colour="white" if value > 0.6 else "black")
