"""Options that several commands share."""

import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from lightning_dissect.report.run_folder import find_score_files
from lightning_dissect.scores import Scores

_SHORTEST = 0.01


def add_run(parser: ArgumentParser, name: str, words: str = "a run's folder") -> None:
    """Add a run as a positional argument."""
    parser.add_argument(
        name, type=Path, metavar=name.upper(), help=f"{words}, such as lightning_logs/version_0, or one score file"
    )


def add_q(parser: ArgumentParser) -> None:
    """Add the false discovery rate."""
    parser.add_argument(
        "-q", type=_rate, default=0.05, metavar="RATE", help="share of false labels that is accepted (default: 0.05)"
    )


def read_last(run: Path) -> Scores:
    """The scores of a run's last epoch, without reading the others."""
    return Scores.load(find_score_files(run)[-1])


def show_progress(files: Sequence[Path]) -> Iterable[Path]:
    """A progress bar on a terminal, nothing elsewhere."""
    shown: Iterable[Path] = tqdm(files, desc="Reading epochs", unit="file", disable=None, leave=False)
    return shown


def length(text: str) -> float:
    """Read a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST <= seconds < math.inf:
        raise ArgumentTypeError(f"{text} is no length of {_SHORTEST} seconds or more, such as 10")
    return seconds


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1:
        raise ArgumentTypeError(f"{text} is no rate between 0 and 1, such as 0.05")
    return rate
