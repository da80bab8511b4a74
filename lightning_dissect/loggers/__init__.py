"""What each kind of logger is given of the scores."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from lightning_dissect.loggers import scalars, tensorboard
from lightning_dissect.scores import Scores

__all__ = ["write"]


def write(loggers: Iterable[Any], scores: Scores, figures: Mapping[str, Figure], name: str, step: int) -> None:
    """Give every logger what it can show of a run.

    Loggers are recognised by what they offer, since a class of ``pytorch_lightning`` and its copy in
    ``lightning.pytorch`` are different types.

    Args:
        loggers: a trainer's loggers.
        scores: the scores of one run.
        figures: pictures by their tag, less the name.
        name: what all tags begin with.
        step: the trainer's global step.
    """
    for logger in loggers:
        if tensorboard.is_tensorboard(logger):
            tensorboard.write(logger, scores, figures, name, step)
        else:
            scalars.write(logger, scores, name, step)
