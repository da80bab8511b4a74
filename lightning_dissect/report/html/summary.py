"""What a run found, in plain words."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lightning_dissect.report.html.history import History, Layer
from lightning_dissect.report.words import FEATURE_WORDS, METRIC_WORDS, describe_comparison
from lightning_dissect.scores import base_feature, best_first, explained_variance


class Found(NamedTuple):
    """What was found of one feature.

    Attributes:
        feature: Its name.
        words: What it is about; empty for a user's own.
        units: How many units it sets apart.
        shared: How many units follow it or another feature that cannot be told from it.
        layer: The layer of whose units it sets the largest share apart; ``None`` where it sets none apart.
        layer_units: How many units of that layer it sets apart.
        best: Words about the one of them with the best support.
    """

    feature: str
    words: str
    units: int = 0
    shared: int = 0
    layer: Layer | None = None
    layer_units: int = 0
    best: str = ""


def list_found(history: History) -> list[Found]:
    """What was found of each feature at the last moment of a run, the one that sets most units apart first."""
    found = [_find(history, place, feature) for place, feature in enumerate(history.features)]
    return sorted(found, key=lambda item: (-item.units, -item.shared))


def list_whole_layers(history: History) -> list[dict[Any, Any]]:
    """What metrics of whole layers found at the last moment: the rows of the table, best supported first."""
    table = history.last.last()
    rows = best_first(table[table["unit"].isna() & table["score"].notna()])
    compared = [describe_comparison(*pair) for pair in zip(rows["metric"], rows["level"], strict=True)]
    return rows.assign(compared=compared).to_dict("records")


def _find(history: History, place: int, feature: str) -> Found:
    counts = history.counts[-1][:, place]
    words, shared = FEATURE_WORDS.get(feature, ""), _count_shared(history.labels, feature)
    if not counts.any():
        return Found(feature, words, shared=shared)
    most = int(np.argmax(counts / [layer.units for layer in history.layers]))
    layer = history.layers[most]
    return Found(feature, words, counts.sum(), shared, layer, counts[most], _best_unit(history, layer.name, feature))


def _count_shared(labels: pd.DataFrame, feature: str) -> int:
    """Units that follow a feature or others, which cannot be told apart."""
    shared = labels[labels["kind"] == "shared"]
    named = [(str(label), *rivals) for label, rivals in zip(shared["feature"], shared["rivals"], strict=True)]
    return sum(any(name.partition("[")[0] == feature for name in names) for names in named)


def _best_unit(history: History, layer: str, feature: str) -> str:
    labels = history.labels[history.labels["kind"] == "distinct"]
    rows = labels[(labels["layer"] == layer) & (base_feature(labels["feature"]) == feature)]
    best = rows.assign(r2=explained_variance(rows), size=-rows["effect"].abs()).sort_values(["q_value", "size"]).iloc[0]
    measure = METRIC_WORDS.get(str(best["metric"]), str(best["metric"]))
    words = f"unit {best['unit']}, by {measure}: {best['score']:.2f} where chance gives {best['null']:.2f}"
    words += "" if pd.isna(best["r2"]) else f" (r² {best['r2']:.2f})"
    words += "" if pd.isna(best["unique"]) else f", {best['unique']:.2f} with all other features held fixed"
    return words + ("; learned" if not pd.isna(best["learned"]) and best["learned"] else "")
