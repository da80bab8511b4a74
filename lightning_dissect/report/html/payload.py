"""Data for the page, small enough to travel in it: typed arrays and text, compressed, in base64."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_dissect.report.html.history import Column, History, Layer

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


def find_limits(history: History) -> dict[tuple[str, str], float]:
    """The largest effect, without its sign, by metric and level: what the strongest colour stands for."""
    limits: dict[tuple[str, str], float] = {}
    for layer in history.layers:
        largest = np.nanmax(np.abs(layer.effect), axis=(0, 2), initial=1e-3)
        for column, value in zip(layer.columns, largest, strict=True):
            key = history.columns[column][1:]
            limits[key] = max(limits.get(key, 0.0), float(value))
    return limits


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
    arrays, limits = [], []
    for values in (layer.effect[-1], layer.score):
        limit = float(np.nanmax(np.abs(values), initial=1e-3))
        steps = np.where(np.isnan(values), PACKING["exactUndefined"], np.round(values / limit * PACKING["exactSteps"]))
        arrays.append(steps.astype("<i2").tobytes())
        limits.append(limit)
    with np.errstate(divide="ignore"):
        powers = np.minimum(
            np.round(-np.log10(layer.q_value) * PACKING["qSteps"]), PACKING["largestPower"] * PACKING["qSteps"]
        )
    arrays.append(np.where(np.isnan(powers), PACKING["qUndefined"], powers).astype(np.uint8).tobytes())
    return {"data": pack(b"".join(arrays)), "limits": limits}


def pack_units(history: History) -> str:
    """The labels as a JSON object of columns, one entry a unit."""
    labels = history.labels
    layers = {layer.name: place for place, layer in enumerate(history.layers)}
    rows = {
        "layer": [layers[name] for name in labels["layer"].astype(str)],
        "unit": labels["unit"].astype(int).tolist(),
        "feature": [None if name != name else str(name) for name in labels["feature"].astype(object)],
        "compared": _comparisons(history, labels["metric"], labels["level"]),
    }
    numbers = {name: _rounded(labels[name]) for name in ("score", "null", "effect")}
    q_values = {"q": [None if q != q else float(f"{q:.2e}") for q in labels["q_value"].to_numpy(float)]}
    return pack(json.dumps(rows | numbers | q_values, separators=(",", ":")))


def comparisons(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Every metric and level, in the order of the columns."""
    return list(dict.fromkeys(column[1:] for column in columns))


def to_script(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a ``<script>``, whatever names are in it."""
    return (
        json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )


def _comparisons(history: History, metrics: Any, levels: Any) -> list[int | None]:
    known = {pair: place for place, pair in enumerate(comparisons(history.columns))}
    return [known.get((str(metric), str(level))) for metric, level in zip(metrics, levels, strict=True)]


def _rounded(values: Any) -> list[float | None]:
    numbers: npt.NDArray[np.float64] = np.asarray(values, np.float64)
    return [None if number != number else round(number, 4) for number in numbers.tolist()]
