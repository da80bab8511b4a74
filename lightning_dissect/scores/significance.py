"""The significance of scores: p-values corrected for the number of tests, and which score is supported best."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control


def adjust_p_values(p_values: pd.Series) -> pd.Series:
    """Adjust p-values for the number of tests, by Benjamini & Hochberg (1995); undefined ones are no tests.

    Example:
        >>> adjust_p_values(pd.Series([0.01, 0.04, np.nan])).tolist()
        [0.02, 0.04, nan]
    """
    tested = p_values.notna()
    adjusted = pd.Series(np.nan, index=p_values.index)
    if tested.any():
        adjusted[tested] = false_discovery_control(p_values[tested].clip(0.0, 1.0), method="bh")
    return adjusted


def adjust_in_groups(p_values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Adjust p-values for the number of tests of their group alone, as :func:`adjust_p_values` does; NaN is no test.

    Args:
        p_values: Shape (tests,).
        group: The number of each one's group.

    Example:
        >>> adjust_in_groups(np.array([0.01, 0.03, np.nan, 0.02]), np.array([0, 1, 0, 0])).tolist()
        [0.02, 0.03, nan, 0.02]
    """
    tests = pd.Series(p_values).groupby(group)
    order = np.lexsort((-p_values, group))  # the largest of each group first
    scaled = pd.Series(p_values * tests.transform("count") / tests.rank(method="first"))
    adjusted = np.empty(len(p_values))
    adjusted[order] = scaled.iloc[order].groupby(group[order]).cummin()
    return adjusted


def best_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows of a table by their p-value, and by the size of their effect where p-values are equal."""
    return rows.iloc[np.lexsort((-rows["effect"].abs().to_numpy(), rows["p_value"].to_numpy()))]


def sort_groups(rows: pd.DataFrame, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sort rows of a table by group, in the order in which these come first; of each, the best supported row is first.

    Returns:
        The positions of the rows in this order, and where among them each group begins.
    """
    group = rows.groupby(list(keys), observed=True, sort=False).ngroup().to_numpy()
    order = np.lexsort((-rows["effect"].abs().to_numpy(), rows["p_value"].to_numpy(), group))
    return order, np.flatnonzero(np.diff(group[order], prepend=-1))


def best_of_each(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The best supported row of each group, see :func:`sort_groups`."""
    order, begins = sort_groups(rows, keys)
    best: pd.DataFrame = rows.iloc[order[begins]]
    return best


def join_p_values(p_values: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Join the p-values of each group to one, by Simes' test: the least of p · n / rank over the group's n tests.

    Args:
        p_values: Ascending in each group, with undefined ones, which are no tests, at its end.
        begins: Where each group begins.

    Example:
        >>> join_p_values(np.array([0.01, 0.04, np.nan, 0.5]), np.array([0, 3])).tolist()
        [0.02, 0.5]
    """
    sizes = np.diff(begins, append=len(p_values))
    rank = np.arange(len(p_values)) - np.repeat(begins, sizes) + 1
    tests = np.add.reduceat(~np.isnan(p_values), begins, dtype=int)
    joined: np.ndarray = np.fmin.reduceat(p_values * np.repeat(tests, sizes) / rank, begins)
    return joined
