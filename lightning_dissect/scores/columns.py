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
}
UNIT = ["layer", "unit"]
LABEL_COLUMNS = [*UNIT, "feature", "level", "metric", "score", "null", "effect", "q_value"]
INTERVAL = ["effect_low", "effect_high"]
_RUN = ["stage", "epoch", "step"]
_OPTIONAL = ["q_value", *INTERVAL, "stage"]
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
    table = table.assign(**{end: np.nan for end in INTERVAL if end not in table})
    return table[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)
