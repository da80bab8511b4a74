"""The scores of a layer as matrices, features × units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lightning_dissect.report.words import describe_comparison
from lightning_dissect.scores import base_feature


@dataclass(frozen=True)
class Matrices:
    """What one metric found at one level in a layer.

    Attributes:
        words: what was compared.
        features: names of the rows.
        values: columns of the table, (features, units) each; NaN where a feature and a unit were not compared.
    """

    words: str
    features: list[str]
    values: Mapping[str, np.ndarray]


def matrices_of(table: pd.DataFrame, layer: str, columns: Sequence[str]) -> list[Matrices]:
    """The scores of a layer's units, for each metric and level; of ``chroma[A]``, … the best supported is ``chroma``.

    Args:
        table: the rows of one run, like ``Scores.last()``.
        layer: name of the layer.
        columns: the columns that are wanted.

    Raises:
        ValueError: if the table has no row of that layer with a unit.
    """
    rows = table[((table["layer"] == layer) & table["unit"].notna()).to_numpy()]
    if rows.empty:
        raise ValueError(
            f"layer={layer!r} has no units in the table, whose layers are {list(table['layer'].unique())}."
        )
    named = {**{name: rows[name] for name in ("metric", "level")}, "feature": base_feature(rows["feature"])}
    codes, names = zip(*(pd.factorize(column) for column in named.values()), strict=True)
    metric, level, feature = codes
    unit = rows["unit"].to_numpy(dtype=int)
    # The best row comes last, and is the one that stays.
    support = np.lexsort((rows["effect"].abs(), -rows["p_value"].fillna(np.inf)))
    groups = dict.fromkeys(zip(metric.tolist(), level.tolist(), strict=True))
    values = {name: rows[name].to_numpy(dtype=float)[support] for name in columns}
    metric, level, feature, unit = (code[support] for code in (metric, level, feature, unit))
    found = []
    for of_metric, of_level in groups:
        here = (metric == of_metric) & (level == of_level)
        present = np.unique(feature[here])
        blank = np.full((len(present), unit.max() + 1), np.nan)
        cells = np.searchsorted(present, feature[here]), unit[here]
        filled = {name: blank.copy() for name in columns}
        for name, matrix in filled.items():
            matrix[cells] = values[name][here]
        words = describe_comparison(str(names[0][of_metric]), str(names[1][of_level]))
        found.append(Matrices(words, [str(names[2][code]) for code in present], filled))
    return found
