"""Base of the metrics that compare SIFT descriptors of two maps, at key points or on a grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.checks import check_fraction, check_same_clips, full_precision
from lightning_dissect.metrics.functional.sift import map_grid
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.metrics.swapped_pairs import PairedMetric


class DescriptorMetric(PairedMetric):
    """A metric of maps that are described before they are compared, which is most of the work.

    A layer is described once for all features, and a feature once for all layers on one grid, by whoever keeps what
    `prepare` gives::

        grid = metric.grid(activations.shape)
        prepared = metric.prepare(activations, grid)  # keep by layer, metric.preparation and grid
        against = metric.prepare(features, grid)      # keep by feature, metric.preparation and grid
        metric.update(prepared, against, fraction)

    What is prepared is a named tuple with the fields `filled`, which parts of it hold something, and `reach`, their
    right end as a part of the grid's width, each (clips, maps, places).

    Subclasses implement `preparation`, `_prepare` and `_compare`.

    Args:
        min_size: Smallest side of the grid, pixels.
        max_size: Largest side of the grid, pixels.

    Raises:
        ValueError: If the sizes are out of range.
    """

    def __init__(self, min_size: int, max_size: int, level: Level | None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if not 32 <= min_size <= max_size:
            raise ValueError(f"min_size={min_size} and max_size={max_size} should satisfy 32 <= min_size <= max_size")
        self.min_size, self.max_size = min_size, max_size
        self._register_pairs()

    @property
    @abstractmethod
    def preparation(self) -> Hashable:
        """What prepared maps depend on beside the grid; metrics with an equal one share them."""

    @abstractmethod
    def _prepare(self, maps: Tensor, grid: tuple[int, int]) -> Any:
        """Describe maps (clips, maps, frequency, time)."""

    @abstractmethod
    def _compare(self, activations: Any, features: Any) -> Tensor:
        """Compare each clip's maps with one feature map, shape (clips, units), NaN where undefined."""

    def grid(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return the height and width that activations of this shape and the features they meet are brought to.

        It is the activation map's own size within limits, so that a layer has one grid for all features.
        """
        return map_grid(shape, self.min_size, self.max_size)

    def prepare(self, maps: Tensor, grid: tuple[int, int]) -> Any:
        """Describe activation or feature maps on a grid.

        Args:
            maps: Shape (clips, units or rows, frequency, time).
            grid: What `grid` gave for the activations.

        Returns:
            A named tuple for `update`.
        """
        with full_precision(maps):
            return self._prepare(maps, grid)

    def update(self, activations: Any, features: Any, fraction: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: Maps of any size, or what `prepare` gave for them.
            features: The same of the features; each row is a map.
            fraction: As for every metric. What reaches beyond a clip's end is left out, since both maps show that end.

        Raises:
            ValueError: If axes, clips or units do not fit together, or a map is given raw and the other prepared.
        """
        if isinstance(activations, Tensor) and isinstance(features, Tensor):
            check_same_clips(activations, features, "map")
            grid = self.grid(activations.shape)
            activations, features = self.prepare(activations, grid), self.prepare(features, grid)
        if isinstance(activations, Tensor) or isinstance(features, Tensor):
            raise ValueError("activations and features should both be maps or both be prepared")
        check_same_clips(activations.filled, features.filled, "frame")
        check_fraction(fraction, len(activations.filled))
        with full_precision(activations.reach):
            self._add_batch(activations, features, fraction)

    def _add_batch(self, activations: Any, features: Any, fraction: Tensor | None) -> None:
        self._update_pairs(activations, features, fraction)

    def _similarity(self, activations: Any, features: Any, fraction: Tensor | None) -> Tensor:
        """Compare what lies before the clips' ends."""
        if fraction is not None:
            activations, features = before_end(activations, fraction), before_end(features, fraction)
        rows = range(features.filled.shape[1])
        maps = (type(features)(*(part[:, row : row + 1] for part in features)) for row in rows)
        return torch.stack([self._compare(activations, feature) for feature in maps], -1)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value, number of clips and the effect's interval, each (units, rows)."""
        return self._compute_pairs()


def before_end(prepared: Any, fraction: Tensor) -> Any:
    """Keep only what lies before each clip's end; a fraction of 1 keeps all."""
    end = fraction.view(-1, 1, 1)
    return prepared._replace(filled=prepared.filled & ((prepared.reach <= end) | (end >= 1)))
