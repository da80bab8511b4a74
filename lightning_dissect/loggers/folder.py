"""The folder of a logger's run."""

from pathlib import Path
from typing import Any


def run_folder(logger: Any, root: str) -> Path:
    """The folder where a logger keeps the files of its run.

    It is the logger's ``log_dir`` where there is one, and otherwise ``<save_dir>/<name>/<version>``, beside the
    checkpoints that Lightning writes.

    Args:
        logger: a Lightning logger.
        root: stands in for the ``save_dir`` of a logger without one, such as MLflow's with a database.
    """
    log_dir = getattr(logger, "log_dir", None)
    if log_dir:
        return Path(log_dir)
    # A run that is not begun yet has no version.
    getattr(logger, "experiment", None)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or root, str(logger.name), version)
