"""The labels of units: which feature each resembles, if any."""

from collections.abc import Sequence

import pandas as pd

from lightning_dissect.scores.columns import LABEL_COLUMNS, UNIT
from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.significance import adjust_p_values, best_first


def label_units(rows: pd.DataFrame, q: float) -> pd.DataFrame:
    """Label each unit with its best supported row, if the unit is supported: see :meth:`Scores.labels`.

    Args:
        rows: The rows of one run that have a unit.
        q: The false discovery rate that is accepted, in (0, 1).

    Raises:
        ValueError: If ``q`` is not in (0, 1).
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q} is not in (0, 1): it is the accepted false discovery rate, such as 0.05.")
    place = rows.groupby(UNIT, observed=True, sort=False).ngroup()  # units are numbered as they come
    rows = best_first(rows[[*LABEL_COLUMNS, "p_value"]].assign(place=place))
    units = rows.groupby("place")
    # Simes' test: the least of p · n / rank, over the n tests of a unit.
    p_value = rows["p_value"] * units["p_value"].transform("count") / (units.cumcount() + 1)
    labels = rows.drop_duplicates("place").sort_values("place")[LABEL_COLUMNS].reset_index(drop=True)
    labels["q_value"] = adjust_p_values(p_value.groupby(rows["place"]).min().astype(float))
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
    was, now = both["feature_before"], both["feature_after"]
    both["changed"] = ((was != now) & ~(was.isna() & now.isna())).astype(bool)
    return both[[*UNIT, "feature_before", "feature_after", "effect_before", "effect_after", "changed"]]
