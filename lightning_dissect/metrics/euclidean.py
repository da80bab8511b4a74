"""Euclidean distance over normalised vectors as a metric."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.functional.euclidean import (
    Normalization,
    check_normalization,
    extremes_update,
    largest_distance,
    normalised_distance,
)
from lightning_dissect.metrics.functional.lengths import variance_inflation
from lightning_dissect.metrics.functional.moments import CrossMoments, correlation
from lightning_dissect.metrics.functional.significance import correlation_interval, correlation_p_value
from lightning_dissect.metrics.metric import SimilarityMetric
from lightning_dissect.metrics.similarity import Similarity


class EuclideanSimilarity(SimilarityMetric):
    """Closeness of every unit's vector over clips to every feature row's, both normalised (Slizovskaia et al. 2019).

    The paper measures the Euclidean distance d of two vectors of one value a clip, over the data set. Here ``score =
    1 - d / d_max``, with d_max the largest distance that two such normalised vectors can have, so that 1 means
    identical and 0 opposite: d_max is 2 for ``"l2"``, ``2 sqrt(n)`` for ``"zscore"`` and ``sqrt(n)`` for
    ``"minmax"``.

    ``null`` is the score at the root of the mean squared distance over all pairings of units' clips with features'
    clips (by Jensen's inequality the mean distance is a little smaller, by a part of order 1/n). ``effect`` is score
    minus null. Under a permutation of clips, d changes with the sum of products alone, so that ranking permutations
    by d ranks them by Pearson's correlation: the p-value is that of the correlation, two-sided: a
    unit may be nearer than chance or farther, as the sign of ``effect`` tells. So is the interval: the effects that
    the ends of the correlation's interval would have, with the means and spreads as they were found.

    The distance is streamed in closed form: memory grows with units times rows, not with clips. Which clips count,
    and what is NaN, is as in :class:`~lightning_dissect.metrics.PearsonSimilarity` at level clip.

    Args:
        normalization: ``"l2"`` (unit length), ``"zscore"`` or ``"minmax"``; the paper leaves it open.

    Raises:
        ValueError: If the normalization or the level is unknown.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import EuclideanSimilarity
        >>> metric = EuclideanSimilarity(normalization="zscore")
        >>> loudness = torch.linspace(-1, 1, 32).unsqueeze(1)
        >>> metric.update(torch.cat([3 * loudness + 5, -loudness], dim=1), loudness)
        >>> metric.compute().score.round(decimals=2).abs()
        tensor([[1.],
                [0.]], dtype=torch.float64)
    """

    name: ClassVar[str] = "euclidean"
    levels: ClassVar[tuple[Level, ...]] = ("clip",)
    _levels_joining_layers: ClassVar[tuple[Level, ...]] = ("clip",)
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "two-sided"
    correlates_clips: ClassVar[bool] = True

    n: Tensor
    extremes: Tensor

    def __init__(self, normalization: Normalization = "l2", level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        check_normalization(normalization)
        self.normalization: Normalization = normalization
        self._register_clip_moments((1,))
        self.add_state("extremes", default=torch.zeros(1, 2, 0), dist_reduce_fx=None)

    def _add_batch(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> None:
        x, f = self._by_layer(activations, features)
        self._add_to_clip_moments(x, f, fraction)
        if self.normalization == "minmax":
            self.extremes = extremes_update(self.extremes if self.extremes.numel() else None, x, f)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value and number of clips, each (units, rows)."""
        moments = self._merged(CrossMoments)
        extremes = self._merged_extremes(moments)
        distance, by_chance = normalised_distance(moments, extremes, self.normalization)
        r, n = correlation(moments), moments.n[:, None, None].expand_as(distance)
        largest = largest_distance(n, self.normalization)
        score, null = 1 - distance / largest, 1 - by_chance / largest
        inflation = variance_inflation(self._merged_lengths(), moments)
        p_value = correlation_p_value(r, n, self.alternative, inflation)
        ends = (
            (by_chance - normalised_distance(moments, extremes, self.normalization, end)[0]) / largest
            for end in correlation_interval(r, n, inflation)
        )
        found = Similarity(*(values.flatten(0, 1) for values in (score, null, score - null, p_value, n, *ends)))
        return found._replace(correlation=r.flatten(0, 1), inflation=inflation.flatten(0, 1))

    def _merged_extremes(self, moments: CrossMoments) -> Tensor:
        """Extremes over all processes; those without a clip hold zeros there and are left out."""
        extremes, n = self.extremes.double().cpu(), self.n.cpu()
        if extremes.ndim == 3:
            return extremes
        some = (n > 0).unsqueeze(-1)
        low = extremes[:, :, 0].masked_fill(~some, torch.inf).amin(0)
        high = extremes[:, :, 1].masked_fill(~some, -torch.inf).amax(0)
        return torch.stack([low, high], -2)
