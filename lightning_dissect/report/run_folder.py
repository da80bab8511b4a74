"""The files of a run."""

import os
import warnings
from pathlib import Path

from lightning_dissect.files import find_place, is_inside
from lightning_dissect.files.layout import check_one_run, list_scores, untrained_file
from lightning_dissect.scores import Scores


def find_score_files(run: str | os.PathLike[str]) -> list[Path]:
    """Find the score files of one run, one an epoch, in the order of their names.

    Those of tests are left out where there are others; ``dissect-test``, in which they lie, has them alone.

    Args:
        run: The folder of a run, at any depth above its files (``lightning_logs/version_0``), or one such file.

    Raises:
        FileNotFoundError: If there is no such folder, or no scores in it.
        ValueError: If the folder holds the scores of several runs, or is none of this machine's.
    """
    path = find_place(run)
    if not isinstance(path, Path):
        raise ValueError(f"{run}: only folders of this machine are read here. Copy the run's folder to one first.")
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder. A run's folder is needed, such as lightning_logs/version_0.")
    files = [file for file in list_scores(path) if isinstance(file, Path) and may_be_read(file, path)]
    check_one_run(files, path)
    return files


def load_baseline(file: Path) -> Scores | None:
    """Read the baseline beside a score file, if there is one that may be read, see :func:`may_be_read`."""
    beside = untrained_file(file)
    return Scores.load(beside) if isinstance(beside, Path) and may_be_read(beside, file.parent) else None


def may_be_read(file: Path, folder: Path) -> bool:
    """Whether a file of a run is one that its report may hold: a regular one that lies in the run's folder.

    A run may come from elsewhere, and then its names may be paths, and its files links, pipes or devices. What is there
    and may not be read is named by a warning. A link to the run's folder is as good as the folder.
    """
    if not os.path.exists(file):  # asked this way, a name that no file can have is not there
        return False
    allowed = file.is_file() and is_inside(file, folder)
    if not allowed:
        warnings.warn(f"{file} is left out: only regular files inside {folder} are read.", stacklevel=2)
    return allowed
