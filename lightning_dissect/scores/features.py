"""The names of features in the table: a feature, or one of its rows, like ``chroma[A]``."""

import fnmatch
import re

import pandas as pd


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
