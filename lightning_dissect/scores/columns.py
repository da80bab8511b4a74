"""The columns of the table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from lightning_dissect.scores.significance import adjust_p_values

COLUMNS = {
    "epoch": "int32",
    "step": "int64",
    "dataloader": "int32",
    "layer": "category",
    "unit": "Int32",
    "feature": "category",
    "level": "category",
    "metric": "category",
    "score": "float64",
    "null": "float64",
    "effect": "float64",
    "p_value": "float64",
    "q_value": "float64",
    "n_clips": "int64",
    "effect_low": "float64",
    "effect_high": "float64",
    "stage": "category",
    "unique": "float64",
    "unique_p_value": "float64",
    "lower_p_value": "float64",
    "control": "bool",
}
UNIT = ["layer", "unit"]
_CHOSEN = ["feature", "level", "metric", "score", "null", "effect", "q_value", "unique", "unique_p_value", "dataloader"]
LABEL_COLUMNS = [*UNIT, *_CHOSEN, "rivals", "distinct", "kind", "learned", "learned_q"]
INTERVAL = ["effect_low", "effect_high"]
_RUN = ["stage", "epoch", "step"]
_LATER = [*INTERVAL, "unique", "unique_p_value", "lower_p_value"]
"""Columns that tables of earlier versions lack; they are NaN there."""
_OPTIONAL = ["q_value", "stage", "control", *_LATER]
"""Columns that a table may lack: what they hold can be computed, or was not known when it was written."""


def check_columns(columns: Iterable[Any], table: str) -> None:
    """Raise unless all columns are there that a table of that name must have.

    Raises:
        ValueError: If some are missing.
    """
    missing = [column for column in COLUMNS if column not in [*columns, *_OPTIONAL]]
    if missing:
        raise ValueError(f"{table} lacks the columns {missing}: scores need {list(COLUMNS)}.")


def complete_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table with all columns, each of its type, where optional ones may be missing.

    Raises:
        ValueError: If others are missing.
    """
    check_columns(list(table), "table")
    if "stage" not in table:
        table = table.assign(stage="validate")
    if "q_value" not in table:
        table = table.assign(q_value=table.groupby(_RUN, observed=True)["p_value"].transform(adjust_p_values))
    missing: dict[str, Any] = dict.fromkeys(_LATER, np.nan) | {"control": False}
    table = table.assign(**{column: value for column, value in missing.items() if column not in table})
    return table[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)
