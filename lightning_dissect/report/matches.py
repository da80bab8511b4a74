"""The picture of SIFT matches between an activation map and a feature map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from lightning_dissect.metrics import SIFTSimilarity, SimilarityMetric
from lightning_dissect.metrics.functional.sift import sift_matches
from lightning_dissect.report.panel import Panel, ticks
from lightning_dissect.report.sheet import Sheet, shorten
from lightning_dissect.report.style import COLOURS, MAP, style
from lightning_dissect.run.drawn_maps import DrawnMaps
from lightning_dissect.scores import best_first


@style()
def draw_matches(
    activation: Tensor,
    feature: Tensor,
    points: tuple[Tensor, Tensor],
    titles: tuple[str, str],
    caption: tuple[str, str],
) -> Figure:
    """Draw two maps beside each other and a line for each pair of matched key points.

    Args:
        activation: (frequency, time).
        feature: (frequency', time').
        points: The matched points of each map, (matches, 2) each, as (x, y) in pixels of its map.
        titles: The titles of the two maps.
        caption: What stands over and under both.

    Returns:
        A figure that belongs to no pyplot window.
    """
    sheet = Sheet(3.3, *caption)
    panels = []
    for start, image, title in zip((0.5, 4.0), (activation, feature), titles, strict=True):
        values = image.detach().cpu().float().numpy()
        height, width = values.shape
        box = (start, 0.8, start + 2.9, 2.6)
        panel = Panel(sheet, box, (-0.5, width - 0.5), (-0.5, height - 0.5))
        panel.show(values, origin="lower", cmap=MAP)
        panel.mark_x(*ticks((0, width - 1), 4, whole=True))
        panel.mark_y(*ticks((0, height - 1), 4, whole=True))
        sheet.write(start + 1.45, 2.74, shorten(title, 2.9), align=0.5)
        sheet.write(start + 1.45, 0.48, "time (frames)", align=0.5)
        panels.append(panel)
    sheet.write(0.12, 1.7, "frequency (bins)", align=0.5, turn=90)
    _connect(panels, points)
    return sheet.finish()


def _connect(panels: Sequence[Panel], points: tuple[Tensor, Tensor]) -> None:
    """Draw a line from panel to panel for each pair of points, and a ring at its ends."""
    sides = [np.asarray(side.detach().cpu().float().numpy()) for side in points]
    lines = np.stack([panel.place(side) for panel, side in zip(panels, sides, strict=True)], axis=1)
    for place, ends in enumerate(lines):
        panels[0].sheet.line(ends, COLOURS[place % len(COLOURS)], 1.0)
    for place, colour in enumerate(COLOURS):
        for panel, side in zip(panels, sides, strict=True):
            rings = side[place :: len(COLOURS)]
            if len(rings):
                panel.draw(*rings.T, ls="none", marker="o", ms=5, mfc="none", mec=colour, mew=1.2)


def best_matches(
    table: pd.DataFrame, maps: Mapping[str, DrawnMaps], metrics: Sequence[SimilarityMetric]
) -> dict[str, Figure]:
    """Draw, for each layer, the SIFT matches of the unit and the feature that SIFT supports best.

    Args:
        table: The rows of one run.
        maps: The maps of a few clips by layer; the one with the most matches is drawn.
        metrics: The metrics of the run.

    Returns:
        A figure by layer; none without SIFT, and none of layers without maps or without a defined score.
    """
    sift = next((metric for metric in metrics if isinstance(metric, SIFTSimilarity) and metric.name == "sift"), None)
    rows = table[(table["metric"] == "sift") & table["p_value"].notna() & table["layer"].isin(list(maps))]
    if sift is None or rows.empty:
        return {}
    best = best_first(rows).drop_duplicates("layer")
    return {str(row.layer): _draw_best(row, maps[str(row.layer)], sift) for row in best.itertuples()}


def _draw_best(row: Any, maps: DrawnMaps, sift: SIFTSimilarity) -> Figure:
    settings = (sift.num_features, sift.ratio, sift.tolerance, sift.min_size, sift.max_size)
    pairs = list(zip(maps.activations[:, row.unit], maps.features[row.feature][:, 0], strict=True))
    matched = [sift_matches(activation, feature, *settings) for activation, feature in pairs]
    found, (activation, feature) = max(zip(matched, pairs, strict=True), key=lambda item: len(item[0].distance))
    count = len(found.distance)
    caption = (
        f"{row.layer}, unit {row.unit} beside {row.feature}",
        f"{count} key point{'s' * (count != 1)} match in this clip · over {row.n_clips} clips: score {row.score:.2f}, "
        f"chance {row.null:.2f}, q = {row.q_value:.2g}",
    )
    points = (found.points_a, found.points_b)
    return draw_matches(activation, feature, points, (f"activation of unit {row.unit}", str(row.feature)), caption)
