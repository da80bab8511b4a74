"""SIFT matching of activation maps with feature maps as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor

from lightning_dissect.metrics.functional.matching import KeyPoints, match_scores
from lightning_dissect.metrics.functional.paired import PairedMoments
from lightning_dissect.metrics.functional.sift import key_points, map_grid
from lightning_dissect.metrics.paired import PairedMetric
from lightning_dissect.metrics.similarity import Level, Similarity, check_same_clips, full_precision


class SIFTSimilarity(PairedMetric):
    """Share of SIFT key points that an activation map and a feature map have in common (Slizovskaia et al. 2019).

    The measure tells whether two maps show the same local shapes, wherever they lie and (within an octave or so)
    however large they are: a layer's padding shifts maps, its pooling shrinks them. Key points of both maps are
    matched where they are each other's nearest neighbour and pass the ratio test both ways; the score of a clip is
    the number of matches over the smaller number of key points, in [0, 1], and the score is its mean over clips.
    Clips where either map is constant or has fewer than two key points are left out and not counted. Null and p-value
    (one-sided) come from swapped features, see :class:`~lightning_dissect.metrics.paired.PairedMetric`.

    What the paper leaves open is set by the arguments. Both maps are brought to one grid, the activation map's own size
    within ``min_size`` and ``max_size``; so a layer has the same key points for all features.

    Args:
        num_features: key points a map, the strongest.
        ratio: largest ratio of the distances to nearest and second nearest; 0.8 is stricter and loses weak similarity.
        tolerance: keep only matches that agree on one shift and scale between the maps, within so many pixels of the
            grid along each axis; None keeps all. The paper names false matches as its problem: agreement removes most
            of them.
        min_size: smallest side of the grid, pixels; small maps are enlarged, or they have few key points or none.
        max_size: largest side of the grid, pixels.
        level: ``"map"``.
        kwargs: torchmetrics' own arguments.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import SIFTSimilarity
        >>> feature = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(1).cumsum(2)
        >>> units = torch.stack([feature, feature.flip(0).flip(1)], dim=1)
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
        super().__init__(level=level, **kwargs)
        if num_features < 2:
            raise ValueError(f"num_features={num_features} should be at least 2")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} should be in (0, 1]")
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"tolerance={tolerance} should be positive, or None")
        if not 32 <= min_size <= max_size:
            raise ValueError(f"min_size={min_size} and max_size={max_size} should satisfy 32 <= min_size <= max_size")
        self.num_features, self.ratio, self.tolerance = num_features, ratio, tolerance
        self.min_size, self.max_size = min_size, max_size
        self._add_moments(PairedMoments.zeros())

    def grid(self, activations: Sequence[int], features: Sequence[int]) -> tuple[int, int]:
        """Common (height, width): see :func:`~lightning_dissect.metrics.functional.map_grid`."""
        return map_grid(activations, self.min_size, self.max_size)

    @property
    def preparation(self) -> tuple[Any, ...]:
        """Metrics that ask for as many key points share them, whatever they make of the matches."""
        return ("key points", self.num_features)

    def prepare_activations(self, activations: Tensor, grid: tuple[int, int] | None = None) -> KeyPoints:
        """Key points of activation maps ``(B, U, H, W)`` on a grid (None: the maps' own, within the limits)."""
        with full_precision(activations):
            return key_points(activations, grid or self.grid(activations.shape, activations.shape), self.num_features)

    def prepare_features(self, features: Tensor, grid: tuple[int, int] | None = None) -> KeyPoints:
        """Key points of feature maps ``(B, H', W')`` on a grid (None: the maps' own, within the limits)."""
        return self.prepare_activations(features.unsqueeze(1), grid)

    def update(self, activations: Tensor | KeyPoints, features: Tensor | KeyPoints, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: maps ``(B, U, H, W)`` or what :meth:`prepare_activations` gave for them.
            features: maps ``(B, H', W')`` or what :meth:`prepare_features` gave for them.
            mask: valid frames, booleans ``(B, T)`` on any time grid that spans the maps; None if all are. Key points
                whose surroundings reach beyond a clip's end are left out, since both maps show that end.

        Raises:
            ValueError: if axes, clips or units do not fit together, or a map is given raw and the other prepared.
        """
        if isinstance(activations, Tensor) and isinstance(features, Tensor):
            check_same_clips(activations, features, (4, 3))
            grid = self.grid(activations.shape, features.shape)
            activations, features = self.prepare_activations(activations, grid), self.prepare_features(features, grid)
        if isinstance(activations, Tensor) or isinstance(features, Tensor):
            raise ValueError("activations and features should both be maps or both be prepared key points")
        check_same_clips(activations.filled, features.filled, (3, 3))
        with full_precision(activations.descriptors):
            ends = activations.reach.new_ones(len(activations.reach)) if mask is None else mask.float().mean(-1)
            self._update_pairs(activations, features, ends)

    def _similarity(self, activations: KeyPoints, features: KeyPoints, mask: Tensor | None) -> Tensor:
        """The statistic of the key points before the clips' ends, which are given as a part of the maps' width."""
        if mask is not None:
            activations, features = _end_at(activations, mask), _end_at(features, mask)
        scores = match_scores(activations, features, self.ratio, self.tolerance)
        statistic: Tensor = getattr(scores, self._statistic)
        return statistic.unsqueeze(-1)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value and number of clips, each ``(U, 1)``."""
        return self._compute_pairs()


class SIFTCountSimilarity(SIFTSimilarity):
    """Number of SIFT key points that an activation map and a feature map have in common, see :class:`SIFTSimilarity`.

    The mean over clips of the number of matches, not divided by the number of key points: maps with more shapes score
    higher. Arguments, null, p-value and what is left out are those of :class:`SIFTSimilarity`.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import SIFTCountSimilarity
        >>> feature = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(1).cumsum(2)
        >>> metric = SIFTCountSimilarity()
        >>> metric.update(feature.unsqueeze(1), feature)
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
        >>> feature = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(1).cumsum(2)
        >>> metric = SIFTDistanceSimilarity()
        >>> metric.update(feature.unsqueeze(1), feature)
        >>> bool(metric.compute().score < 0.01), bool(metric.compute().null > 0.1)
        (True, True)
    """

    name: ClassVar[str] = "sift_distance"
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "less"
    higher_is_better = False
    _statistic: ClassVar[Literal["rate", "number", "distance"]] = "distance"


def _end_at(points: KeyPoints, end: Tensor) -> KeyPoints:
    """Only key points whose surroundings lie before a clip's end, given as a part of the width; 1 keeps all."""
    end = end.view(-1, 1, 1)
    return points._replace(filled=points.filled & ((points.reach <= end) | (end >= 1)))
