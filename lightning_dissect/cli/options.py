"""Options that several commands share."""

import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from lightning_dissect.report.run_folder import find_score_files, load_baseline
from lightning_dissect.scores import Scores

_SHORTEST = 0.01


def add_run(parser: ArgumentParser, name: str) -> None:
    """Add a run as a positional argument."""
    words = "a run's folder, such as lightning_logs/version_0, or one score file"
    parser.add_argument(name, type=Path, metavar=name.upper(), help=words)


def add_q(parser: ArgumentParser) -> None:
    """Add the false discovery rate."""
    parser.add_argument(
        "-q", type=_rate, default=0.05, metavar="RATE", help="share of false labels that is accepted (default: 0.05)"
    )


def add_least(parser: ArgumentParser) -> None:
    """Add the smallest effect that is called one."""
    words = "smallest effect that is called one, of either sign (default: 0)"
    parser.add_argument("--least", type=_size, default=0.0, metavar="EFFECT", help=words)


def add_csv(parser: ArgumentParser) -> None:
    """Add the choice of comma-separated values."""
    parser.add_argument("--csv", action="store_true", help="print comma-separated values, to more digits")


def read_last(run: Path) -> Scores:
    """The scores of a run's last epoch, without reading the others."""
    file = find_score_files(run)[-1]
    scores = Scores.load(file)
    scores.baseline = load_baseline(file)
    return scores


def show_progress(files: Sequence[Path]) -> Iterable[Path]:
    """A progress bar on a terminal, nothing elsewhere."""
    shown: Iterable[Path] = tqdm(files, desc="Reading epochs", unit="file", disable=None, leave=False)
    return shown


def length(text: str) -> float:
    """Read a number of seconds."""
    words = f"length of {_SHORTEST} seconds or more, such as 10"
    return _number(text, float, lambda seconds: _SHORTEST <= seconds < math.inf, words)


def count(text: str, least: int = 1) -> int:
    """Read a whole number."""
    return int(_number(text, int, lambda number: number >= least, f"whole number from {least} on"))


def _rate(text: str) -> float:
    return _number(text, float, lambda rate: 0 < rate < 1, "rate between 0 and 1, such as 0.05")


def _size(text: str) -> float:
    return _number(text, float, lambda size: 0 <= size < math.inf, "effect of 0 or more, such as 0.2")


def _number(text: str, kind: type[float], allows: Callable[[float], bool], words: str) -> float:
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not allows(number):
        raise ArgumentTypeError(f"{text} is no {words}")
    return number
