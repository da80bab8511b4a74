"""Scores: the table of a run, its significance, its labels, its file."""

from lightning_dissect.scores.block import Block
from lightning_dissect.scores.columns import COLUMNS, LABEL_COLUMNS
from lightning_dissect.scores.features import base_feature, fold_features
from lightning_dissect.scores.headline import headline, tell_labels
from lightning_dissect.scores.labels import flatten_labels
from lightning_dissect.scores.significance import adjust_p_values, best_first, best_of_each
from lightning_dissect.scores.summary import (
    count_controls,
    count_kinds,
    count_labels,
    kinds_of,
    list_features,
    order_of_kind,
)
from lightning_dissect.scores.table import Scores
from lightning_dissect.scores.variance import explained_variance

__all__ = [
    "COLUMNS",
    "LABEL_COLUMNS",
    "Block",
    "Scores",
    "adjust_p_values",
    "base_feature",
    "best_first",
    "best_of_each",
    "count_controls",
    "count_kinds",
    "count_labels",
    "explained_variance",
    "flatten_labels",
    "fold_features",
    "headline",
    "kinds_of",
    "list_features",
    "order_of_kind",
    "tell_labels",
]
