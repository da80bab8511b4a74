"""The picture of units over epochs: when does a neuron become a loudness detector?"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_dissect.report.style import COLOURS, MARKERS, clear_spines, new_figure, styled
from lightning_dissect.report.words import describe_comparison
from lightning_dissect.scores import Scores, base_feature

_ACROSS = 2
_UNITS = 3
_KEY = ["layer", "unit", "feature", "metric", "level"]


def choose_followed(labels: pd.DataFrame) -> pd.DataFrame:
    """The units whose way is drawn: for each feature three with the best support, of different layers if possible.

    They are compared by one metric at one level, the one that labels most units with that feature: scores of different
    metrics cannot share an axis.

    Args:
        labels: like ``Scores.labels()``.

    Returns:
        Rows of the labels, with a column ``base`` for the feature that ``chroma[A]`` belongs to.
    """
    named = labels.dropna(subset="feature")
    named = named.assign(base=base_feature(named["feature"])).sort_values("q_value", kind="stable")
    used = named.groupby(["base", "metric", "level"], observed=True)["unit"].transform("size")
    usual = named.assign(used=used).sort_values("used", ascending=False, kind="stable").drop_duplicates("base")
    named = named.merge(usual[["base", "metric", "level"]])
    turn = named.groupby(["base", "layer"], observed=True).cumcount()
    chosen: pd.DataFrame = (
        named.assign(turn=turn).sort_values("turn", kind="stable").groupby("base", sort=False).head(_UNITS)
    )
    return chosen.drop(columns="turn").sort_values("base", kind="stable").reset_index(drop=True)


@styled
def trajectories(history: Scores, followed: pd.DataFrame, q: float = 0.05) -> Figure | None:
    """Draw how the scores of a few units came about over the epochs.

    One panel for each feature; a line is a unit's score above chance (``effect``), a filled point is supported by that
    epoch's q-value, a hollow one is not.

    Args:
        history: the scores of several epochs.
        followed: the units, like :func:`choose_followed` gives them.
        q: the false discovery rate that is accepted.

    Returns:
        A figure that belongs to no pyplot window; ``None`` for fewer than two epochs, or without units.
    """
    table = history.table[history.table["dataloader"] == 0]
    if table["epoch"].nunique() < 2 or followed.empty:
        return None
    table = table.sort_values("step").drop_duplicates(["epoch", *_KEY], keep="last")
    features = list(dict.fromkeys(followed["base"]))
    down = -(-len(features) // _ACROSS)
    figure = new_figure(
        0.9 + 2.2 * down,
        "When units came to follow a feature",
        f"score minus chance of the best units of now · filled: q < {q:g} in that epoch",
    )
    panels = figure.subplots(down, _ACROSS, squeeze=False, sharex=True).flatten()
    for panel, feature in zip(panels, features, strict=False):
        units = followed[followed["base"] == feature]
        _draw_panel(panel, units, table, q)
        panel.set_title(f"{feature} ({describe_comparison(*units[['metric', 'level']].iloc[0])})", fontsize=9)
    for panel in panels[len(features) :]:
        panel.set_axis_off()
    for panel in panels[max(0, len(features) - _ACROSS) : len(features)]:
        panel.set_xlabel("epoch", loc="right")
        panel.tick_params(labelbottom=True)
    clear_spines(panels)
    return figure


def _draw_panel(panel: Axes, units: pd.DataFrame, table: pd.DataFrame, q: float) -> None:
    panel.axhline(0, color="0.6", lw=0.8)
    for place, unit in enumerate(units[_KEY].to_dict("records")):
        way = table
        for name, value in unit.items():
            way = way[way[name] == value]
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        panel.plot(way["epoch"], way["effect"], color=colour, lw=1.2, label=f"{unit['layer']}, {unit['unit']}")
        for supported, fill in ((True, colour), (False, "white")):
            part = way[(way["q_value"] < q) == supported]
            panel.plot(part["epoch"], part["effect"], marker, ms=5, color=colour, mfc=fill)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=1, borderpad=0, handlelength=1.2)
