"""Metrics of a whole layer against a whole feature: linear CKA, CCA and linear regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.checks import check_same_units
from lightning_dissect.metrics.functional.layer import (
    Scatter,
    Test,
    cca_r2,
    linear_cka,
    linear_regression_similarity,
    scatter,
)
from lightning_dissect.metrics.functional.moments import CrossMoments
from lightning_dissect.metrics.metric import SimilarityMetric
from lightning_dissect.metrics.similarity import Similarity


class LayerMetric(SimilarityMetric):
    """A metric of second moments over clips between all units of a layer and all rows of a feature.

    The result has one unit. Clips where all units and rows are finite count; constant units and rows are left out.
    Memory grows with the square of the number of units: meant for layers of up to some thousand.
    """

    levels: ClassVar[tuple[Level, ...]] = ("clip",)
    per_unit: ClassVar[bool] = False
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "greater"

    sizes: Tensor

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        self._sizes = (0, 0)
        # The same as a state, for a process that saw no clip.
        self.add_state("sizes", default=torch.zeros(2), dist_reduce_fx="max")

    def _side_by_side(self, activations: Tensor, features: Tensor) -> Tensor:
        """Units and rows as the variables of one set of moments; their numbers are noted."""
        now = (activations.shape[1], features.shape[1])
        check_same_units(self._sizes, now)
        self._sizes = now
        self.sizes = self.sizes.new_tensor(now)
        return torch.cat([activations, features], dim=1)

    def reset(self) -> None:
        """Forget all clips, and the numbers of units and rows."""
        super().reset()
        self._sizes = (0, 0)


class PermutationMetric(LayerMetric):
    """A metric of a layer whose null and p-value are those of permutations of clips, in closed form.

    The result has one unit and one row, and no interval. Subclasses give `_test`.
    """

    _test: Callable[[Scatter], Test]

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        self._register_clip_moments()

    def _add_batch(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> None:
        both = self._side_by_side(activations, features)
        self._add_to_clip_moments(both, both, fraction)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value and number of clips, each (1, 1)."""
        moments = self._merged(CrossMoments)
        score, null, p_value = self._test(scatter(moments, int(self.sizes[0]), self._merged_lengths()))
        return Similarity(score, null, score - null, p_value, moments.n)


class CKASimilarity(PermutationMetric):
    """Linear centred kernel alignment of a layer and a feature over clips (Kornblith et al. 2019).

    In [0, 1]; 1 for representations that are equal up to rotation and scale. Its null is the mean over all
    permutations of clips, in closed form, which is far from 0 where units are many and clips few; so is its p-value,
    see :func:`~lightning_dissect.metrics.functional.layer.trace_p_value`.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import CKASimilarity
        >>> chroma = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
        >>> metric = CKASimilarity()
        >>> metric.update(3 * chroma.flip(1) - 1, chroma)
        >>> metric.compute().score
        tensor([[1.0000]], dtype=torch.float64)
    """

    name: ClassVar[str] = "cka"
    _test = staticmethod(linear_cka)


class CCASimilarity(PermutationMetric):
    """Mean squared canonical correlation of a layer and a feature over clips.

    In [0, 1]; 1 where the smaller of the two is a linear function of the other. Blind to scale, so that it needs many
    more clips than units and rows together; NaN without them. The p-value is that of Pillai's trace.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import CCASimilarity
        >>> chroma = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
        >>> metric = CCASimilarity()
        >>> metric.update(chroma @ torch.randn(12, 12, generator=torch.Generator().manual_seed(1)), chroma)
        >>> metric.compute().score.round(decimals=3)
        tensor([[1.]], dtype=torch.float64)
    """

    name: ClassVar[str] = "cca"
    _test = staticmethod(cca_r2)


class RegressionSimilarity(PermutationMetric):
    """Share of a layer's variance over clips that a feature explains linearly (Yanchenko et al. 2021).

    In [0, 1]. Null and p-value as in :class:`CKASimilarity`.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import RegressionSimilarity
        >>> loudness = torch.linspace(-1, 1, 64).unsqueeze(1)
        >>> metric = RegressionSimilarity()
        >>> metric.update(torch.cat([loudness, loudness.square()], dim=1), loudness)
        >>> metric.compute().score.round(decimals=2)
        tensor([[0.7800]], dtype=torch.float64)
    """

    name: ClassVar[str] = "regression"
    _test = staticmethod(linear_regression_similarity)
