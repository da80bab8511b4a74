"""The features of one batch, as metrics need them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_dissect.levels import Extent, Level, Levels
from lightning_dissect.metrics import DescriptorMetric


class Values:
    """Units or feature rows at one level, and what metrics have prepared of their maps.

    A layer is so prepared once a batch for all features, and a feature once for all layers of one grid.

    Args:
        values: Shape (clips, rows, ...).
        names: Of the features whose rows stand one after the other.
    """

    def __init__(self, values: Tensor, names: tuple[str, ...] = ()) -> None:
        self.values, self.names = values, names
        self._prepared: dict[Any, Any] = {}

    def prepared(self, metric: DescriptorMetric, grid: tuple[int, int]) -> Any:
        """Return what a metric needs of the maps on a grid, shared with metrics of the same preparation."""
        key = (metric.preparation, grid)
        if key not in self._prepared:
            self._prepared[key] = metric.prepare(self.values, grid)
        return self._prepared[key]


class BatchFeatures:
    """The features of one batch.

    Args:
        extent: How far its clips reach.
        features: Each feature, at its levels.
        dataloader: Index of the data loader that it came from.
    """

    def __init__(self, extent: Extent, features: Mapping[str, Levels], dataloader: int = 0) -> None:
        self.extent = extent
        self.features = dict(features)
        self.dataloader = dataloader
        self._rows: dict[tuple[Level, bool], list[Values]] = {}

    def rows(self, level: Level, joined: bool) -> list[Values]:
        """Return the features that have a level: one by one, or the rows of those of one grid together."""
        if (level, joined) not in self._rows:
            found = {name: getattr(levels, level) for name, levels in self.features.items()}
            values = {name: value for name, value in found.items() if value is not None}
            self._rows[level, joined] = (
                _join_rows(values) if joined else [Values(value, (name,)) for name, value in values.items()]
            )
        return self._rows[level, joined]


def _join_rows(values: Mapping[str, Tensor]) -> list[Values]:
    """Put the rows of features on one grid, of shape (clips, rows, ...), one after the other."""
    on_grid: dict[tuple[int, ...], dict[str, Tensor]] = {}
    for name, value in values.items():
        on_grid.setdefault(tuple(value.shape[2:]), {})[name] = value
    return [Values(torch.cat(list(same.values()), 1), tuple(same)) for same in on_grid.values()]
