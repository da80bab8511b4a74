"""The folder of a logger's run."""

from typing import Any

from lightning_dissect.files import Place, find_place


def run_folder(logger: Any, root: str) -> Place:
    """The folder where a logger keeps the files of its run.

    It is the logger's ``log_dir`` where there is one, and otherwise ``<save_dir>/<name>/<version>``, beside the
    checkpoints that Lightning writes; wherever fsspec reaches, as Lightning's own do. The root stands in for the
    ``save_dir`` of a logger without one, such as MLflow's with a database.
    """
    log_dir = getattr(logger, "log_dir", None)
    if log_dir:
        return find_place(log_dir)
    # A run that is not begun yet has no version.
    getattr(logger, "experiment", None)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return find_place(logger.save_dir or root) / str(logger.name) / version
