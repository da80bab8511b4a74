"""The few numbers of a run that every logger can take."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from lightning_dissect.scores import Scores, base_feature, count_labels


def summarise(scores: Scores, labels: pd.DataFrame, name: str = "dissect") -> dict[str, float]:
    """The scalars of a run by tag.

    ``dissect.<layer>/<feature>/<metric>.<level>/best``, ``…/mean`` and ``…/supported``: the score of the best
    supported unit, the mean over units, and the number of units with q < 0.05; and
    ``dissect/labelled_<feature>/<layer>``: the number of units whose label is that feature. With several data loaders,
    ``.dataloader<index>`` follows the level.

    Args:
        scores: The scores of one run.
        labels: The labels of its units.
        name: What all tags begin with.
    """
    features = base_feature(scores.last()["feature"]).unique().tolist()
    counts = count_labels(labels, features)
    found = {
        f"{name}/labelled_{feature}/{layer}": float(count)
        for feature in features
        for layer, count in counts[feature].items()
    }
    summary = scores.summary()
    tag = tags(summary, name)
    for kind in ("best", "mean", "supported"):
        found |= zip(tag + "/" + kind, summary[kind].astype(float), strict=True)
    return found


def tags(rows: pd.DataFrame, name: str, units: bool = False) -> pd.Series:
    """The tag of each row of a table of scores: ``dissect.<layer>/<feature>/<metric>.<level>``.

    Args:
        rows: Rows of a table of scores; those of one feature (``chroma[A]``, …) share a tag.
        name: What all tags begin with.
        units: Whether each unit has its own, with ``/unit<unit>`` after the layer.
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
    if rows.empty:
        return
    keys = rows[["dataloader", "layer", "metric", "level"]].assign(feature=base_feature(rows["feature"]))
    tag = keys.groupby(list(keys), observed=True, sort=False).ngroup().to_numpy()
    first = np.unique(tag, return_index=True)[1]
    parts = np.split(rows["score"].to_numpy()[np.argsort(tag, kind="stable")], np.bincount(tag).cumsum()[:-1])
    yield from zip(tags(rows.iloc[first], name), parts, strict=True)


def finite(scalars: Mapping[str, float]) -> dict[str, float]:
    """Without what is undefined."""
    return {tag: value for tag, value in scalars.items() if math.isfinite(value)}
