"""Base of the metrics that compare what is found on each of two maps first: key points, or descriptors on a grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_dissect.metrics.functional.paired import PairedMoments
from lightning_dissect.metrics.functional.sift import map_grid
from lightning_dissect.metrics.paired import PairedMetric
from lightning_dissect.metrics.similarity import Level, Similarity, check_same_clips, full_precision


class PreparedMapMetric(PairedMetric):
    """A metric of maps that a layer or a feature is prepared for once, on a grid.

    The grid is the activation map's own size within limits, so that a layer is prepared once for all features. What is
    prepared is a named tuple with the fields ``filled``, which parts of it hold something, and ``reach``, their right
    end as a part of the grid's width, each ``(B, U, K)``.

    Subclasses implement ``_prepare`` and ``_compare``.

    Args:
        min_size: smallest side of the grid, pixels.
        max_size: largest side of the grid, pixels.
        level: ``"map"``.
        kwargs: torchmetrics' own arguments.

    Raises:
        ValueError: if the sizes are out of range.
    """

    def __init__(self, min_size: int, max_size: int, level: Level | None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if not 32 <= min_size <= max_size:
            raise ValueError(f"min_size={min_size} and max_size={max_size} should satisfy 32 <= min_size <= max_size")
        self.min_size, self.max_size = min_size, max_size
        self._add_moments(PairedMoments.zeros())

    @abstractmethod
    def _prepare(self, maps: Tensor, grid: tuple[int, int]) -> Any:
        """What is needed of maps ``(B, U, H, W)``."""

    @abstractmethod
    def _compare(self, activations: Any, features: Any) -> Tensor:
        """Similarity of each clip's maps and its feature, shape ``(B, U)``, NaN where undefined."""

    def grid(self, activations: Sequence[int], features: Sequence[int]) -> tuple[int, int]:
        """Common (height, width): see :func:`~lightning_dissect.metrics.functional.map_grid`."""
        return map_grid(activations, self.min_size, self.max_size)

    def prepare_activations(self, activations: Tensor, grid: tuple[int, int] | None = None) -> Any:
        """What is needed of activation maps ``(B, U, H, W)`` on a grid (None: the maps' own, within the limits)."""
        with full_precision(activations):
            return self._prepare(activations, grid or self.grid(activations.shape, activations.shape))

    def prepare_features(self, features: Tensor, grid: tuple[int, int] | None = None) -> Any:
        """What is needed of feature maps ``(B, H', W')`` on a grid (None: the maps' own, within the limits)."""
        return self.prepare_activations(features.unsqueeze(1), grid)

    def update(self, activations: Any, features: Any, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: maps ``(B, U, H, W)`` or what :meth:`prepare_activations` gave for them.
            features: maps ``(B, H', W')`` or what :meth:`prepare_features` gave for them.
            mask: valid frames, booleans ``(B, T)`` on any time grid that spans the maps; None if all are. What
                reaches beyond a clip's end is left out, since both maps show that end.

        Raises:
            ValueError: if axes, clips or units do not fit together, or a map is given raw and the other prepared.
        """
        if isinstance(activations, Tensor) and isinstance(features, Tensor):
            check_same_clips(activations, features, (4, 3))
            grid = self.grid(activations.shape, features.shape)
            activations, features = self.prepare_activations(activations, grid), self.prepare_features(features, grid)
        if isinstance(activations, Tensor) or isinstance(features, Tensor):
            raise ValueError("activations and features should both be maps or both be prepared")
        check_same_clips(activations.filled, features.filled, (3, 3))
        with full_precision(activations.reach):
            ends = activations.reach.new_ones(len(activations.reach)) if mask is None else mask.float().mean(-1)
            self._update_pairs(activations, features, ends)

    def _similarity(self, activations: Any, features: Any, mask: Tensor | None) -> Tensor:
        """Compare what lies before the clips' ends, which are given as a part of the maps' width."""
        if mask is not None:
            activations, features = _end_at(activations, mask), _end_at(features, mask)
        return self._compare(activations, features).unsqueeze(-1)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value, number of clips and the effect's interval, each ``(U, 1)``."""
        return self._compute_pairs()


def _end_at(prepared: Any, end: Tensor) -> Any:
    """Only what lies before a clip's end, given as a part of the width; 1 keeps all."""
    end = end.view(-1, 1, 1)
    return prepared._replace(filled=prepared.filled & ((prepared.reach <= end) | (end >= 1)))
