"""The picture of a layer's best unit for each feature, clip by clip (Slizovskaia 2019, figure 2)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lightning_dissect.report.panel import Panel, around
from lightning_dissect.report.sheet import FOOTING, HEADING, WIDTH, Sheet, shorten
from lightning_dissect.report.style import OBSERVED, style
from lightning_dissect.run.clip_values import ClipValues
from lightning_dissect.scores import base_feature, best_of_each

_ACROSS = 3
_CELL, _WORDS, _LABELS = 2.1, 0.25, 0.5
_LEFT, _RIGHT = 0.6, 0.1


@style()
def scatter(
    table: pd.DataFrame, layer: str, values: ClipValues, units: Mapping[str, str] | None = None, q: float = 0.05
) -> Figure | None:
    """Draw, for each feature, the activation of the unit that follows it best against the feature, one dot a clip.

    The unit is the one with the best supported score over clips, ``pearson`` where there is one. Supported units
    (q-value below ``q``) are blue, others grey. The values are those of some clips of the same run; ``units`` has the
    physical unit of each feature, for its axis.

    Returns:
        A figure that belongs to no pyplot window; ``None`` for a layer without scores over clips, or without values.
    """
    best = _best_rows(table, layer)
    features = values.features()
    if best.empty or layer not in values.layers or len(values.units(layer)) != len(next(iter(features.values()))):
        return None
    down = -(-len(best) // _ACROSS)
    activations = values.units(layer).numpy()
    sheet = Sheet(
        HEADING + _CELL * down + FOOTING,
        f"{layer}: the unit that follows each feature best",
        f"{len(activations)} of {best['n_clips'].max()} clips, one dot each · grey: no support (q ≥ {q:g})",
    )
    for place, row in enumerate(best.to_dict("records")):
        left, top = place % _ACROSS * WIDTH / _ACROSS, sheet.height - HEADING - place // _ACROSS * _CELL
        box = (left + _LEFT, top - _CELL + _LABELS, left + WIDTH / _ACROSS - _RIGHT, top - _WORDS)
        clips = features[row["base"]].numpy()[:, row["place"]], activations[:, row["unit"]]
        panel = Panel(sheet, box, around(clips[0]), around(clips[1]))
        unit = (units or {}).get(row["base"], "")
        _draw_panel(panel, clips, row, f"{row['feature']} ({unit})" if unit else row["feature"], q)
        if place % _ACROSS == 0:
            sheet.write(left + 0.12, (panel.top + panel.bottom) / 2, "activation", align=0.5, turn=90)
    return sheet.finish()


def _best_rows(table: pd.DataFrame, layer: str) -> pd.DataFrame:
    """The row over clips with the best support for each feature, with ``base`` and ``place`` (of ``chroma[A]``)."""
    here = (table["layer"] == layer) & (table["level"] == "clip") & (table["dataloader"] == 0) & table["unit"].notna()
    rows = table[here.to_numpy(dtype=bool)]
    codes, names = pd.factorize(rows["feature"])
    bases = base_feature(pd.Series(names))
    rows = rows.assign(base=bases.to_numpy()[codes], place=bases.groupby(bases).cumcount().to_numpy()[codes])
    rows = rows[rows["p_value"].notna().to_numpy()]
    correlated = (rows["metric"] == "pearson").to_numpy()
    rows = rows[correlated] if correlated.any() else rows
    return best_of_each(rows, ["base"])


def _draw_panel(
    panel: Panel, clips: tuple[np.ndarray, np.ndarray], row: Mapping[Any, Any], words: str, q: float
) -> None:
    supported = row["q_value"] < q
    panel.frame(across=4, up=5)
    look = {"mfc": OBSERVED if supported else "0.6", "mec": "white", "mew": 0.4, "alpha": 0.85}
    panel.draw(*clips, ls="none", marker="o", ms=4, label=row["base"], **look)
    name = "r" if row["metric"] == "pearson" else row["metric"]
    title = f"unit {row['unit']}: {name} = {row['score']:.2f}"
    middle, room = (panel.left + panel.right) / 2, panel.right - panel.left + 0.3
    panel.sheet.write(middle, panel.top + 0.12, shorten(title, room), align=0.5, colour="black" if supported else "0.4")
    panel.sheet.write(middle, panel.bottom - 0.32, shorten(words, room), align=0.5)
