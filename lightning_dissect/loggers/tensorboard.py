"""TensorBoard: scalars with a chart for each layer, the histogram over units, pictures, players."""

import re
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from lightning_dissect.loggers.contents import Contents, open_picture, prefixed
from lightning_dissect.loggers.scalars import KINDS, finite, scores_by_tag

_BINS = 60
"""Of a histogram; the page joins them to 30. The writer's own 3000 take a millisecond for each feature."""
_IN_AN_EVENT = 1000
"""Scalars and histograms; of these, an event takes half a megabyte."""
_layouts: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""The charts that each writer has: a run has one layout, which a trainer's second callback adds to."""
_ALL_SHOWN = 10
_calendars: WeakKeyDictionary[Any, dict[str, "_Calendar"]] = WeakKeyDictionary()
"""When each writer shows what takes room, by what the tags begin with."""


def is_tensorboard(logger: Any) -> bool:
    """Whether a logger's experiment is a ``SummaryWriter`` of torch, as that of Lightning's ``TensorBoardLogger``."""
    experiment = getattr(logger, "experiment", None)
    if not hasattr(experiment, "add_custom_scalars"):
        return False
    from torch.utils.tensorboard import SummaryWriter  # the user's logger has brought it

    return isinstance(experiment, SummaryWriter)


def write(logger: Any, contents: Contents) -> None:
    """Write a run to TensorBoard.

    Scalars, pictures and players have the tags that they are given under; the histogram over units (Slizovskaia 2019,
    figures 3 and 4) has the tag ``dissect.<layer>/<feature>/<metric>.<level>``. The Custom Scalars page has two charts
    for each layer: the number of units of each kind, and that of the units that each feature sets apart. What the run
    found stands in words under Text.

    Scalars are written in every run; the rest, of half a megabyte a run and more, in each of the first ten, and from
    then on when the runs have grown by a tenth since it was last written. Of 100 runs these are 30, of 1000 runs 54,
    and what is shown is never older than a tenth of the training.
    """
    experiment = logger.experiment
    due = _calendars.setdefault(experiment, {}).setdefault(contents.name, _Calendar()).is_due()
    _add_numbers(logger, contents, units=due)
    _add_charts(logger, contents)
    if due:
        _add_large(logger, contents)
    experiment.flush()


@dataclass
class _Calendar:
    """Which runs are shown in full."""

    runs: int = 0
    shown: int = 0

    def is_due(self) -> bool:
        """Count a run, and tell whether it is."""
        self.runs += 1
        due = self.runs <= _ALL_SHOWN or 10 * self.runs >= 11 * self.shown
        self.shown = self.runs if due else self.shown
        return due


def _add_large(logger: Any, contents: Contents) -> None:
    experiment, step = logger.experiment, contents.step
    text = "\n".join(f"- {sentence}" for sentence in contents.sentences)
    experiment.add_text(prefixed(logger, f"{contents.name}/found"), text, step)
    for tag, png in contents.pictures.items():
        _add_picture(experiment, prefixed(logger, tag), png, step)
    for player in contents.players:
        with player.file.open("rb") as raw, wave.open(raw) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32767
            experiment.add_audio(prefixed(logger, player.tag), samples[None], step, file.getframerate())
    if contents.players:
        lines = [f"- `{player.tag}`: {player.caption}" for player in contents.players]
        experiment.add_text(prefixed(logger, f"{contents.name}/playlist"), "\n".join(lines), step)


def _add_numbers(logger: Any, contents: Contents, units: bool) -> None:
    """Write scalars, and histograms over ``units`` if they are due: many in one event, since each waits for a queue."""
    from torch.utils.tensorboard.summary import histogram, scalar

    by_tag = scores_by_tag(contents.scores, contents.name) if units else ()
    summaries = chain(
        (scalar(prefixed(logger, tag), value) for tag, value in finite(contents.scalars).items()),
        (histogram(prefixed(logger, tag), values, bins=_BINS) for tag, values in by_tag),
    )
    while some := [value for summary in islice(summaries, _IN_AN_EVENT) for value in summary.value]:
        _add_event(logger.experiment, some, contents.step)


def _add_picture(experiment: Any, tag: str, png: bytes, step: int) -> None:
    """Write the file as it is; ``add_image`` would encode the pixels again."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = open_picture(png).size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    _add_event(experiment, [Summary.Value(tag=tag, image=image)], step)


def _add_event(experiment: Any, values: Sequence[Any], step: int) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary

    # Not its attribute `file_writer`, which is None after a run that closed the file, until something is written.
    experiment._get_file_writer().add_summary(Summary(value=values), step)


def _add_charts(logger: Any, contents: Contents) -> None:
    """Lay the Custom Scalars page out, once."""
    layout = _layouts.setdefault(logger.experiment, {})
    if contents.name not in layout:
        first = re.escape(prefixed(logger, f"{contents.name}/"))
        charts = {"units by kind": f"({'|'.join(KINDS)})", "distinct units by feature": "labelled_.*"}
        layers = dict.fromkeys(contents.labels["layer"].astype(str))
        layout[contents.name] = {
            f"{layer}: {title}": ["Multiline", [f"^{first}{tag}/{re.escape(layer)}$"]]
            for layer in layers
            for title, tag in charts.items()
        }
        logger.experiment.add_custom_scalars(layout)
