"""SIFT matching of activation maps with feature maps as a metric."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.descriptors import DescriptorMetric
from lightning_dissect.metrics.functional.matching import KeyPoints, match_scores
from lightning_dissect.metrics.functional.sift import key_points


class SIFTSimilarity(DescriptorMetric):
    """Share of SIFT key points that an activation map and a feature map have in common (Slizovskaia et al. 2019).

    The measure tells whether two maps show the same local shapes, wherever they lie and (within an octave or so)
    however large they are: a layer's padding shifts maps, its pooling shrinks them. Key points of both maps are
    matched where they are each other's nearest neighbour and pass the ratio test both ways; the score of a clip is
    the number of matches over the smaller number of key points, in [0, 1], and the score is its mean over clips.
    Clips where either map is constant or has fewer than two key points are left out and not counted. Null and p-value
    (one-sided) come from swapped features, see :class:`~lightning_dissect.metrics.PairedMetric`.

    What the paper leaves open is set by the arguments. Both maps are brought to one grid, the activation map's own size
    within ``min_size`` and ``max_size``; so a layer has the same key points for all features.

    Args:
        num_features: Key points a map, the strongest.
        ratio: Largest ratio of the distances to nearest and second nearest; 0.8 is stricter and loses weak similarity.
        tolerance: Keep only matches that agree on one shift and scale between the maps, within so many pixels of the
            grid along each axis; None keeps all. The paper names false matches as its problem: agreement removes most
            of them.
        min_size: Smallest side of the grid, pixels; small maps are enlarged, or they have few key points or none.
        max_size: Largest side of the grid, pixels.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import SIFTSimilarity
        >>> feature = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
        >>> units = torch.cat([feature, feature.flip(0).flip(2)], dim=1)
        >>> metric = SIFTSimilarity()
        >>> metric.update(units, feature)
        >>> score = metric.compute().score
        >>> score.shape, bool(score[0] > 0.9), bool(score[1] < 0.3)
        (torch.Size([2, 1]), True, True)
    """

    name: ClassVar[str] = "sift"
    levels: ClassVar[tuple[Level, ...]] = ("map",)
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "greater"
    _statistic: ClassVar[Literal["rate", "number", "distance"]] = "rate"

    def __init__(
        self,
        num_features: int = 64,
        ratio: float = 0.9,
        tolerance: float | None = None,
        min_size: int = 64,
        max_size: int = 256,
        level: Level | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_size, max_size, level, **kwargs)
        if num_features < 2:
            raise ValueError(f"num_features={num_features} should be at least 2")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} should be in (0, 1]")
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"tolerance={tolerance} should be positive, or None")
        self.num_features, self.ratio, self.tolerance = num_features, ratio, tolerance

    @property
    def preparation(self) -> tuple[str, int]:
        """Metrics that ask for as many key points share them, whatever they make of the matches."""
        return ("key points", self.num_features)

    def _prepare(self, maps: Tensor, grid: tuple[int, int]) -> KeyPoints:
        return key_points(maps, grid, self.num_features)

    def _compare(self, activations: KeyPoints, features: KeyPoints) -> Tensor:
        scores = match_scores(activations, features, self.ratio, self.tolerance)
        statistic: Tensor = getattr(scores, self._statistic)
        return statistic


class SIFTCountSimilarity(SIFTSimilarity):
    """Number of SIFT key points that an activation map and a feature map have in common, see :class:`SIFTSimilarity`.

    The mean over clips of the number of matches, not divided by the number of key points: maps with more shapes score
    higher. Arguments, null, p-value and what is left out are those of :class:`SIFTSimilarity`.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import SIFTCountSimilarity
        >>> feature = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
        >>> metric = SIFTCountSimilarity()
        >>> metric.update(feature, feature)
        >>> bool(metric.compute().score > 5)
        True
    """

    name: ClassVar[str] = "sift_count"
    _statistic: ClassVar[Literal["rate", "number", "distance"]] = "number"


class SIFTDistanceSimilarity(SIFTSimilarity):
    """Mean distance of the SIFT descriptors that match between two maps, see :class:`SIFTSimilarity`.

    The mean over clips of the mean Euclidean distance between the RootSIFT descriptors of matched key points, in
    [0, 2]: the smaller, the more alike are the shapes that match. ``effect`` is score minus null, as everywhere, so
    that the p-value (one-sided) is small where the effect is below 0. Clips without a match are left out and not
    counted. Arguments are those of :class:`SIFTSimilarity`.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import SIFTDistanceSimilarity
        >>> feature = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
        >>> metric = SIFTDistanceSimilarity()
        >>> metric.update(feature, feature)
        >>> bool(metric.compute().score < 0.01), bool(metric.compute().null > 0.1)
        (True, True)
    """

    name: ClassVar[str] = "sift_distance"
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "less"
    higher_is_better = False
    _statistic: ClassVar[Literal["rate", "number", "distance"]] = "distance"
