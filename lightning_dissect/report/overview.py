"""The picture of a network: its layers × the features that their units are labelled with."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lightning_dissect.scores import count_labels


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
    figure = Figure(figsize=(3.2 + 0.95 * len(features), 1.8 + 0.36 * len(layers)), dpi=140, layout="constrained")
    panel = figure.subplots()
    share = counts.div(sizes, axis=0).to_numpy(dtype=float)
    image = panel.imshow(share, aspect="auto", cmap="Blues", vmin=0, vmax=1)
    panel.set_xticks(range(len(features)), features, rotation=30, ha="right")
    panel.set_yticks(range(len(layers)), [f"{layer} ({sizes[layer]} units)" for layer in layers])
    for row, column in np.ndindex(share.shape):
        colour = "white" if share[row, column] > 0.6 else "black"
        panel.text(column, row, str(counts.iat[row, column]), ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=panel, label="share of the layer's units", pad=0.02)
    figure.suptitle("Which feature the units of each layer follow best\nnumber of labelled units (at most 5 % false)")
    return figure
