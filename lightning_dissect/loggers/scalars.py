"""The few numbers of a run that every logger can take."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lightning_dissect.loggers.contents import Contents
from lightning_dissect.scores import Scores, base_feature, count_labels


def summarise(scores: Scores, labels: pd.DataFrame, name: str = "dissect") -> dict[str, float]:
    """The scalars of a run by tag.

    ``dissect.<layer>/<feature>/<metric>.<level>/best``, ``…/mean`` and ``…/supported``: the score of the best
    supported unit, the mean over units, and the number of units with q < 0.05; and
    ``dissect/labelled_<feature>/<layer>``: the number of units whose label is that feature. With several data loaders,
    ``.dataloader<index>`` follows the level.

    Args:
        scores: the scores of one run.
        labels: of its units.
        name: what all tags begin with.
    """
    features = base_feature(scores.last()["feature"]).unique().tolist()
    counts = count_labels(labels, features)
    found = {
        f"{name}/labelled_{feature}/{layer}": float(count)
        for feature in features
        for layer, count in counts[feature].items()
    }
    summary = scores.summary()
    for tag, *values in zip(tags(summary, name), summary["best"], summary["mean"], summary["supported"], strict=True):
        for kind, value in zip(("best", "mean", "supported"), values, strict=True):
            found[f"{tag}/{kind}"] = float(value)
    return found


def tags(rows: pd.DataFrame, name: str) -> pd.Series:
    """The tag of each row of a table of scores; the rows of one feature (``chroma[A]``, …) share it."""
    return _tags(rows, name + "." + rows["layer"].astype(str))


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


def unit_tags(rows: pd.DataFrame, name: str) -> pd.Series:
    """The tag of each row of a table of scores for its unit: ``dissect.<layer>/unit<unit>/…``."""
    return _tags(rows, name + "." + rows["layer"].astype(str) + "/unit" + rows["unit"].astype(str))


def _tags(rows: pd.DataFrame, begin: pd.Series) -> pd.Series:
    names = rows[["metric", "level", "dataloader"]].astype(str).assign(feature=base_feature(rows["feature"]))
    tag = begin + "/" + names["feature"] + "/" + names["metric"] + "." + names["level"]
    return tag + ".dataloader" + names["dataloader"] if names["dataloader"].nunique() > 1 else tag


def finite(scalars: Mapping[str, float]) -> dict[str, float]:
    """Without what is undefined."""
    return {tag: value for tag, value in scalars.items() if math.isfinite(value)}


def is_csv(logger: Any) -> bool:
    """Whether a logger's experiment writes a file of metrics, as Lightning's ``CSVLogger`` does."""
    return hasattr(getattr(logger, "experiment", None), "metrics_file_path")


def write(logger: Any, contents: Contents) -> None:
    """Give a logger the scalars, through the method that every Lightning logger has.

    Undefined ones are among them: a logger that writes a table needs the same columns in every run.
    """
    logger.log_metrics(dict(contents.scalars), step=contents.step)
