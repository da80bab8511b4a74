"""The few numbers of a run that every logger can take."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from lightning_dissect.scores import Scores, base_feature, count_kinds, count_labels, list_features

KINDS = ("distinct", "learned", "shared", "trivial")
"""Of units, those that are counted for each layer."""


def summarise(scores: Scores, labels: pd.DataFrame, name: str = "dissect") -> dict[str, float]:
    """The scalars of a run by tag.

    ``dissect.<layer>/<feature>/<metric>.<level>/best``, ``…/mean`` and ``…/supported``: the score of the best
    supported unit, the mean over units, and the number of units with q < 0.05; ``dissect/distinct/<layer>``,
    ``…/learned/…`` (of the distinct; undefined without a baseline), ``…/shared/…`` and ``…/trivial/…``: the number of
    units of that kind; and ``dissect/labelled_<feature>/<layer>``: the number of units that the feature sets apart,
    controls aside. With several data loaders, ``.dataloader<index>`` follows the level.
    """
    by_feature = count_labels(labels, list_features(scores.last())[0]).add_prefix("labelled_")
    counts = count_kinds(labels)[list(KINDS)].join(by_feature)
    found = {
        f"{name}/{column}/{layer}": float("nan") if pd.isna(count) else float(count)
        for column in counts
        for layer, count in counts[column].items()
    }
    summary = scores.summary()
    tag = tags(summary, name)
    for kind in ("best", "mean", "supported"):
        found |= zip(tag + "/" + kind, summary[kind].astype(float), strict=True)
    return found


def tags(rows: pd.DataFrame, name: str, units: bool = False) -> pd.Series:
    """The tag of each row of a table of scores: ``dissect.<layer>/<feature>/<metric>.<level>``.

    The rows of one feature (``chroma[A]``, …) share a tag, and so do units, unless their number is wanted in it.
    """
    names = rows[["layer", "metric", "level", "dataloader"]].astype(str)
    unit = "/unit" + rows["unit"].astype(str) if units else ""
    compared = base_feature(rows["feature"]) + "/" + names["metric"] + "." + names["level"]
    tag = f"{name}." + names["layer"] + unit + "/" + compared
    return tag + ".dataloader" + names["dataloader"] if names["dataloader"].nunique() > 1 else tag


def scores_by_tag(scores: Scores, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The defined scores of the units under each tag, for histograms."""
    rows = scores.last()
    rows = rows[(rows["score"].notna() & rows["unit"].notna()).to_numpy()]
    rows = rows.assign(feature=base_feature(rows["feature"]))
    groups = rows.groupby(["dataloader", "layer", "metric", "level", "feature"], observed=True, sort=False)
    for tag, (_, values) in zip(tags(groups.head(1), name), groups["score"], strict=True):
        yield tag, values.to_numpy()


def finite(scalars: Mapping[str, float]) -> dict[str, float]:
    """Without what is undefined."""
    return {tag: value for tag, value in scalars.items() if math.isfinite(value)}
