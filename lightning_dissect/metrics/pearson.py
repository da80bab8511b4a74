"""Pearson's correlation as a metric."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import CrossMoments, correlation, cross_moments_update
from lightning_dissect.metrics.functional.paired import PairedMoments
from lightning_dissect.metrics.functional.pearson import pearson_within_clips
from lightning_dissect.metrics.functional.significance import correlation_p_value
from lightning_dissect.metrics.paired import PairedMetric
from lightning_dissect.metrics.similarity import (
    Level,
    Similarity,
    check_same_clips,
    check_same_grid,
    check_same_units,
    full_precision,
)


class PearsonSimilarity(PairedMetric):
    """Pearson's correlation of every unit with every feature row.

    At level ``"clip"`` the correlation is over clips, one value each; its null is 0 and its p-value that of the
    t-test with n - 2 degrees of freedom, two-sided. Slizovskaia et al. 2019 compare single activations with loudness
    and onset rate so. A clip counts when the feature is finite in all rows and at least one unit is; a unit that is
    not finite on such a clip ends as NaN.

    At level ``"frame"`` it is over the frames of each clip, and at level ``"map"`` over all points of each clip's map,
    then averaged over clips and tested against swapped features (see
    :class:`~lightning_dissect.metrics.paired.PairedMetric`), two-sided.

    States are float32 and merged as running moments, so that offsets of many standard deviations do no harm; values
    beyond 1e18 overflow to NaN. Memory grows with units times rows, not with clips.

    Args:
        level: ``"clip"`` (default), ``"frame"`` or ``"map"``.
        kwargs: torchmetrics' own arguments.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import PearsonSimilarity
        >>> metric = PearsonSimilarity()
        >>> loudness = torch.linspace(-1, 1, 32).unsqueeze(1)
        >>> units = torch.cat([3 * loudness + 1e4, loudness.square()], dim=1)
        >>> metric.update(units[:20], loudness[:20])
        >>> metric.update(units[20:], loudness[20:])
        >>> metric.compute().score.round(decimals=2).abs()
        tensor([[1.],
                [0.]], dtype=torch.float64)
    """

    name: ClassVar[str] = "pearson"
    levels: ClassVar[tuple[Level, ...]] = ("clip", "frame", "map")
    alternative: ClassVar[Literal["two-sided", "greater"]] = "two-sided"

    cov: Tensor

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        self._add_moments(CrossMoments.zeros() if self.level == "clip" else PairedMoments.zeros())

    def update(self, activations: Tensor, features: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: clip ``(B, U)``, frame ``(B, U, T)``, map ``(B, U, H, T)``.
            features: clip ``(B, F)``, frame ``(B, F, T)``, map ``(B, H, T)``.
            mask: valid frames, booleans ``(B, T)``; None if all are. Not used at level clip.

        Raises:
            ValueError: if axes, clips, units or grids do not fit together.
        """
        check_same_clips(activations, features, {"clip": (2, 2), "frame": (3, 3), "map": (4, 3)}[self.level])
        with full_precision(activations):
            if self.level == "clip":
                check_same_units(self.cov.T, activations.shape[1], features.shape[1])
                moments = self._load(CrossMoments)
                self._store(cross_moments_update(moments, activations.float(), features.float()))
            else:
                check_same_grid(activations, features, 1 if self.level == "frame" else 2)
                self._update_pairs(activations, features, mask)

    def _similarity(self, activations: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        if self.level == "frame":
            return pearson_within_clips(activations, features, mask)
        if mask is not None:
            mask = mask.unsqueeze(1).expand(features.shape).flatten(1)
        return pearson_within_clips(activations.flatten(2), features.flatten(1).unsqueeze(1), mask)

    def compute(self) -> Similarity:
        """Correlation, null, effect, p-value and number of clips, each ``(U, F)``, or ``(U, 1)`` at level map."""
        if self.level != "clip":
            return self._compute_pairs()
        moments = self._merged(CrossMoments)
        r = correlation(moments)
        n = moments.n.expand_as(r)
        return Similarity(r, torch.where(r.isnan(), r, 0.0), r, correlation_p_value(r, n), n)
