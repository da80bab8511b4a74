"""The few numbers of a run that every logger can take."""

from typing import Any

import pandas as pd

from lightning_dissect.scores import Scores, base_feature, count_labels


def summarise(scores: Scores, name: str = "dissect") -> dict[str, float]:
    """The scalars of a run by tag.

    ``dissect.<layer>/<feature>/<metric>.<level>/best``, ``…/mean`` and ``…/supported``: the score of the best
    supported unit, the mean over units, and the number of units with q < 0.05; and
    ``dissect/labelled_<feature>/<layer>``: the number of units whose label is that feature. With several data loaders,
    ``.dataloader<index>`` follows the level.

    Args:
        scores: the scores of one run.
        name: what all tags begin with.
    """
    features = list(dict.fromkeys(base_feature(scores.last()["feature"])))
    counts = count_labels(scores.labels(), features)
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
    names = rows[["layer", "metric", "level", "dataloader"]].astype(str).assign(feature=base_feature(rows["feature"]))
    tag = name + "." + names["layer"] + "/" + names["feature"] + "/" + names["metric"] + "." + names["level"]
    return tag + ".dataloader" + names["dataloader"] if names["dataloader"].nunique() > 1 else tag


def write(logger: Any, scores: Scores, name: str, step: int) -> None:
    """Give a logger the scalars, through the method that every Lightning logger has."""
    logger.log_metrics(summarise(scores, name), step=step)
