"""The maps of a few clips of a run, kept to be drawn."""

from typing import NamedTuple, Self

from torch import Tensor

from lightning_dissect.run.batch_features import BatchFeatures

_DRAWN = 4
"""Clips whose maps are kept."""


class DrawnMaps(NamedTuple):
    """The maps of a few clips, kept to be drawn.

    Attributes:
        activations: Shape (clips, units, frequency, time).
        features: Of each map feature, shape (clips, 1, frequency, time).
    """

    activations: Tensor
    features: dict[str, Tensor]

    @classmethod
    def of(cls, maps: Tensor, batch: BatchFeatures) -> Self:
        """Keep the first clips of a layer's maps (clips, units, frequency, time), and of its batch's features."""
        features = {name: levels.map[:_DRAWN] for name, levels in batch.features.items() if levels.map is not None}
        return cls(maps[:_DRAWN].clone(), features)
