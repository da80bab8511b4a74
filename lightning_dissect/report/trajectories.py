"""The picture of units over epochs: when does a neuron become a loudness detector?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_dissect.report.panel import Panel, around
from lightning_dissect.report.sheet import FOOTING, HEADING, WIDTH, Sheet, fit, shorten
from lightning_dissect.report.style import COLOURS, FAINT, MARKERS, style
from lightning_dissect.report.words import describe_comparison
from lightning_dissect.scores import Scores, base_feature, order_of_kind

_ACROSS = 2
_UNITS = 3
_CELL, _WORDS, _LEGEND = 2.4, 0.25, 0.8
_KEY = ["layer", "unit", "feature", "metric", "level"]


def choose_followed(labels: pd.DataFrame) -> pd.DataFrame:
    """Choose the units to draw among ``Scores.labels()``: for each feature three, of different layers if possible.

    Units that the feature sets apart come before those that follow several, and these before trivial ones.

    They are compared by one metric at one level, the one that labels most units with that feature: scores of different
    metrics cannot share an axis.

    Returns:
        Rows of the labels, with a column ``base`` for the feature that ``chroma[A]`` belongs to.
    """
    named = labels.dropna(subset="feature")
    named = named.assign(base=base_feature(named["feature"]), order=order_of_kind(named))
    named = named.sort_values(["order", "q_value"], kind="stable")
    used = named.groupby(["base", "metric", "level"], observed=True)["unit"].transform("size")
    usual = named.assign(used=used).sort_values("used", ascending=False, kind="stable").drop_duplicates("base")
    named = named.merge(usual[["base", "metric", "level"]])
    turn = named.groupby(["base", "layer"], observed=True).cumcount()
    chosen: pd.DataFrame = (
        named.assign(turn=turn).sort_values("turn", kind="stable").groupby("base", sort=False).head(_UNITS)
    )
    return chosen.drop(columns=["turn", "order"]).sort_values("base", kind="stable").reset_index(drop=True)


@style()
def trajectories(history: Scores, followed: pd.DataFrame, q: float = 0.05) -> Figure | None:
    """Draw how the scores of a few units came about over the epochs.

    One panel for each feature; a line is the score above chance (``effect``) of a unit that :func:`choose_followed` has
    chosen, a filled point is supported by that epoch's q-value, a hollow one is not.

    Returns:
        A figure that belongs to no pyplot window; ``None`` for fewer than two epochs, or without units.
    """
    table = history.table[history.table["dataloader"] == 0]
    if table["epoch"].nunique() < 2 or followed.empty:
        return None
    table = table[table["unit"].isin(followed["unit"])].sort_values(["epoch", "step"])
    of_unit = table.drop_duplicates(["epoch", *_KEY], keep="last").groupby(_KEY, observed=True)
    features = list(dict.fromkeys(followed["base"]))
    down = -(-len(features) // _ACROSS)
    sheet = Sheet(
        HEADING + _CELL * down + FOOTING,
        "When units came to follow a feature",
        f"score minus chance of the best units of now · filled: q < {q:g} in that epoch",
    )
    epochs = around(table["epoch"].to_numpy(dtype=float))
    for place, feature in enumerate(features):
        units = followed[followed["base"] == feature]
        found = [of_unit.get_group(key) for key in units[_KEY].itertuples(index=False, name=None)]
        left, top = place % _ACROSS * WIDTH / _ACROSS, sheet.height - HEADING - place // _ACROSS * _CELL
        box = (left + 0.55, top - _CELL + _LEGEND, left + WIDTH / _ACROSS - 0.15, top - _WORDS)
        effects = around(np.zeros(1), *(trajectory["effect"].to_numpy() for trajectory in found))
        panel = Panel(sheet, box, epochs, effects)
        words = f"{shorten(feature, 1.6)} ({describe_comparison(*units[['metric', 'level']].iloc[0])})"
        room = panel.right - left - 0.1
        sheet.write(left + 0.1, panel.top + 0.14, words, size=fit(words, room))
        _draw_panel(panel, found, q)
    return sheet.finish()


def _draw_panel(panel: Panel, found: Sequence[pd.DataFrame], q: float) -> None:
    sheet = panel.sheet
    panel.frame(across=6, up=5, whole=True)
    sheet.line(panel.place([(panel.x[0], 0), (panel.x[1], 0)]), FAINT)
    sheet.write(panel.right, panel.bottom - 0.3, "epoch", align=1.0)
    for place, trajectory in enumerate(found):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        words = f"{trajectory['layer'].iloc[0]}, {trajectory['unit'].iloc[0]}"
        panel.draw(trajectory["epoch"], trajectory["effect"], color=colour, lw=1.2, label=words)
        for supported, fill in ((True, colour), (False, "white")):
            part = trajectory[(trajectory["q_value"] < q) == supported]
            look = {"ls": "none", "marker": marker, "ms": 5, "mec": colour, "mfc": fill}
            panel.draw(part["epoch"], part["effect"], label=f"{words}, {'' if supported else 'not '}supported", **look)
        _draw_key(panel, panel.bottom - 0.3 - 0.15 * place, words, colour, marker)


def _draw_key(panel: Panel, y: float, words: str, colour: str, marker: str) -> None:
    sheet, left = panel.sheet, panel.left
    key = Line2D([left, left + 0.1, left + 0.2], [y] * 3, color=colour, lw=1.2, marker=marker, ms=5, markevery=[1])
    key.set_transform(sheet.figure.dpi_scale_trans)
    sheet.add(key)
    sheet.write(left + 0.28, y, shorten(words, panel.right - left - 0.75))
