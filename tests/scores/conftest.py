from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from lightning_dissect.scores import LABEL_COLUMNS

KINDS = ("distinct", "shared", "trivial", "untested", "none")
FEATURES = ("chroma[A]", "chroma[A#]", "loudness", "centroid")
CONTROLS = ("rms_db", "input")


def make_labels(kinds: list[str], seed: int = 0, learned: bool | None = True, layers: int = 3) -> pd.DataFrame:
    """Labels of given kinds, in layers of several sizes, with features and rivals that fit them."""
    rng = np.random.default_rng(seed)
    rows = []
    for unit, kind in enumerate(kinds):
        feature = str(rng.choice(FEATURES))
        others = [name for name in FEATURES if name.partition("[")[0] != feature.partition("[")[0]]
        control = str(rng.choice(CONTROLS))
        rivals: tuple[str, ...] = (str(rng.choice(others)),) if kind == "shared" else ()
        if kind == "trivial":
            feature, rivals = (control, ()) if rng.random() < 0.5 else (feature, (others[0], control))
        named = kind != "none"
        rows.append(
            {
                "layer": f"layer{(unit * unit) % layers}",
                "unit": unit,
                "feature": feature if named else None,
                "metric": "pearson",
                "score": 0.5,
                "effect": 0.5,
                "kind": kind if kind in KINDS[:3] else None,
                "rivals": rivals if named else None,
                "learned": pd.NA if learned is None or not named else bool(rng.random() < 0.5) and learned,
            }
        )
    labels = pd.DataFrame(rows, columns=LABEL_COLUMNS)
    return labels.astype({"learned": "boolean", "kind": object})


@pytest.fixture(name="make_labels")
def labels_maker() -> Callable[..., pd.DataFrame]:
    return make_labels
