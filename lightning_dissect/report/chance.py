"""The picture of a layer's scores against chance (Slizovskaia 2019, figures 3 and 4)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t

from lightning_dissect.report.heat_map import rows_of
from lightning_dissect.report.style import CHANCE, OBSERVED, clear_spines, new_figure, styled
from lightning_dissect.report.words import describe_comparison

_BINS = 24


@styled
def against_chance(table: pd.DataFrame, layer: str, q: float = 0.05) -> Figure:
    """Draw how the scores of a layer's units are distributed, and how they would be by chance.

    One panel for each feature (across) and each metric and level (down), in which every unit counts once: with its best
    supported row, where a feature has several (``chroma[A]``, …). The outline is ``null``; for Pearson's correlation
    over clips, whose null is 0 in the mean, it is the distribution of correlations of so many unrelated clips.

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
    features = list(dict.fromkeys(rows["feature"]))
    groups = list(rows.groupby(["metric", "level"], observed=True, sort=False))
    figure = new_figure(
        0.9 + 1.25 * len(groups),
        f"{layer}: scores against chance",
        f"blue: units by score · orange line: by chance · number: units with q < {q:g}",
        fixed=True,
    )
    grid = figure.subplots(len(groups), len(features), squeeze=False, sharex="row", sharey="row")
    for panels, ((metric, level), group) in zip(grid, groups, strict=True):
        edges = _edges(group)
        for panel, feature in zip(panels, features, strict=True):
            _draw_panel(panel, group[group["feature"] == feature], edges, q)
        panels[0].set_ylabel("units")
        panels[len(features) // 2].set_xlabel(describe_comparison(str(metric), str(level)), fontsize=8.5)
    for panel, feature in zip(grid[0], features, strict=True):
        panel.set_title(feature)
    clear_spines(grid.flat)
    return figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, edges: list[float], q: float) -> None:
    panel.locator_params(nbins=3)
    panel.tick_params(labelsize=7)
    if rows.empty:
        panel.text(0.5, 0.5, "not compared", transform=panel.transAxes, ha="center", va="center", color="0.5")
        return
    # One artist each: bars by the hundred take a second to draw.
    panel.stairs(np.histogram(rows["score"].dropna(), edges)[0], edges, fill=True, color=OBSERVED, alpha=0.75)
    panel.stairs(np.histogram(_by_chance(rows), edges)[0], edges, color=CHANCE, lw=1.5)
    panel.text(0.97, 0.93, str((rows["q_value"] < q).sum()), transform=panel.transAxes, ha="right", va="top")


def _by_chance(rows: pd.DataFrame) -> np.ndarray:
    """A score by chance for each unit that has one."""
    known = rows.dropna(subset=["score", "null"])
    null: np.ndarray = known["null"].to_numpy()
    if null.size and not null.any():
        quantiles = t.ppf((np.arange(len(known)) + 0.5) / len(known), known["n_clips"].to_numpy() - 2)
        null = quantiles / np.sqrt(known["n_clips"].to_numpy() - 2 + quantiles**2)
    finite: np.ndarray = null[np.isfinite(null)]
    return finite


def _edges(rows: pd.DataFrame) -> list[float]:
    values = np.concatenate([rows["score"].dropna(), _by_chance(rows)])
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = max(0.02 * (high - low), 1e-6)
    edges: list[float] = np.linspace(low - margin, high + margin, _BINS + 1).tolist()
    return edges
