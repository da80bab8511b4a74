"""The picture of a layer: its units × the features."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_dissect.report.style import DIVERGING, UNDEFINED, new_figure, styled
from lightning_dissect.report.words import describe_comparison
from lightning_dissect.scores import base_feature, best_first

_MOST_DOTTED_UNITS = 160
_MOST_COLUMNS = 512
"""Of narrower columns, some would fall between the picture's pixels."""


@styled
def heat_map(table: pd.DataFrame, layer: str, q: float = 0.05) -> Figure:
    """Draw how far each unit of a layer resembles each feature more than chance does.

    One panel for each metric and level: features down, units across, the colour is ``effect``, a dot marks ``q_value <
    q``, grey is undefined. A layer of more than 512 units is drawn in columns of neighbouring units, each with the
    strongest effect of its units; one of more than 160 has no dots.

    Args:
        table: the rows of one run, like ``Scores.last()``.
        layer: name of the layer.
        q: the false discovery rate that is accepted.

    Returns:
        A figure that belongs to no pyplot window.

    Raises:
        ValueError: if the table has no row of that layer with a unit.
    """
    rows = rows_of(table, layer)
    groups = list(rows.groupby(["metric", "level"], observed=True, sort=False))
    heights = [group["feature"].nunique() + 1 for _, group in groups]
    per_column = -(-(int(rows["unit"].max()) + 1) // _MOST_COLUMNS)
    legend = [f"dot: q < {q:g}"] if rows["unit"].nunique() <= _MOST_DOTTED_UNITS else []
    legend += [f"a column is the strongest of {per_column} units"] if per_column > 1 else []
    figure = new_figure(
        1.0 + 0.19 * sum(heights) + 0.3 * len(groups),
        f"{layer}: what its units resemble",
        " · ".join(["colour: score minus chance", *legend, "grey: undefined"]),
    )
    panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for panel, ((metric, level), group) in zip(panels, groups, strict=True):
        _draw_panel(figure, panel, group, q, per_column)
        panel.set_title(describe_comparison(str(metric), str(level)), loc="left")
    panels[-1].set_xlabel(f"unit of {layer}")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def rows_of(table: pd.DataFrame, layer: str) -> pd.DataFrame:
    """The rows of a layer's units, one for each feature, metric and level: the best of ``chroma[A]``, … is ``chroma``.

    Raises:
        ValueError: if there are none.
    """
    rows = table[table["layer"] == layer].dropna(subset="unit")
    if rows.empty:
        raise ValueError(
            f"layer={layer!r} has no units in the table, whose layers are {list(table['layer'].unique())}."
        )
    best = best_first(rows.assign(feature=base_feature(rows["feature"])))
    return best.drop_duplicates(["metric", "level", "feature", "unit"]).sort_index()


def _draw_panel(figure: Figure, panel: Axes, group: pd.DataFrame, q: float, per_column: int) -> None:
    features = list(dict.fromkeys(group["feature"]))
    effect, q_value = (
        group.pivot(index="feature", columns="unit", values=column).loc[features].to_numpy(float, na_value=np.nan)
        for column in ("effect", "q_value")
    )
    units = effect.shape[1]
    values = np.ma.masked_invalid(_strongest(effect, per_column))
    limit = max(float(np.abs(values).max()) if values.count() else 0.0, 1e-3)
    extent = (-0.5, values.shape[1] * per_column - 0.5, len(features) - 0.5, -0.5)
    image = panel.imshow(
        values, aspect="auto", cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest", extent=extent
    )
    panel.set_xlim(-0.5, units - 0.5)
    panel.set_facecolor(UNDEFINED)
    panel.set_yticks(range(len(features)), features)
    if units <= _MOST_DOTTED_UNITS:
        down, across = np.nonzero(q_value < q)
        panel.scatter(across, down, s=5, c="black", linewidths=0)
    figure.colorbar(image, ax=panel, pad=0.01, aspect=8).ax.tick_params(labelsize=7)


def _strongest(effect: np.ndarray, per_column: int) -> np.ndarray:
    """Of (features, units), the value farthest from 0 of each run of units; NaN where all are."""
    missing = -effect.shape[1] % per_column
    runs = np.pad(effect, ((0, 0), (0, missing)), constant_values=np.nan).reshape(len(effect), -1, per_column)
    place = np.abs(np.nan_to_num(runs)).argmax(-1, keepdims=True)
    strongest: np.ndarray = np.take_along_axis(runs, place, -1)[..., 0]
    return np.where(np.isnan(runs).all(-1), np.nan, np.nan_to_num(strongest))
