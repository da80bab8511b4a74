"""CSV, and any logger of no known kind: the scalars."""

from typing import Any

from lightning_dissect.loggers.contents import Contents


def is_csv(logger: Any) -> bool:
    """Whether a logger's experiment writes a file of metrics, as Lightning's ``CSVLogger`` does."""
    return hasattr(getattr(logger, "experiment", None), "metrics_file_path")


def write(logger: Any, contents: Contents) -> None:
    """Give a logger the scalars, through the method that every Lightning logger has.

    Undefined ones are among them: a logger that writes a table needs the same columns in every run.
    """
    logger.log_metrics(dict(contents.scalars), step=contents.step)
