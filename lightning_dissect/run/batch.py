"""The features of one batch, as metrics need them."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from lightning_dissect.levels import Extent, Side
from lightning_dissect.metrics import Level, SimilarityMetric


class Group(NamedTuple):
    """Features that go into one metric, their rows one after the other."""

    names: tuple[str, ...]
    values: Tensor


class Batch:
    """The features of one batch at each level, and what metrics have made of them.

    Args:
        extent: how far its clips reach.
        features: each feature, brought to its levels.
        dataloader: index of the data loader that it came from.
    """

    def __init__(self, extent: Extent, features: Mapping[str, Side], dataloader: int = 0) -> None:
        self.extent = extent
        self.features = dict(features)
        self.dataloader = dataloader
        self._groups: dict[tuple[Level, bool], list[Group]] = {}
        self._prepared: dict[Any, Any] = {}

    @classmethod
    def join(cls, batches: Sequence[Self]) -> Self:
        """The clips of several batches that are :meth:`alike`, without maps."""
        first = batches[0]
        fractions = [batch.extent.fraction for batch in batches if batch.extent.fraction is not None]
        clips = sum(batch.extent.clips for batch in batches)
        extent = Extent(clips, first.extent.frames, torch.cat(fractions) if fractions else None, 0)
        features = {name: join_sides([batch.features[name] for batch in batches]) for name in first.features}
        return cls(extent, features, first.dataloader)

    def alike(self, other: "Batch") -> bool:
        """Whether the clips of both may stand in one batch."""
        padded, whole = (batch.extent.fraction is not None for batch in (self, other))
        same_features = self.features.keys() == other.features.keys() and all(
            sides_alike(side, other.features[name]) for name, side in self.features.items()
        )
        same_grid = self.dataloader == other.dataloader and self.extent.frames == other.extent.frames
        return same_grid and padded == whole and same_features

    def groups(self, level: Level, joined: bool) -> list[Group]:
        """The features that have a level: one by one, or those of one grid together."""
        if (level, joined) not in self._groups:
            found = {name: getattr(side, level) for name, side in self.features.items()}
            values = {name: value for name, value in found.items() if value is not None}
            self._groups[level, joined] = (
                _join_rows(values, level) if joined else [Group((n,), v) for n, v in values.items()]
            )
        return self._groups[level, joined]

    def prepare(self, metric: SimilarityMetric, preparation: Hashable, group: Group, grid: Any) -> Any:
        """What a metric needs of a group on a grid, once for all layers and for the metrics that need the same."""
        key = (preparation, group.names, grid)
        if key not in self._prepared:
            self._prepared[key] = metric.prepare_features(group.values, grid)
        return self._prepared[key]


def join_sides(sides: Sequence[Side]) -> Side:
    """The clips of several sides one after the other, without maps."""
    frames = [side.frame for side in sides if side.frame is not None]
    return Side(torch.cat([side.clip for side in sides]), torch.cat(frames) if frames else None, None)


def join_units(sides: Sequence[Side]) -> Side:
    """The units of several sides of the same clips and frames side by side, without maps."""
    if len(sides) == 1:
        return sides[0]
    frames = [side.frame for side in sides if side.frame is not None]
    return Side(torch.cat([side.clip for side in sides], 1), torch.cat(frames, 1) if frames else None, None)


def sides_alike(one: Side, other: Side) -> bool:
    """Whether two sides have the same units and frames, on the same device."""
    return one.clip.device == other.clip.device and all(
        a is b or (a is not None and b is not None and a.shape[1:] == b.shape[1:])
        for a, b in ((one.clip, other.clip), (one.frame, other.frame))
    )


def _join_rows(values: Mapping[str, Tensor], level: Level) -> list[Group]:
    """Put the rows of features on one grid, of shape (B, rows, …), one after the other; a map is one row."""
    on_grid: dict[tuple[int, ...], dict[str, Tensor]] = {}
    for name, value in values.items():
        grid = value.shape[1:] if level == "map" else value.shape[2:]
        on_grid.setdefault(tuple(grid), {})[name] = value.unsqueeze(1) if level == "map" else value
    return [Group(tuple(group), torch.cat(list(group.values()), 1)) for group in on_grid.values()]
