"""Scores: the table of a run, its significance, its labels, its file."""

from lightning_dissect.scores.block import Block
from lightning_dissect.scores.columns import COLUMNS, LABEL_COLUMNS
from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.labels import count_labels
from lightning_dissect.scores.significance import adjust_p_values, best_first, best_of_each
from lightning_dissect.scores.table import Scores

__all__ = [
    "COLUMNS",
    "LABEL_COLUMNS",
    "Block",
    "Scores",
    "adjust_p_values",
    "base_feature",
    "best_first",
    "best_of_each",
    "count_labels",
]
