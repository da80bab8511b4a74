import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd

from lightning_dissect.report.html.history import read_history
from lightning_dissect.report.html.payload import (
    PACKING,
    find_limits,
    pack_history,
    pack_last,
    pack_units,
)
from lightning_dissect.scores import order_of_kind


def unpack(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def test_the_history_comes_back_to_half_a_step(run: Path) -> None:
    history = read_history(run)
    of_column = find_limits(history)
    for layer in history.layers:
        steps = np.frombuffer(unpack(pack_history(layer, of_column)), np.int8).reshape(layer.effect.shape)
        scale = np.asarray([of_column[column] for column in layer.columns])[:, None] / PACKING["steps"]
        np.testing.assert_array_equal(steps == PACKING["undefined"], np.isnan(layer.effect))
        error = np.abs(np.where(steps == PACKING["undefined"], np.nan, steps * scale) - layer.effect)
        assert np.nanmax(error / scale) < 0.51


def test_the_last_epoch_comes_back_to_four_digits(run: Path) -> None:
    for layer in read_history(run).layers:
        packed = pack_last(layer)
        data, size = unpack(packed["data"]), layer.score.size
        for part, (values, limit) in enumerate(zip((layer.effect[-1], layer.score), packed["limits"], strict=True)):
            steps = np.frombuffer(data, "<i2", size, 2 * part * size).reshape(values.shape)
            found = np.where(steps == PACKING["exactUndefined"], np.nan, steps * limit / PACKING["exactSteps"])
            np.testing.assert_allclose(found, values, atol=1e-4)
        powers = np.frombuffer(data, np.uint8, size, 4 * size).reshape(layer.score.shape)
        q_value = np.where(powers == PACKING["qUndefined"], np.nan, 10 ** (-powers.astype(float) / PACKING["qSteps"]))
        # Half a step of a tenth of a power of ten.
        np.testing.assert_allclose(np.log10(q_value), np.log10(layer.q_value), atol=0.0501)
        assert len(data) == 5 * size


def test_units_are_the_labels(run: Path) -> None:
    history = read_history(run)
    units = pd.DataFrame(json.loads(unpack(pack_units(history))))
    labels = history.labels.assign(order=order_of_kind(history.labels).where(history.labels["feature"].notna(), 3))
    labels = labels.sort_values("order", kind="stable")
    assert [history.layers[place].name for place in units["layer"]] == labels["layer"].tolist()
    assert units["unit"].tolist() == labels["unit"].tolist()
    assert units["feature"].fillna("").tolist() == labels["feature"].astype(object).fillna("").tolist()
    np.testing.assert_allclose(units["effect"], labels["effect"], atol=1e-4)
    np.testing.assert_allclose(units["q"], labels["q_value"], rtol=5e-3)
    assert len(units) == 54
    assert units["kind"].tolist() == ["distinct"] * 12 + ["shared"] * 2 + ["trivial"] * 2 + ["none"] * 38
    assert units["rivals"].tolist() == [""] * 12 + ["loudness"] * 2 + ["level"] * 2 + [""] * 38
    assert units["label"][:12].tolist().count("chroma (B)") == 8
    np.testing.assert_allclose(units["r2"], labels["score"] ** 2, atol=1e-4)
