"""The files of a run."""

import os
from pathlib import Path

from lightning_dissect.audio import TABLE

PICTURES = "pictures"
"""The folder beside the scores that holds the pictures of the last run, those of a layer in a folder of its name."""


def find_score_files(run: str | os.PathLike[str]) -> list[Path]:
    """Find the score files of one run, one an epoch, in the order of their names.

    Args:
        run: the folder of a run, at any depth above its files (``lightning_logs/version_0``), or one such file.

    Raises:
        FileNotFoundError: if there is no such folder, or no scores in it.
        ValueError: if the folder holds the scores of several runs.
    """
    path = Path(run)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder. A run's folder is needed, such as lightning_logs/version_0.")
    files = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith(".") and file.name != TABLE)
    if not files:
        raise FileNotFoundError(f"{path}: no scores here. A run writes them as .parquet files into its log folder.")
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise ValueError(f"{path} holds {len(folders)} runs; name one of them: {', '.join(folders)}.")
    return files
