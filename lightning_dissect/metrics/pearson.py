"""Pearson's correlation as a metric."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.lengths import variance_inflation
from lightning_dissect.metrics.functional.moments import CrossMoments, correlation, cross_moments_update
from lightning_dissect.metrics.functional.paired import PairedMoments
from lightning_dissect.metrics.functional.pearson import pearson_within_clips, standardised
from lightning_dissect.metrics.functional.significance import correlation_interval, correlation_p_value
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

    At level ``"clip"`` the correlation is over clips, one value each; its null is 0, its p-value that of the
    t-test with n - 2 degrees of freedom, two-sided, and its interval Fisher's. Both allow for clips of unequal length,
    if masks are given: means over short clips scatter more. Slizovskaia et al. 2019 compare single activations with
    loudness and onset rate so. A clip counts when the feature is finite in all rows and at least one unit is; a unit
    that is not finite on such a clip ends as NaN.

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
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "two-sided"

    cov: Tensor

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if self.level == "clip":
            self._add_clip_moments((1,))
        else:
            self._add_moments(PairedMoments.zeros())

    @property
    def joins_rows(self) -> bool:
        """True but at level clip, where a clip counts if all rows are finite."""
        return self.level != "clip"

    @property
    def joins_layers(self) -> bool:
        """True but at level map."""
        return self.level != "map"

    def update(self, activations: Tensor, features: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: clip ``(B, U)``, frame ``(B, U, T)``, map ``(B, U, H, T)``.
            features: clip ``(B, F)``, frame ``(B, F, T)``, map ``(B, H, T)`` or, for several, ``(B, F, H, T)``.
            mask: valid frames, booleans ``(B, T)``; None if all are. At level clip it tells how long
                clips are.

        Raises:
            ValueError: if axes, clips, units or grids do not fit together.
        """
        check_same_clips(activations, features, self._axes(features))
        with full_precision(activations):
            if self.level == "clip":
                x, f = self._by_layer(activations, features)
                check_same_units(self.cov[0].T, x.shape[-1], f.shape[-1])
                moments = self._load(CrossMoments)
                self._update_lengths(moments, x, f, mask)
                self._store(cross_moments_update(moments, x, f))
            else:
                check_same_grid(activations, features, 1 if self.level == "frame" else 2)
                if self.level == "map" and features.ndim == 3:
                    features = features.unsqueeze(1)
                if mask is None:  # once for own and swapped features; a mask would have to be that of both clips
                    activations, features = _standardised(activations), _standardised(features)
                self._update_pairs(activations, features, mask)

    def _axes(self, features: Tensor) -> tuple[int, int]:
        if self.level == "map":
            return 4, 4 if features.ndim == 4 else 3
        return (2, 2) if self.level == "clip" else (3, 3)

    def _similarity(self, activations: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        x, f = activations.flatten(2), features.flatten(2)
        if mask is None:
            return (x @ f.mT).clamp(-1, 1)
        if self.level == "map":
            mask = mask.unsqueeze(1).expand(-1, features.shape[2], -1).flatten(1)
        # Of clips that waited without a mask, the standardised ones: correlation does not mind.
        return pearson_within_clips(x, f, mask)

    def compute(self) -> Similarity:
        """Correlation, null, effect, p-value and number of clips, each ``(U, F)``, or ``(U, 1)`` at level map."""
        if self.level != "clip":
            return self._compute_pairs()
        moments = self._merged(CrossMoments)
        r = correlation(moments)
        n = moments.n[:, None, None].expand_as(r)
        inflation = variance_inflation(self._merged_lengths(), moments)
        p_value = correlation_p_value(r, n, inflation=inflation)
        null = torch.where(r.isnan(), r, 0.0)
        found = (r, null, r, p_value, n, *correlation_interval(r, n, inflation))
        return Similarity(*(values.flatten(0, 1) for values in found))


def _standardised(values: Tensor) -> Tensor:
    """Each row of each clip at mean zero and length one."""
    return standardised(values.float().flatten(2)).view(values.shape)
