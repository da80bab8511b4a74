"""Metrics of a whole layer against a whole feature: linear CKA, CCA and linear regression."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.layer import (
    Scatter,
    Test,
    cca_r2,
    joint_moments_update,
    linear_cka,
    linear_regression_similarity,
    scatter,
)
from lightning_dissect.metrics.functional.moments import CrossMoments
from lightning_dissect.metrics.similarity import (
    Level,
    Similarity,
    SimilarityMetric,
    check_same_clips,
    full_precision,
)


class LayerMetric(SimilarityMetric):
    """A metric of second moments over clips between all units of a layer and all rows of a feature.

    The result has one unit and one row, and no interval. Clips where all units and rows are finite count; constant
    units and rows are left out. Memory grows with the square of the number of units: meant for layers of up to some
    thousand.
    """

    sizes: Tensor
    levels: ClassVar[tuple[Level, ...]] = ("clip",)
    per_unit: ClassVar[bool] = False
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "greater"

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        self._add_clip_moments()
        self._sizes: tuple[int, int] = (0, 0)
        # The same as a state, for a process that saw no clip.
        self.add_state("sizes", default=torch.zeros(2), dist_reduce_fx="max")

    @staticmethod
    @abstractmethod
    def _test(s: Scatter) -> Test:
        """Score, null and p-value."""

    def update(self, activations: Tensor, features: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: one value a clip, shape ``(B, U)``.
            features: one value a clip, shape ``(B, F)``.
            mask: valid frames, booleans ``(B, T)``: how long the clips are; None if all are of one length.

        Raises:
            ValueError: if axes, clips or units do not fit together.
        """
        check_same_clips(activations, features, (2, 2))
        self._sizes = check_sizes(self._sizes, activations, features)
        self.sizes = self.sizes.new_tensor(self._sizes)
        with full_precision(activations):
            x, f, moments = activations.float(), features.float(), self._load(CrossMoments)
            both = torch.cat([x, f], dim=1)
            self._update_lengths(moments, both, both, mask)
            self._store(joint_moments_update(moments, x, f))

    def compute(self) -> Similarity:
        """Score, null, effect, p-value and number of clips, each ``(1, 1)``."""
        moments = self._merged(CrossMoments)
        score, null, p_value = self._test(scatter(moments, int(self.sizes[0]), self._merged_lengths()))
        return Similarity(score, null, score - null, p_value, moments.n)

    def reset(self) -> None:
        """Forget all clips, and the numbers of units and rows."""
        super().reset()
        self._sizes = (0, 0)


class CKASimilarity(LayerMetric):
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

    @staticmethod
    def _test(s: Scatter) -> Test:
        return linear_cka(s)


class CCASimilarity(LayerMetric):
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

    @staticmethod
    def _test(s: Scatter) -> Test:
        return cca_r2(s)


class RegressionSimilarity(LayerMetric):
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

    @staticmethod
    def _test(s: Scatter) -> Test:
        return linear_regression_similarity(s)


def check_sizes(before: tuple[int, int], activations: Tensor, features: Tensor) -> tuple[int, int]:
    """Numbers of units and rows, the same in every update.

    Raises:
        ValueError: naming the sizes before and now.
    """
    now = activations.shape[1], features.shape[1]
    if before not in ((0, 0), now):
        raise ValueError(
            f"units and feature rows were {before} so far and are {now} now: "
            "use one metric for each layer and feature, or reset() first"
        )
    return now
