"""The few numbers of a run that every logger can take."""

from typing import Any

from lightning_dissect.scores import Scores

PREFIX = "dissect"


def summarise(scores: Scores) -> dict[str, float]:
    """The scalars of a run by tag.

    ``dissect.<layer>/<feature>/<metric>.<level>/best``, ``…/mean`` and ``…/supported``: the score of the best
    supported unit, the mean over units, and the number of units with q < 0.05; and ``dissect/labelled_units/<layer>``:
    the number of units that have a label at all. With several data loaders, ``.dataloader<index>`` follows the level.
    """
    labels = scores.labels()
    labelled = labels["feature"].notna().groupby(labels["layer"].astype(str), sort=False).sum()
    found = {f"{PREFIX}/labelled_units/{layer}": float(count) for layer, count in labelled.items()}
    for row in scores.summary().itertuples():
        tag = f"{PREFIX}.{row.layer}/{row.feature}/{row.metric}.{row.level}{loader_suffix(scores, row.dataloader)}"
        found |= {f"{tag}/best": row.best, f"{tag}/mean": row.mean, f"{tag}/supported": float(row.supported)}
    return found


def loader_suffix(scores: Scores, dataloader: int) -> str:
    """What tells the tags of several data loaders apart; nothing if there is one."""
    return f".dataloader{dataloader}" if scores.table["dataloader"].nunique() > 1 else ""


def write(logger: Any, scores: Scores, step: int) -> None:
    """Give a logger the scalars, through the method that every Lightning logger has."""
    logger.log_metrics(summarise(scores), step=step)
