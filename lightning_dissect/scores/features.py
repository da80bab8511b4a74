"""The names of features in the table: a feature, or one of its rows, like ``chroma[A]``."""

import fnmatch
import re
from collections.abc import Iterable

import pandas as pd

CONTROL_NAMES = {"rms_db": "level", "input": "the input"}
"""What people call the controls that are always compared; others go by their name."""
_MOST_ROWS = 4
"""Of one feature, so many rows are named one by one."""


def base_feature(features: pd.Series) -> pd.Series:
    """The feature that a row belongs to: ``chroma`` for ``chroma[A]``."""
    codes, names = pd.factorize(features, use_na_sentinel=False)  # a few names, on many rows
    bases = pd.Series(names).astype(str).str.replace(r"\[.*\]$", "", regex=True)
    return pd.Series(bases.array.take(codes), index=features.index, name=features.name)


def matches(names: pd.Series, glob: str) -> pd.Series:
    """Which names are a name, or match a glob in which ``[`` means itself, as it does in the names of features."""
    pattern = re.compile(fnmatch.translate(glob.replace("[", "[[]")))
    known = {name for name in names.astype(str).unique() if pattern.match(name)}
    return names.astype(str).isin(known)


def is_feature(features: pd.Series, glob: str) -> pd.Series:
    """Which rows are of a feature, given by its name, by that of one of its rows, or by a glob."""
    return matches(features, glob) | matches(base_feature(features), glob)


def fold_features(names: Iterable[str]) -> list[str]:
    """Name features for people, the rows of one together, in the order in which they come first.

    Example:
        >>> fold_features(["chroma[A]", "rms_db", "chroma[A#]", "loudness"])
        ['chroma (A, A#)', 'level', 'loudness']
        >>> fold_features(f"mfcc[{number}]" for number in range(20))
        ['mfcc (20 rows)']
    """
    rows: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        base, _, row = name.partition("[") if name.endswith("]") else (name, "", "")
        rows.setdefault(base, []).extend([row[:-1]] if row else [])
    return [CONTROL_NAMES.get(base, base) + _name_rows(own) for base, own in rows.items()]


def _name_rows(rows: list[str]) -> str:
    if not rows:
        return ""
    return f" ({len(rows)} rows)" if len(rows) > _MOST_ROWS else f" ({', '.join(rows)})"
