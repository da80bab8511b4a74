"""The significance of scores: p-values corrected for the number of tests, and which score is supported best."""

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


def best_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows of a table by their p-value, and by the size of their effect where p-values are equal."""
    return rows.iloc[np.lexsort((-rows["effect"].abs().to_numpy(), rows["p_value"].to_numpy()))]
