"""TensorBoard: scalars, the histogram over units, pictures."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from lightning_dissect.loggers.scalars import summarise, tags
from lightning_dissect.scores import Scores


def is_tensorboard(logger: Any) -> bool:
    """Whether a logger's experiment takes histograms and figures the way TensorBoard's ``SummaryWriter`` does."""
    experiment = getattr(logger, "experiment", None)
    return all(hasattr(experiment, method) for method in ("add_scalar", "add_histogram", "add_figure"))


def write(logger: Any, scores: Scores, figures: Mapping[str, Figure], name: str, step: int) -> None:
    """Write a run to TensorBoard.

    Tags are those of :func:`~lightning_dissect.loggers.scalars.summarise`; the histogram over units (Slizovskaia 2019,
    figures 3 and 4) has the tag ``dissect.<layer>/<feature>/<metric>.<level>``, a figure the one it is given under.
    """
    experiment = logger.experiment
    for tag, value in summarise(scores, name).items():
        if math.isfinite(value):
            experiment.add_scalar(tag, value, step)
    table = scores.last().dropna(subset=["score", "unit"])
    for tag, values in table.groupby(tags(table, name), sort=False)["score"]:
        experiment.add_histogram(tag, values.to_numpy(), step)
    for tag, figure in figures.items():
        experiment.add_figure(f"{name}{tag}", figure, step)
    experiment.flush()
