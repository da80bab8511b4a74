"""The blocks that a table of scores is made of: what one metric found at one level in one layer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightning_dissect.metrics.similarity import Similarity

_FIELDS = {name: name for name in ("score", "null", "effect", "p_value", "n_clips")}
_FIELDS |= {"effect_low": "low", "effect_high": "high", "unique": "unique", "unique_p_value": "unique_p_value"}
"""For each column that a metric fills, its name in a similarity."""


class Block(NamedTuple):
    """Rows of a table, units × features, the features of a unit beside each other.

    Attributes:
        constant: The columns that are the same in all its rows; ``unit`` is ``None`` for a metric of the whole layer.
        features: Names of the feature rows.
        similarity: Each field of shape (units, features).
        lower_p_value: That a feature explains the unit less than the one that explains it best, shape (units,
            features), see :mod:`~lightning_dissect.scores.rivals`; None if that was not tested.
    """

    constant: Mapping[str, Any]
    features: Sequence[str]
    similarity: Similarity
    lower_p_value: Tensor | None = None


def join(blocks: Sequence[Block]) -> dict[str, Any]:
    """Join blocks, whose constant columns are the same, ``unit`` aside, to columns by name.

    Words become categories at once: a table of a large network has a million rows.

    Raises:
        ValueError: If a block's names are not as many as its features.
    """
    for _, features, similarity, _ in blocks:
        if len(features) != similarity.score.shape[1]:
            raise ValueError(
                f"features: {len(features)} names {list(features)} for {similarity.score.shape[1]} columns of scores."
            )
    shapes = np.array([block.similarity.score.shape for block in blocks])
    widths, sizes = shapes[:, 1], shapes.prod(axis=1)
    place = np.repeat(np.arange(len(blocks)), sizes)  # of the block that a row of the table is from
    unit, feature = np.divmod(np.arange(sizes.sum()) - (sizes.cumsum() - sizes)[place], widths[place])
    of_layer = np.array(["unit" in block.constant for block in blocks])[place]
    columns: dict[str, Any] = {"unit": pd.arrays.IntegerArray(unit.astype(np.int32), of_layer)}
    for name in blocks[0].constant:
        if name != "unit":
            columns[name] = _take([block.constant[name] for block in blocks], place)
    names = [name for block in blocks for name in block.features]
    columns["feature"] = _take(names, (widths.cumsum() - widths)[place] + feature)
    for name, field in _FIELDS.items():
        columns[name] = torch.cat([getattr(block.similarity, field).reshape(-1) for block in blocks]).cpu().numpy()
    lower = [
        torch.full_like(block.similarity.score, torch.nan) if block.lower_p_value is None else block.lower_p_value
        for block in blocks
    ]
    columns["lower_p_value"] = torch.cat([values.reshape(-1) for values in lower]).cpu().numpy()
    return columns


def _take(values: Sequence[Any], places: np.ndarray) -> Any:
    """The values at some places, words as categories."""
    if not all(isinstance(value, str) for value in values):
        return np.take(values, places)
    known = pd.Index(sorted(set(values)))
    return pd.Categorical.from_codes(known.get_indexer(list(values))[places], known)
