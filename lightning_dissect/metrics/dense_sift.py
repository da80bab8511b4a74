"""Descriptors on a grid of activation maps and feature maps as a metric, for maps too small for key points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.descriptors import DescriptorMetric
from lightning_dissect.metrics.functional.dense_sift import DenseDescriptors, dense_cosine, dense_descriptors
from lightning_dissect.metrics.functional.sift import map_grid


class DenseSIFTSimilarity(DescriptorMetric):
    """Mean cosine of the SIFT descriptors that an activation map and a feature map have at the same places.

    The measure for maps that pooling has left too small for key points: whether both rise and fall in the same
    directions at the same places, whatever their values. Both maps are brought to the activation map's own size,
    enlarged if that is small, and described at regular places, see
    :func:`~lightning_dissect.metrics.functional.dense_descriptors`. The score of a clip is the mean over places of the
    cosine, in [0, 1]; a place where only one map has a shape counts as 0, and one where neither has not at all. It
    forgives shifts of a few pixels of the grid, not more, unlike
    :class:`~lightning_dissect.metrics.SIFTSimilarity`. Since histograms of gradients always resemble each other
    somewhat, scores of unrelated maps lie well above 0: read ``effect``. Clips where either map has no shape at all are
    left out and not counted. Null and p-value (one-sided) come from swapped features, see
    :class:`~lightning_dissect.metrics.PairedMetric`.

    Args:
        min_size: Smallest side, pixels, at which maps are described; smaller ones are enlarged.
        max_size: Largest side of the grid, pixels.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import DenseSIFTSimilarity
        >>> feature = torch.rand(8, 1, 6, 10, generator=torch.Generator().manual_seed(0))
        >>> metric = DenseSIFTSimilarity()
        >>> metric.update(torch.cat([feature, feature.flip(0)], dim=1), feature)
        >>> (metric.compute().effect > 0.2).ravel()
        tensor([ True, False])
    """

    name: ClassVar[str] = "dense_sift"
    levels: ClassVar[tuple[Level, ...]] = ("map",)
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "greater"
    smallest_map: ClassVar[int] = 4

    def __init__(self, min_size: int = 32, max_size: int = 128, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(min_size, max_size, level, **kwargs)

    @property
    def preparation(self) -> tuple[str, int]:
        """Metrics of the same smallest size share the descriptors."""
        return ("dense descriptors", self.min_size)

    def grid(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return the height and width of the activation map, up to the largest; small ones are enlarged after it."""
        return map_grid(shape, 1, self.max_size)

    def _prepare(self, maps: Tensor, grid: tuple[int, int]) -> DenseDescriptors:
        return dense_descriptors(maps, grid, self.min_size)

    def _compare(self, activations: DenseDescriptors, features: DenseDescriptors) -> Tensor:
        return dense_cosine(activations, features)
