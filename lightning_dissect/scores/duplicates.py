"""Units that tell nothing of their own: their scores equal those of another unit, or are undefined."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from lightning_dissect.scores.columns import UNIT

_UNDEFINED = 1e6
"""Stands for an undefined score: farther from any score than a tolerance reaches."""


def find_duplicates(rows: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Find copies among the rows of one run that have a unit and a score: see :meth:`Scores.duplicate_units`."""
    found = []
    for layer, of_layer in rows.groupby("layer", observed=True, sort=False):
        keys = ["dataloader", "feature", "level", "metric"]
        scores = of_layer.pivot_table(values="score", index="unit", columns=keys, observed=True)
        near = cKDTree(scores.fillna(_UNDEFINED).to_numpy()).query_pairs(tolerance, np.inf, output_type="ndarray")
        pairs = pd.DataFrame(np.sort(near, axis=1), columns=["first", "second"]).groupby("second")["first"].min()
        units = scores.index.to_numpy()
        found.append(
            pd.DataFrame({"layer": layer, "unit": units[pairs.index], "duplicate_of": units[pairs.to_numpy()]})
        )
    columns = [*UNIT, "duplicate_of"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def find_dead(rows: pd.DataFrame) -> pd.DataFrame:
    """Find the units without any defined score among the rows of one run that have a unit."""
    defined = rows["score"].notna().groupby([rows[name] for name in UNIT], observed=True, sort=False).any()
    return defined[~defined].reset_index()[UNIT]
