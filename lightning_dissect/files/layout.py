"""What lies where in a run's folder."""

import itertools
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_dissect.files.names import file_name
from lightning_dissect.files.places import Place, is_inside, rename

Stage = Literal["validate", "test"]

TABLE = "playlist.parquet"
UNTRAINED = "untrained.parquet"
"""The scores of untrained copies, beside those of the run; of scores that a user saved, behind their file's name."""
AUDIO = "audio"
PICTURES = "pictures"
"""The folder beside the scores that holds the pictures of the last run, those of a layer in a folder of its name."""
_TEST = "test-"
_SCORES = re.compile(rf"(?:{_TEST})?epoch=-?\d+-step=(-?\d+)\.parquet")


def score_file(stage: Stage, epoch: int, step: int) -> str:
    """The name of a run's score file.

    Example:
        >>> score_file("validate", 2, 8), score_file("test", 2, 8)
        ('epoch=0002-step=00000008.parquet', 'test-epoch=0002-step=00000008.parquet')
    """
    return f"{_TEST if stage == 'test' else ''}epoch={epoch:04d}-step={step:08d}.parquet"


def picture_file(name: str, layer: str | None = None) -> str:
    """The file of a picture of the network, or of a layer, whatever the layer is called; from the scores' folder on.

    Example:
        >>> picture_file("overview"), picture_file("units", "conv.0"), picture_file("units", "../x")
        ('pictures/overview.png', 'pictures/conv.0/units.png', 'pictures/_x-d6b96a97/units.png')
    """
    return f"{PICTURES}/{name}.png" if layer is None else f"{PICTURES}/{file_name(layer)}/{name}.png"


def untrained_file(file: Place) -> Place:
    """The file beside a file of scores that holds those of untrained copies, whoever wrote the two.

    Example:
        >>> untrained_file(Path("logs/vggish.parquet")).as_posix()
        'logs/vggish.untrained.parquet'
        >>> untrained_file(Path("dissect/epoch=0002-step=00000008.parquet")).as_posix()
        'dissect/untrained.parquet'
    """
    of_run = _SCORES.fullmatch(file.name)
    return file.parent / (UNTRAINED if of_run else f"{file.name.removesuffix('.parquet')}.{UNTRAINED}")


def list_scores(folder: Place, stage: Stage | None = None) -> list[Place]:
    """The score files at any depth of a folder, in the order of their names, without those of untrained copies.

    Without a stage, these are those of validation, and those of tests where there is nothing else.
    """
    found: Iterator[Place] = folder.rglob("*.parquet")
    files = sorted((file for file in found if _holds_scores(file.name)), key=str)
    tests = [file for file in files if file.name.startswith(_TEST)]
    validations = [file for file in files if file not in tests]
    if stage is None:
        return validations or tests
    return tests if stage == "test" else validations


def _holds_scores(name: str) -> bool:
    return not (name.startswith(".") or name in (TABLE, UNTRAINED) or name.endswith(f".{UNTRAINED}"))


def check_one_run(files: Collection[Place], folder: Place, stage: Stage | None = None) -> None:
    """Raise unless score files that were found in a folder are those of one run: one at least, and all in one place.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If they are of several runs.
    """
    if not files:
        kind = "" if stage is None else f" of stage={stage!r}"
        raise FileNotFoundError(
            f"{folder}: no scores{kind} here. A run writes them as .parquet files into its log folder."
        )
    runs = sorted({str(file.parent) for file in files})
    if len(runs) > 1:
        raise ValueError(f"{folder} holds {len(runs)} runs; name one of them: {', '.join(runs)}.")


def leads_out(place: Place, folder: Place) -> bool:
    """Whether links lead from below a folder out of it; then nothing is to be written there, as a warning says once."""
    if not isinstance(place, Path) or is_inside(place, folder):
        return False
    steps = [step for step in (place, *place.parents) if step.is_relative_to(str(folder))]
    _warn_of_link(next(step for step in reversed(steps) if not is_inside(step, folder)), folder)
    return True


@cache
def _warn_of_link(link: Place, folder: Place) -> None:
    rank_zero_warn(f"{link} is a link that leads out of {folder}: nothing is written there.")


def set_aside(folders: Iterable[Place], start: int, keep: Collection[str] = ()) -> None:
    """Rename the score files that a fit does not continue, so that its epochs are not mixed with theirs, and say so.

    They get the ending ``.old``, under which nothing looks for scores. What is of the step at which the fit began, or
    before it, is its own history, except where it began anew, at 0; what is to be kept stays nevertheless. Untrained
    copies are of step 0.
    """
    for folder in folders:
        steps = {file: match[1] for file in folder.glob("*.parquet") if (match := _SCORES.fullmatch(file.name))}
        if start == 0 and (folder / UNTRAINED).exists():
            steps[folder / UNTRAINED] = "0"
        foreign = [file for file, step in steps.items() if str(file) not in keep and not 0 < int(step) <= start]
        for file in foreign:
            rename(file, _free_name(file))
        if foreign:
            rank_zero_warn(
                f"{folder}: {len(foreign)} score files of an earlier training, which this one does not continue, are "
                "set aside; their names end in .parquet.old now."
            )


def _free_name(file: Place) -> str:
    """Of the names under which a file can be set aside, the first that no older one has."""
    names = (f"{file.name}.old{number if number > 1 else ''}" for number in itertools.count(1))
    return next(name for name in names if not (file.parent / name).exists())
