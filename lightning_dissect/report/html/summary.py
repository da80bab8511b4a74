"""What a run found, in plain words."""

from typing import NamedTuple

import numpy as np

from lightning_dissect.report.html.history import History
from lightning_dissect.report.words import FEATURE_WORDS, METRIC_WORDS, describe_comparison
from lightning_dissect.scores import base_feature, best_first


class Found(NamedTuple):
    """What was found of one feature.

    Attributes:
        feature: Its name.
        words: What it is about; empty for a user's own.
        units: How many units carry its label.
        layer: The layer of whose units it labels the largest share.
        layer_units: How many units of that layer it labels.
        layer_size: How many units that layer has.
        best: A sentence about the unit of that layer with the best support.
    """

    feature: str
    words: str
    units: int
    layer: str = ""
    layer_units: int = 0
    layer_size: int = 0
    best: str = ""

    @property
    def share(self) -> str:
        """The share of the layer's units."""
        return _percent(self.layer_units, self.layer_size)


class Summary(NamedTuple):
    """What the page begins with.

    Attributes:
        units: How many units were compared.
        labelled: How many carry a label.
        dead: How many never changed their output.
        false: How many labels are expected to be false, at most.
        found: One entry a feature, the most frequent first.
        layers: For each layer its name, its units, its dead units and the units that each feature labels.
    """

    units: int
    labelled: int
    dead: int
    false: int
    found: list[Found]
    layers: list[tuple[str, int, int, list[int]]]

    @property
    def share(self) -> str:
        """The share of units with a label."""
        return _percent(self.labelled, self.units)


def summarise(history: History) -> Summary:
    """Sum up the last moment of a run."""
    counts = history.counts[-1]
    dead = history.last.dead_units()["layer"].astype(str).value_counts()
    layers = [
        (layer.name, layer.units, int(dead.get(layer.name, 0)), row.tolist())
        for layer, row in zip(history.layers, counts, strict=True)
    ]
    labelled = int(counts.sum())
    found = [_find(history, place, feature) for place, feature in enumerate(history.features)]
    return Summary(
        units=sum(layer.units for layer in history.layers),
        labelled=labelled,
        dead=int(dead.sum()),
        false=round(labelled * history.q),
        found=sorted(found, key=lambda item: -item.units),
        layers=layers,
    )


def list_whole_layers(history: History) -> list[tuple[str, ...]]:
    """What metrics of whole layers found at the last moment: one row a layer, feature and metric, as texts."""
    table = history.last.last()
    rows = best_first(table[table["unit"].isna() & table["score"].notna()])
    return [
        (
            str(row["layer"]),
            str(row["feature"]),
            describe_comparison(str(row["metric"]), str(row["level"])),
            *(f"{row[column]:.3f}" for column in ("score", "null", "effect")),
            f"{row['q_value']:.2g}",
        )
        for row in rows.to_dict("records")
    ]


def _find(history: History, place: int, feature: str) -> Found:
    counts = history.counts[-1][:, place]
    words = FEATURE_WORDS.get(feature, "")
    if not counts.any():
        return Found(feature, words, 0)
    sizes = np.asarray([layer.units for layer in history.layers])
    most = int(np.argmax(counts / sizes))
    layer = history.layers[most]
    best = _best_unit(history, layer.name, feature)
    return Found(feature, words, int(counts.sum()), layer.name, int(counts[most]), layer.units, best)


def _best_unit(history: History, layer: str, feature: str) -> str:
    labels = history.labels
    rows = labels[(labels["layer"] == layer) & (base_feature(labels["feature"]) == feature)]
    best = rows.sort_values(["q_value", "effect"], ascending=[True, False]).iloc[0]
    measure = METRIC_WORDS.get(str(best["metric"]), str(best["metric"]))
    return f"unit {best['unit']}, with a {measure} of {best['score']:.2f} where chance gives {best['null']:.2f}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"
