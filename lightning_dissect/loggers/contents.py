"""What a run has to show, before any logger's own way to show it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from PIL import Image

from lightning_dissect.files import Place, shorten_name
from lightning_dissect.scores import Scores, flatten_labels, headline


@dataclass(frozen=True)
class Player:
    """An excerpt to listen to.

    Attributes:
        tag: The same for every epoch.
        caption: Which unit, feature, clip and moment.
        file: A WAV file.
    """

    tag: str
    caption: str
    file: Place


@dataclass(frozen=True)
class Contents:
    """What a run has to show.

    Attributes:
        name: What all tags begin with.
        step: The trainer's global step.
        scores: The scores of the run.
        labels: The labels of the units, like ``Scores.labels()``.
        scalars: Numbers by tag; the same tags in every run of a training.
        pictures: PNG files by tag.
        players: Excerpts of the units that follow each feature best.
        files: The score file, and the table of playlists where there is one.
    """

    name: str
    step: int
    scores: Scores
    labels: pd.DataFrame
    scalars: Mapping[str, float]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    players: Sequence[Player] = ()
    files: Sequence[Place] = ()

    @property
    def sentences(self) -> list[str]:
        """What the labels say, in plain words."""
        return list(headline(self.scores, labels=self.labels).values())

    @property
    def label_table(self) -> pd.DataFrame:
        """The labels with their explained variance, for clients that take text and numbers alone."""
        table = flatten_labels(self.labels).astype(object)
        return table.where(table.notna(), None)


_LONGEST_TAG = 140
"""Bytes: clients that name files after tags add a hundred, and a file's name has at most 255."""


def open_picture(png: bytes) -> Image.Image:
    """Open a PNG file, whose pixels are read when they are needed."""
    return Image.open(io.BytesIO(png))


def prefixed(logger: Any, tag: str) -> str:
    """A tag with the prefix that the user gave the logger, joined by the logger's own separator, as its metrics are."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}{tag}" if prefix else tag


def as_path(tag: str) -> str:
    """A tag for clients that name files and folders after it: none leads upwards or is too long.

    Example:
        >>> as_path("dissect.conv/units"), as_path("dissect.../../conv/units")
        ('dissect.conv/units', 'dissect.../__/conv/units')
    """
    steps = shorten_name(tag, _LONGEST_TAG).split("/")
    return "/".join(step if step.strip(".") else "_" * max(len(step), 1) for step in steps)
