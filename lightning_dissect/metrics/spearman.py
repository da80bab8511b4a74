"""Spearman's rank correlation as a metric."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.pearson import pearson_within_clips
from lightning_dissect.metrics.functional.ranks import ranks
from lightning_dissect.metrics.functional.significance import correlation_interval, correlation_p_value
from lightning_dissect.metrics.ranked import RankedMetric
from lightning_dissect.metrics.similarity import Similarity


class SpearmanSimilarity(RankedMetric):
    """Spearman's rank correlation of every unit with every feature row.

    As :class:`~lightning_dissect.metrics.PearsonSimilarity`, of ranks: for units that follow a feature, but not in a
    straight line, and for outliers. Exact within clips (levels frame and map), averaged over clips and tested against
    swapped features. At level clip it is exact for up to ``max_clips`` clips, and that of a random sample of so many
    beyond that: with the default of 480 its standard error is at most .046. The p-value is that of the t-test as scipy
    has it, the interval Fisher's with a variance of ``(1 + r**2 / 2) / (n - 3)`` (Bonett and Wright 2000); both allow
    for clips of unequal length.

    Args:
        max_clips: Most clips that are kept at level clip; the state is ``4 * max_clips * (units + rows)`` bytes.
        level: ``"clip"`` (default), ``"frame"`` or ``"map"``.

    Raises:
        ValueError: If ``max_clips`` is less than four or the level unknown.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import SpearmanSimilarity
        >>> metric = SpearmanSimilarity()
        >>> loudness = torch.linspace(-1, 1, 32).unsqueeze(1)
        >>> metric.update(torch.cat([loudness.exp(), loudness.square()], dim=1), loudness)
        >>> metric.compute().score.round(decimals=2).abs()
        tensor([[1.],
                [0.]], dtype=torch.float64)
    """

    name: ClassVar[str] = "spearman"
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "two-sided"
    is_correlation: ClassVar[bool] = True
    correlates_clips: ClassVar[bool] = True

    def _within(self, x: Tensor, f: Tensor, mask: Tensor | None) -> Tensor:
        return pearson_within_clips(x, f, mask)

    def _over(self, x: Tensor, f: Tensor, z: Tensor) -> Similarity:
        r = pearson_within_clips(x, f)[0].double()
        n = torch.full_like(r, len(z))
        of_x, of_f = (_slopes(ranked[0], ranks(z.view(1, 1, -1))[0, 0].double()) for ranked in (x, f))
        inflation = (1 + of_x.unsqueeze(1) * of_f).clamp(min=1)
        p_value = correlation_p_value(r, n, inflation=inflation)
        wider = inflation * (1 + r.square() / 2)
        found = (r, torch.where(r.isnan(), r, 0.0), r, p_value, n, *correlation_interval(r, n, wider))
        return Similarity(*found, correlation=r, inflation=wider)


def _slopes(ranked: Tensor, z: Tensor) -> Tensor:
    """How steeply the variance of ranks (series, clips) grows with a clip's rank by shortness; zeros if all tie."""
    ranked, z = ranked.double(), z - z.mean()
    square = (ranked - ranked.mean(1, keepdim=True)).square()
    slopes: Tensor = len(z) ** 0.5 * square @ z / (square.sum(1) * z.norm())
    return slopes.nan_to_num(0.0, 0.0, 0.0)
