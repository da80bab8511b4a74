"""Intersection over union as in Network Dissection, as a metric."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.checks import check_same_units
from lightning_dissect.metrics.functional.iou import overlap, strongest_points
from lightning_dissect.metrics.functional.padding import valid_points
from lightning_dissect.metrics.functional.significance import paired_interval, paired_p_value
from lightning_dissect.metrics.functional.tail_moments import (
    TailMoments,
    highest,
    moved,
    steps,
    tail_counts,
    tail_moments_update,
)
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.metrics.swapped_pairs import PairedMetric


class IoUSimilarity(PairedMetric):
    """Overlap of the points where a unit is strongest with those where a feature is (Network Dissection, Bau 2017).

    A unit's strongest points are the top ``quantile`` of its activations over all points of all clips; a feature's are
    the top ``feature_quantile`` of each clip. The score is the number of points in both over the number in either,
    added up over all clips. The paper calls a unit a detector above 0.04. The largest score there can be is that of
    the smaller set within the larger: 0.25 with the defaults.

    Clips are taken two by two and swap features (see :class:`~lightning_dissect.metrics.PairedMetric`): the null
    is the score that they then have, the effect the difference, and p-value (one-sided) and interval come from the
    t-test of the difference in shared points over pairs.

    The unit's threshold is known at the end only. So points are counted above 208 thresholds, which lie the denser the
    nearer they are to a unit's largest activation so far, and reach down to a 256th of it. Counts are read off at
    the threshold with nearly ``quantile`` of the points above it (for 0.005, between 0.004 and 0.006 for most
    distributions), which is the same whatever the order of clips, their batches and processes. The state is 5 kB for
    each unit and row.

    Args:
        quantile: Share of points over all clips where a unit counts as strong.
        feature_quantile: Share of each clip's points where the feature counts as there; None takes features as given:
            there where they are above 0.
        level: ``"map"`` (default) or ``"frame"``.

    Raises:
        ValueError: If a quantile is not in (0, 1), or the level unknown.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import IoUSimilarity
        >>> feature = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> metric = IoUSimilarity(quantile=0.02)
        >>> metric.update(torch.cat([feature.square(), 1 - feature], dim=1), feature)
        >>> score = metric.compute().score
        >>> bool(score[0] > 0.5), bool(score[1] == 0)
        (True, True)
    """

    name: ClassVar[str] = "iou"
    levels: ClassVar[tuple[Level, ...]] = ("map", "frame")
    _levels_joining_rows: ClassVar[tuple[Level, ...]] = ("map", "frame")
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "greater"

    top: Tensor

    def __init__(
        self,
        quantile: float = 0.005,
        feature_quantile: float | None = 0.02,
        level: Level | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(level=level, **kwargs)
        for argument, value in (("quantile", quantile), ("feature_quantile", feature_quantile)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{argument}={value} should be in (0, 1)")
        self.quantile, self.feature_quantile = quantile, feature_quantile
        self._add_moments(TailMoments.zeros())

    def _add_batch(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> None:
        if not len(activations):
            return
        step, valid = steps(activations), valid_points(fraction, features)
        if self.feature_quantile is None:
            inside = (features > 0).float().where(torch.isfinite(features), torch.nan)
        else:
            inside = strongest_points(features.flatten(2), valid, self.feature_quantile).view(features.shape)
        check_same_units(self.n.shape, (step.shape[1], features.shape[1]))
        self._raise_top(highest(step.flatten(2), valid))
        counts = self._pair_up(step, inside, fraction)
        self._store(tail_moments_update(self._load(TailMoments), *counts))

    def _raise_top(self, top: Tensor) -> None:
        """Bring all counts below the higher of this top and the one before."""
        if not self.top.numel():
            self.top = top
        top = torch.maximum(top, self.top)
        # On the CPU a look waits for nothing, and most batches change nothing.
        if top.device.type != "cpu" or not torch.equal(top, self.top):
            if self._waiting is not None:
                before, after = (t.to(self._waiting.score.device).view(-1, 1, 1) for t in (self.top, top))
                self._waiting = self._waiting._replace(score=moved(self._waiting.score, before, after))
            self._store(
                self._load(TailMoments).raised(top) if self.n.numel() else TailMoments.zeros()._replace(top=top)
            )

    def _similarity(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> Tensor:
        return tail_counts(activations.flatten(2), features.flatten(2), valid_points(fraction, features), self.top)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value, number of clips and interval, each (units, rows)."""
        found = overlap(self._merged(TailMoments), self.quantile)
        shared, undefined = found.moments.mean_null, found.null.isnan()
        effect = found.iou(shared + found.moments.mean_effect) - found.null
        ends = (found.iou(shared + end) - found.null for end in paired_interval(found.moments))
        p_value = paired_p_value(found.moments, self.alternative).masked_fill(undefined, torch.nan)
        return Similarity(found.score, found.null, effect, p_value, found.moments.n, *ends)
