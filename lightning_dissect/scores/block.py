"""The blocks that a table of scores is made of: what one metric found at one level in one layer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from lightning_dissect.metrics.similarity import Similarity

_FIELDS = {name: name for name in ("score", "null", "effect", "p_value", "n_clips")}
_FIELDS |= {"effect_low": "low", "effect_high": "high"}
"""For each column that a metric fills, its name in a similarity."""


class Block(NamedTuple):
    """Rows of a table, units × features, the features of a unit beside each other.

    Attributes:
        constant: The columns that are the same in all its rows; ``unit`` is ``None`` for a metric of the whole layer.
        features: Names of the feature rows.
        similarity: Each field of shape (units, features).
    """

    constant: Mapping[str, Any]
    features: Sequence[str]
    similarity: Similarity


def join(blocks: Sequence[Block]) -> dict[str, Any]:
    """Join blocks, whose constant columns are the same, ``unit`` aside, to columns by name.

    Words become categories at once: a table of a large network has a million rows.

    Raises:
        ValueError: If a block's names are not as many as its features.
    """
    for _, features, similarity in blocks:
        if len(features) != similarity.score.shape[1]:
            raise ValueError(
                f"features: {len(features)} names {list(features)} for {similarity.score.shape[1]} columns of scores."
            )
    shapes = np.array([block.similarity.score.shape for block in blocks])
    widths, sizes = shapes[:, 1], shapes.prod(axis=1)
    within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
    unit, feature = np.divmod(within, np.repeat(widths, sizes))
    of_layer = np.repeat(["unit" in block.constant for block in blocks], sizes)
    columns: dict[str, Any] = {"unit": pd.arrays.IntegerArray(unit.astype(np.int32), of_layer)}
    for name in blocks[0].constant:
        if name != "unit":
            columns[name] = _repeat([block.constant[name] for block in blocks], sizes)
    names = [name for block in blocks for name in block.features]
    known = pd.Index(sorted(set(names)))
    codes = known.get_indexer(pd.Index(names))[np.repeat(widths.cumsum() - widths, sizes) + feature]
    columns["feature"] = pd.Categorical.from_codes(codes, known)
    for name, field in _FIELDS.items():
        columns[name] = torch.cat([getattr(block.similarity, field).reshape(-1) for block in blocks]).cpu().numpy()
    return columns


def _repeat(values: Sequence[Any], sizes: np.ndarray) -> Any:
    if not isinstance(values[0], str):
        return np.repeat(values, sizes)
    known = pd.Index(sorted(set(values)))
    return pd.Categorical.from_codes(np.repeat(known.get_indexer(list(values)), sizes), known)
