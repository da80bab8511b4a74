"""Selections: the rows of a table that are of some unit, some feature, some run."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lightning_dissect.scores.features import base_feature, is_feature, matches

_NUMBERS = ("epoch", "step", "dataloader", "unit")


def last_run(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the latest step of the latest epoch; of a validation and a test, the one below."""
    latest: pd.DataFrame = table[table["epoch"] == table["epoch"].max()]
    latest = latest[latest["step"] == latest["step"].max()]
    return latest if latest["stage"].nunique() < 2 else latest[latest["stage"] == latest["stage"].iloc[-1]]


def select_rows(table: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Keep the rows that have all the given values.

    Args:
        table: The columns of ``Scores.table``.
        values: By column, an exact number of ``epoch``, ``step``, ``dataloader`` and ``unit``, a name or a glob of the
            others; ``None`` for any.
    """
    keep = pd.Series(True, index=table.index)
    for column, value in values.items():
        if value is None:
            continue
        if column in _NUMBERS:
            keep &= (table[column] == value).fillna(False).astype(bool)
        else:
            keep &= (is_feature if column == "feature" else matches)(table[column], value)
    return table[keep]


def rows_of_feature(table: pd.DataFrame, feature: str) -> pd.DataFrame:
    """The rows of a feature, by name or glob.

    Raises:
        ValueError: If there is no such feature; it names those that there are.
    """
    rows = table[is_feature(table["feature"], feature)]
    if rows.empty:
        known = ", ".join(dict.fromkeys(base_feature(table["feature"])))
        raise ValueError(f"feature={feature!r} is not in this run, whose features are {known}.")
    return rows


def rows_of_unit(table: pd.DataFrame, layer: str, unit: int) -> pd.DataFrame:
    """The rows of a unit.

    Raises:
        ValueError: If there is no such unit; it names the layers that there are.
    """
    rows = table[((table["layer"] == layer) & (table["unit"] == unit)).fillna(False).astype(bool)]
    if rows.empty:
        layers = ", ".join(dict.fromkeys(table["layer"].astype(str)))
        raise ValueError(f"layer={layer!r}, unit={unit}: not in this run, whose layers are {layers}.")
    return rows
