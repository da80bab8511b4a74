"""What each kind of logger is given of a run."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_dissect.loggers import csv, mlflow, tensorboard, wandb
from lightning_dissect.loggers.contents import Contents, Player

__all__ = ["Contents", "Player", "write"]

_KINDS: list[tuple[Callable[[Any], bool], Callable[[Any, Contents], None]]] = [
    (tensorboard.is_tensorboard, tensorboard.write),
    (wandb.is_wandb, wandb.write),
    (mlflow.is_mlflow, mlflow.write),
    (csv.is_csv, csv.write),
]


def write(loggers: Iterable[Any], contents: Contents) -> None:
    """Give every logger what it can show of a run.

    Loggers are recognised by what they offer, since a class of ``pytorch_lightning`` and its copy in
    ``lightning.pytorch`` are different types. One of no known kind gets the scalars, and a warning says so once.
    """
    for logger in loggers:
        for recognises, give in _KINDS:
            if recognises(logger):
                give(logger, contents)
                break
        else:
            csv.write(logger, contents)
            _warn_of(type(logger).__name__)


@cache
def _warn_of(name: str) -> None:
    rank_zero_warn(
        f"lightning_dissect does not know {name} and gives it the scalars only. Pictures, audio and tables "
        "lie in the run's folder; TensorBoard, Weights & Biases and MLflow show them."
    )
