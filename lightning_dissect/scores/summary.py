"""The sum of a run: for each feature, how well the units of each layer follow it."""

import pandas as pd

from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.significance import best_first

_KEYS = ["dataloader", "layer", "feature", "metric", "level"]


def sum_up(rows: pd.DataFrame, q: float) -> pd.DataFrame:
    """Sum up the rows of one run, as :meth:`~lightning_dissect.Scores.summary` says."""
    rows = rows[[*_KEYS, "unit", "score", "effect", "p_value", "q_value"]]
    rows = rows.assign(feature=base_feature(rows["feature"]), unit=rows["unit"].where(rows["q_value"] < q))
    groups = best_first(rows).groupby(_KEYS, observed=True)
    named = {"best": groups["score"].first(), "mean": groups["score"].mean(), "supported": groups["unit"].nunique()}
    return pd.DataFrame(named).reset_index()
