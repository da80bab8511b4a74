"""The picture of a layer: its units × the features."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_dissect.scores import base_feature, best_first

_METRIC_TITLES = {
    "pearson": "Correlation (Pearson)",
    "euclidean": "Nearness (Euclidean)",
    "sift": "Matching shapes (SIFT)",
}
_LEVEL_TITLES = {"clip": "one value a clip", "frame": "frame by frame", "map": "frequency × time"}
_MOST_DOTTED_UNITS = 160


def heat_map(table: pd.DataFrame, layer: str, q: float = 0.05) -> Figure:
    """Draw how far each unit of a layer resembles each feature more than chance does.

    One panel for each metric and level: features down, units across, the colour is ``effect``, a dot marks ``q_value <
    q``, grey is undefined.

    Args:
        table: the rows of one run, like ``Scores.last()``.
        layer: name of the layer.
        q: the false discovery rate that is accepted.

    Returns:
        A figure that belongs to no pyplot window.

    Raises:
        ValueError: if the table has no row of that layer with a unit.
    """
    rows = table[table["layer"] == layer].dropna(subset="unit")
    if rows.empty:
        raise ValueError(
            f"layer={layer!r} has no units in the table, whose layers are {list(table['layer'].unique())}."
        )
    rows = best_first(rows.assign(feature=base_feature(rows["feature"]))).drop_duplicates(
        ["metric", "level", "feature", "unit"]
    )
    groups = list(rows.sort_index().groupby(["metric", "level"], observed=True, sort=False))
    heights = [group["feature"].nunique() + 1 for _, group in groups]
    figure = Figure(figsize=(8, 1.3 + 0.22 * sum(heights) + 0.32 * len(groups)), dpi=140, layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for panel, ((metric, level), group) in zip(panels, groups, strict=True):
        _draw_panel(figure, panel, group, q)
        title = _METRIC_TITLES.get(str(metric), str(metric))
        panel.set_title(f"{title}, {_LEVEL_TITLES[str(level)]}", fontsize=11, loc="left")
    panels[-1].set_xlabel(f"unit of {layer}")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{layer}: what its units resemble\ncolour: score minus chance · dot: q < {q:g} · grey: undefined")
    return figure


def _draw_panel(figure: Figure, panel: Axes, group: pd.DataFrame, q: float) -> None:
    features = list(dict.fromkeys(group["feature"]))
    effect, q_value = (
        group.pivot(index="feature", columns="unit", values=column).loc[features].to_numpy(float, na_value=np.nan)
        for column in ("effect", "q_value")
    )
    values = np.ma.masked_invalid(effect)
    limit = max(float(np.abs(values).max()) if values.count() else 0.0, 1e-3)
    image = panel.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    panel.set_facecolor("0.85")
    panel.set_yticks(range(len(features)), features, fontsize=9)
    if values.shape[1] <= _MOST_DOTTED_UNITS:
        down, across = np.nonzero(q_value < q)
        panel.scatter(across, down, s=5, c="black", linewidths=0)
    figure.colorbar(image, ax=panel, pad=0.01, aspect=8).ax.tick_params(labelsize=7)
