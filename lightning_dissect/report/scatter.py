"""The picture of a layer's best unit for each feature, clip by clip (Slizovskaia 2019, figure 2)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_dissect.clip_values import ClipValues
from lightning_dissect.report.style import OBSERVED, clear_spines, new_figure, styled
from lightning_dissect.scores import base_feature, best_first

_ACROSS = 3


@styled
def scatter(
    table: pd.DataFrame, layer: str, values: ClipValues, units: Mapping[str, str] | None = None, q: float = 0.05
) -> Figure | None:
    """Draw, for each feature, the activation of the unit that follows it best against the feature, one dot a clip.

    The unit is the one with the best supported score over clips, ``pearson`` where there is one. Supported units
    (q-value below ``q``) are blue, others grey.

    Args:
        table: the rows of one run, like ``Scores.last()``.
        layer: name of the layer.
        values: some clips of the same run.
        units: the physical unit of each feature, for its axis.
        q: the false discovery rate that is accepted.

    Returns:
        A figure that belongs to no pyplot window; ``None`` for a layer without scores over clips, or without values.
    """
    rows = table[(table["layer"] == layer) & (table["level"] == "clip") & (table["dataloader"] == 0)]
    rows = rows.assign(base=base_feature(rows["feature"])).dropna(subset="unit")
    # The place of chroma[A] among the rows of chroma.
    rows["place"] = rows.groupby(["unit", "metric", "base"], observed=True).cumcount()
    rows = rows.dropna(subset="p_value")
    if (rows["metric"] == "pearson").any():
        rows = rows[rows["metric"] == "pearson"]
    features = values.features()
    if rows.empty or layer not in values.layers or len(values.units(layer)) != len(next(iter(features.values()))):
        return None
    best = best_first(rows).drop_duplicates("base").sort_index()
    down = -(-len(best) // _ACROSS)
    activations = values.units(layer).numpy()
    figure = new_figure(
        0.9 + 2.15 * down,
        f"{layer}: the unit that follows each feature best",
        f"{len(activations)} of {best['n_clips'].max()} clips, one dot each · grey: no support (q ≥ {q:g})",
    )
    panels = figure.subplots(down, _ACROSS, squeeze=False).flatten()
    for panel, row in zip(panels, best.to_dict("records"), strict=False):
        _draw_panel(panel, features[row["base"]].numpy()[:, row["place"]], activations[:, row["unit"]], row, q)
        unit = (units or {}).get(row["base"], "")
        panel.set_xlabel(f"{row['feature']} ({unit})" if unit else row["feature"])
    for panel in panels[len(best) :]:
        panel.set_axis_off()
    clear_spines(panels)
    return figure


def _draw_panel(panel: Axes, feature: np.ndarray, unit: np.ndarray, row: Mapping[Any, Any], q: float) -> None:
    supported = row["q_value"] < q
    panel.plot(feature, unit, "o", ms=4, mfc=OBSERVED if supported else "0.6", mec="white", mew=0.4, alpha=0.85)
    name = "r" if row["metric"] == "pearson" else row["metric"]
    panel.set_title(f"unit {row['unit']}: {name} = {row['score']:.2f}", color="black" if supported else "0.4")
    panel.locator_params(nbins=4)
    if panel.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        panel.set_ylabel("activation")
