"""The scores of a layer as matrices, features × units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lightning_dissect.report.words import describe_comparison
from lightning_dissect.scores import base_feature, best_of_each


@dataclass(frozen=True)
class Matrices:
    """What one metric found at one level in a layer.

    Attributes:
        words: What was compared.
        features: Names of the rows.
        values: Columns of the table, (features, units) each; NaN where a feature and a unit were not compared.
    """

    words: str
    features: list[str]
    values: Mapping[str, np.ndarray]


def matrices_of(table: pd.DataFrame, layer: str, columns: Sequence[str]) -> list[Matrices]:
    """Some columns of a layer's units, for each metric and level; of ``chroma[A]``, … the best supported is ``chroma``.

    Raises:
        ValueError: If the table has no row of that layer with a unit.
    """
    rows = table[((table["layer"] == layer) & table["unit"].notna()).to_numpy()]
    if rows.empty:
        raise ValueError(
            f"layer={layer!r} has no units in the table, whose layers are {list(table['layer'].unique())}."
        )
    rows = best_of_each(rows.assign(base=base_feature(rows["feature"])), ["metric", "level", "base", "unit"])
    units = int(rows["unit"].max()) + 1
    found = []
    for (metric, level), group in rows.groupby(["metric", "level"], observed=True, sort=False):
        row, features = pd.factorize(group["base"])
        values = {name: np.full((len(features), units), np.nan) for name in columns}
        for name, matrix in values.items():
            matrix[row, group["unit"].to_numpy(int)] = group[name].to_numpy(float)
        found.append(Matrices(describe_comparison(str(metric), str(level)), list(features), values))
    return found
