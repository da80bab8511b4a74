"""The picture of a network: its layers × the features that their units are labelled with."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lightning_dissect.report.style import SHARE, new_figure, styled
from lightning_dissect.scores import count_labels


@styled
def overview(labels: pd.DataFrame, features: list[str]) -> Figure:
    """Draw how many units of each layer are labelled with each feature.

    Args:
        labels: one row a unit, like ``Scores.labels()``.
        features: names of the features, in their order; the rows of one (``chroma[A]``, …) count together.

    Returns:
        A figure that belongs to no pyplot window: layers from the input down, features across, the colour is the share
        of the layer's units, the number in a cell their count.
    """
    counts = count_labels(labels, features)
    layers = list(counts.index)
    sizes = labels["layer"].astype(str).value_counts().reindex(layers)
    figure = new_figure(
        1.6 + 0.34 * len(layers),
        "Which feature the units follow best",
        "number of labelled units of each layer (at most 5 % of them false) · colour: share of the layer",
    )
    panel = figure.subplots()
    share = counts.div(sizes, axis=0).to_numpy(dtype=float)
    image = panel.imshow(share, aspect="auto", cmap=SHARE, vmin=0, vmax=1)
    panel.set_xticks(range(len(features)), features, rotation=30, ha="right")
    panel.set_yticks(range(len(layers)), [f"{layer} ({sizes[layer]} units)" for layer in layers])
    for row, column in np.ndindex(share.shape):
        colour = "white" if share[row, column] > 0.6 else "black"
        panel.text(column, row, str(counts.iat[row, column]), ha="center", va="center", color=colour)
    figure.colorbar(image, ax=panel, label="share", pad=0.02)
    return figure
