"""Explained variance: how much of a unit a feature accounts for, where the score is a correlation."""

import pandas as pd

CORRELATIONS = ("pearson", "spearman")
"""Metrics whose score is a correlation; Spearman's is that of ranks, and so is the variance that it explains."""


def explained_variance(rows: pd.DataFrame) -> pd.Series:
    """The share of variance that unit and feature have in common, r², of rows of a table or of labels.

    It is NaN for metrics that are no correlation. Frame by frame, r is the mean over clips.

    Example:
        >>> explained_variance(pd.DataFrame({"metric": ["pearson", "sift"], "score": [-0.5, 0.5]})).tolist()
        [0.25, nan]
    """
    squared: pd.Series = rows["score"].where(rows["metric"].isin(CORRELATIONS)) ** 2
    return squared.rename("r2")
