"""Sums: of a run, how well the units of each layer follow each feature; of labels, how many are of each kind."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.labels import KINDS
from lightning_dissect.scores.significance import best_first

_KEYS = ["dataloader", "layer", "feature", "metric", "level"]


def sum_up(rows: pd.DataFrame, q: float) -> pd.DataFrame:
    """Sum up the rows of one run, as :meth:`~lightning_dissect.Scores.summary` says."""
    rows = rows[[*_KEYS, "unit", "score", "effect", "p_value", "q_value"]]
    rows = rows.assign(feature=base_feature(rows["feature"]), unit=rows["unit"].where(rows["q_value"] < q))
    groups = best_first(rows).groupby(_KEYS, observed=True)
    named = {"best": groups["score"].first(), "mean": groups["score"].mean(), "supported": groups["unit"].nunique()}
    return pd.DataFrame(named).reset_index()


def list_features(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The features of some rows of a table, and the controls among them apart, without rows and in their order."""
    known = rows[["feature", "control"]].drop_duplicates()
    names = base_feature(known["feature"])
    features, controls = (names[known["control"] == marked].unique().tolist() for marked in (False, True))
    return features, controls


def kinds_of(labels: pd.DataFrame) -> pd.Series:
    """The kind of each label, a word for each unit.

    Beside those of :data:`~lightning_dissect.scores.labels.KINDS` these are ``"untested"`` where there is a label whose
    rivals are not known, as in files of earlier versions, and ``"none"`` where there is no label.
    """
    known = labels["kind"].astype(object)
    without = np.where(labels["feature"].notna(), "untested", "none")
    return known.where(known.notna(), pd.Series(without, index=labels.index, dtype=object))


def order_of_kind(labels: pd.DataFrame) -> pd.Series:
    """A number for each label by which those that say most come first: distinct, shared or untested, trivial."""
    return labels["kind"].map({"distinct": 0, "shared": 1, "trivial": 2}).fillna(1).astype(int)


def count_kinds(labels: pd.DataFrame) -> pd.DataFrame:
    """Count the units of each layer by the kind of their label.

    Returns:
        One row a layer, in the network's order: ``units``, ``distinct``, of these ``learned`` (missing without a
        baseline), ``shared``, ``trivial``, ``untested`` and ``none``; see :func:`kinds_of`.
    """
    kinds = kinds_of(labels)
    distinct, learned = kinds == "distinct", labels["learned"].astype("boolean")
    marks = {"units": pd.Series(True, labels.index), "distinct": distinct, "learned": distinct & learned.fillna(False)}
    marks |= {kind: kinds == kind for kind in ("shared", "trivial", "untested", "none")}
    counts = pd.DataFrame(marks).astype("Int64").groupby(labels["layer"].astype(str), sort=False).sum()
    if learned.isna().all():
        counts["learned"] = pd.NA
    return counts


def count_labels(labels: pd.DataFrame, features: Sequence[str], kind: str = KINDS[0]) -> pd.DataFrame:
    """Count the units of each layer (row) that have a label of a kind with each feature (column), in the orders given.

    The rows of one feature (``chroma[A]``, …) count together.
    """
    return _count(labels, base_feature(labels["feature"]).where(labels["kind"] == kind), features)


def count_controls(labels: pd.DataFrame, controls: Sequence[str]) -> pd.DataFrame:
    """Count the trivial labels of each layer (row) by the control (column) that is the label, or its first rival."""
    control = pd.Series(pd.NA, index=labels.index, dtype=object)
    trivial = labels[labels["kind"] == "trivial"]
    names = [(name, *rivals) for name, rivals in zip(trivial["feature"].astype(str), trivial["rivals"], strict=True)]
    bases = [[name.partition("[")[0] for name in own] for own in names]
    control[trivial.index] = [next((name for name in own if name in controls), pd.NA) for own in bases]
    return _count(labels, control, controls)


def _count(labels: pd.DataFrame, names: pd.Series, columns: Sequence[str]) -> pd.DataFrame:
    layer = labels["layer"].astype(str)
    named = names.notna()
    counts = pd.crosstab(layer[named], names[named].astype(str))
    return counts.reindex(index=layer.unique().tolist(), columns=list(columns), fill_value=0)


def sum_up_layers(labels: pd.DataFrame, rows: pd.DataFrame, dead: pd.DataFrame) -> pd.DataFrame:
    """Sum up the labels of one run, whose rows and dead units are given: see :meth:`Scores.detectors`."""
    kinds = count_kinds(labels)
    if not kinds["untested"].any():
        kinds = kinds.drop(columns="untested")
    dead_units = dead["layer"].astype(str).value_counts().reindex(kinds.index, fill_value=0).rename("dead")
    counts = count_labels(labels, list_features(rows)[0])
    return pd.concat([kinds, dead_units, counts], axis=1).rename_axis("layer").reset_index()
