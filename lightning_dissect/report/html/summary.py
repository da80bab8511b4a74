"""What a run found, in plain words."""

from typing import Any, NamedTuple

import numpy as np

from lightning_dissect.report.html.history import History, Layer
from lightning_dissect.report.words import FEATURE_WORDS, METRIC_WORDS, describe_comparison
from lightning_dissect.scores import base_feature, best_first


class Found(NamedTuple):
    """What was found of one feature.

    Attributes:
        feature: Its name.
        words: What it is about; empty for a user's own.
        units: How many units carry its label.
        layer: The layer of whose units it labels the largest share; ``None`` where it labels none.
        layer_units: How many units of that layer it labels.
        best: A sentence about the unit of that layer with the best support.
    """

    feature: str
    words: str
    units: int = 0
    layer: Layer | None = None
    layer_units: int = 0
    best: str = ""


def list_found(history: History) -> list[Found]:
    """What was found of each feature at the last moment of a run, the most frequent label first."""
    found = [_find(history, place, feature) for place, feature in enumerate(history.features)]
    return sorted(found, key=lambda item: -item.units)


def list_whole_layers(history: History) -> list[dict[Any, Any]]:
    """What metrics of whole layers found at the last moment: the rows of the table, best supported first."""
    table = history.last.last()
    rows = best_first(table[table["unit"].isna() & table["score"].notna()])
    compared = [describe_comparison(*pair) for pair in zip(rows["metric"], rows["level"], strict=True)]
    return rows.assign(compared=compared).to_dict("records")


def _find(history: History, place: int, feature: str) -> Found:
    counts = history.counts[-1][:, place]
    words = FEATURE_WORDS.get(feature, "")
    if not counts.any():
        return Found(feature, words)
    most = int(np.argmax(counts / [layer.units for layer in history.layers]))
    layer = history.layers[most]
    return Found(feature, words, counts.sum(), layer, counts[most], _best_unit(history, layer.name, feature))


def _best_unit(history: History, layer: str, feature: str) -> str:
    labels = history.labels
    rows = labels[(labels["layer"] == layer) & (base_feature(labels["feature"]) == feature)]
    best = rows.sort_values(["q_value", "effect"], ascending=[True, False]).iloc[0]
    measure = METRIC_WORDS.get(str(best["metric"]), str(best["metric"]))
    return f"unit {best['unit']}, with a {measure} of {best['score']:.2f} where chance gives {best['null']:.2f}"
