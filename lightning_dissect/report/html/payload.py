"""Data for the page, small enough to travel in it: typed arrays and text, compressed, in base64."""

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_dissect.report.html.history import History, Layer
from lightning_dissect.scores import explained_variance, fold_features, kinds_of, order_of_kind

_ROUNDED = ["score", "null", "effect", "r2", "unique"]
PACKING = {
    "steps": 24,  # between no effect and a column's largest one, over epochs: finer than colours can show
    "undefined": -128,
    "exactSteps": 32_000,  # the same for the last epoch, whose numbers are read
    "exactUndefined": -32_768,
    "qSteps": 10,  # of log10(q): the q-value of a unit is told to a tenth of a power of ten
    "qUndefined": 255,
    "largestPower": 25,  # smaller q-values are shown as this power of ten
}
"""How numbers are packed, as the page's script reads it."""


def pack(data: bytes | str) -> str:
    """Compress data and write it in base64, which no markup can be hidden in.

    Example:
        >>> gzip.decompress(base64.b64decode(pack("</script>")))
        b'</script>'
    """
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode()


def find_limits(history: History) -> list[float]:
    """What the strongest colour stands for in each column: the largest effect of its metric and level, without sign."""
    limits = dict.fromkeys(history.comparisons, 1e-3)
    for layer in history.layers:
        largest = np.nanmax(np.abs(layer.effect), axis=(0, 2), initial=1e-3)
        for column, value in zip(layer.columns, largest, strict=True):
            pair = history.columns[column][1:]
            limits[pair] = max(limits[pair], float(value))
    return [limits[column[1:]] for column in history.columns]


def pack_history(layer: Layer, limits: Sequence[float]) -> str:
    """A layer's effects at all moments as int8, shape (moments, columns, units), in steps of its columns' limits."""
    scale = np.asarray([limits[column] for column in layer.columns], np.float32)[:, None] / PACKING["steps"]
    steps = np.where(np.isnan(layer.effect), PACKING["undefined"], np.round(layer.effect / scale))
    return pack(steps.astype(np.int8).tobytes())


def pack_last(layer: Layer) -> dict[str, Any]:
    """A layer's last moment: effect and score as int16, the q-value as uint8, each of shape (columns, units).

    Returns:
        ``data`` (the three, one after another) and ``limits``, what the largest number of steps of effect and score
        stands for.
    """
    values = np.stack([layer.effect[-1], layer.score])
    limits = np.nanmax(np.abs(values), axis=(1, 2), initial=1e-3)
    steps = np.round(values / limits[:, None, None] * PACKING["exactSteps"])
    steps = np.where(np.isnan(steps), PACKING["exactUndefined"], steps).astype("<i2")
    smallest = 10.0 ** -PACKING["largestPower"]
    powers = np.round(-np.log10(np.maximum(layer.q_value, smallest)) * PACKING["qSteps"])
    powers = np.where(np.isnan(powers), PACKING["qUndefined"], powers).astype(np.uint8)
    return {"data": pack(steps.tobytes() + powers.tobytes()), "limits": limits.tolist()}


def pack_units(history: History) -> str:
    """The labels as a JSON list of objects, one a unit, distinct ones first; of layers and comparisons, the indices."""
    layers = {layer.name: place for place, layer in enumerate(history.layers)}
    pairs = {pair: place for place, pair in enumerate(history.comparisons)}
    labels = history.labels.assign(r2=explained_variance(history.labels), order=order_of_kind(history.labels))
    labels["order"] = labels["order"].where(labels["feature"].notna(), 3)
    labels = labels.sort_values("order", kind="stable").round(dict.fromkeys(_ROUNDED, 4))
    rows = labels[["unit", "feature", "learned", *_ROUNDED]].assign(
        label=labels["feature"].astype(object).map(lambda name: fold_features([name])[0], na_action="ignore"),
        rivals=[", ".join(fold_features(names)) if isinstance(names, tuple) else "" for names in labels["rivals"]],
        kind=kinds_of(labels),
        layer=[layers[name] for name in labels["layer"]],
        compared=np.array([pairs.get(pair, np.nan) for pair in zip(labels["metric"], labels["level"], strict=True)]),
        q=labels["q_value"].map("{:.2e}".format).astype(float),
    )
    return pack(rows.to_json(orient="records", double_precision=15))
