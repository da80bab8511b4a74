"""The kinds of units as parts of a whole: what they are called, their colours, and how many there are."""

from typing import NamedTuple

import pandas as pd

from lightning_dissect.scores import count_kinds


class Kind(NamedTuple):
    """How a kind of units is shown.

    Attributes:
        words: What they follow.
        colour: Of areas.
        ink: Of what is written on it.
    """

    words: str
    colour: str
    ink: str = "black"


KINDS = {
    "learned": Kind("one feature, learned", "#084594", "white"),
    "distinct": Kind("one feature", "#4292c6", "black"),
    "shared": Kind("several that cannot be told apart", "#edc873"),
    "untested": Kind("a feature, untested", "#e3d3ea"),
    "trivial": Kind("only what is trivial: level or input", "#a9a9a9"),
    "none": Kind("nothing known", "#f0f0f0"),
}
"""From what says most to what says least. Where it is known which units are learned, ``distinct`` are the others."""
NOT_LEARNED = "one feature, not shown to be learned"
"""Words for ``distinct`` where learned units are shown apart."""


def count_parts(labels: pd.DataFrame) -> pd.DataFrame:
    """Count the units of each layer (row) of each kind (column of :data:`KINDS`), so that a row adds up to its units.

    Without a baseline there is no column ``learned``, and ``distinct`` are all that are; ``untested`` is there if any
    are.
    """
    counts = count_kinds(labels)
    if counts["learned"].isna().all():
        counts = counts.drop(columns="learned")
    else:
        counts["distinct"] -= counts["learned"]
    shown = [kind for kind in KINDS if kind in counts and (kind != "untested" or counts[kind].any())]
    return counts[shown].astype(int)


def name_parts(parts: pd.DataFrame) -> dict[str, str]:
    """What the columns of :func:`count_parts` are called."""
    words = {str(kind): KINDS[str(kind)].words for kind in parts}
    return words | {"distinct": NOT_LEARNED} if "learned" in parts else words
