"""The labels of units: which feature each resembles, if any."""

from collections.abc import Sequence

import pandas as pd

from lightning_dissect.scores.columns import LABEL_COLUMNS, UNIT
from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.significance import adjust_p_values, join_p_values, sort_groups


def label_units(rows: pd.DataFrame, q: float) -> pd.DataFrame:
    """Label each unit with its best supported row, of those of one run with a unit: see :meth:`Scores.labels`.

    Raises:
        ValueError: If ``q`` is not in (0, 1).
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q} is not in (0, 1): it is the accepted false discovery rate, such as 0.05.")
    order, begins = sort_groups(rows, UNIT)
    labels: pd.DataFrame = rows.iloc[order[begins]][LABEL_COLUMNS].reset_index(drop=True)
    joined = join_p_values(rows["p_value"].to_numpy()[order], begins)
    labels["q_value"] = adjust_p_values(pd.Series(joined, dtype=float))
    named = [column for column in LABEL_COLUMNS if column not in [*UNIT, "q_value"]]
    labels[named] = labels[named].where(labels["q_value"] < q)
    return labels


def count_labels(labels: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """Count the units of each layer (row) that are labelled with each feature (column), in the orders given."""
    layers = labels["layer"].astype(str).unique().tolist()
    named = labels.dropna(subset="feature")
    counts = pd.crosstab(named["layer"].astype(str), base_feature(named["feature"]))
    return counts.reindex(index=layers, columns=list(features), fill_value=0)


def compare_labels(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Set the labels of two runs beside each other: see :meth:`Scores.compare`."""
    # Names as objects: the two sides have other categories.
    sides = [
        labels[[*UNIT, "feature", "effect"]].astype({"layer": object, "feature": object}) for labels in (before, after)
    ]
    both = sides[0].merge(sides[1], on=UNIT, how="outer", suffixes=("_before", "_after"), sort=False)
    both["changed"] = both["feature_before"].fillna("") != both["feature_after"].fillna("")
    return both[[*UNIT, "feature_before", "feature_after", "effect_before", "effect_after", "changed"]]
