"""How well each feature row can be read off a layer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.functional.layer import ridge_decoding
from lightning_dissect.metrics.functional.moments import MIN_CLIPS, CrossMoments, cross_moments_update
from lightning_dissect.metrics.layer import LayerMetric
from lightning_dissect.metrics.similarity import Similarity

_FOLDS = ("even_", "odd_")


class DecodabilitySimilarity(LayerMetric):
    """Held-out R² of each feature row, predicted from all units of a layer by ridge regression.

    Clips are dealt to two halves in turn. The regression of one half, from its normal equations, is scored on the
    other, and the other way round: ``score = 1 - errors / deviations`` over both, at most 1, and below 0 where
    predictions are worse than the mean. ``null`` is what the same predictions would score, on average, against other
    clips of their half. The p-value is that of the correlation of predictions and feature, joined over the two halves
    by Fisher's z, one-sided.

    The result has one unit and as many rows as the feature. Which clips count, and memory, are as in
    :class:`~lightning_dissect.metrics.layer.LayerMetric`.

    Args:
        penalty: Ridge, added to the diagonal of the units' correlation matrix.

    Raises:
        ValueError: If the penalty is not positive or the level unknown.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import DecodabilitySimilarity
        >>> units = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
        >>> metric = DecodabilitySimilarity()
        >>> metric.update(units, torch.stack([units.sum(1), units.square().sum(1)], dim=1))
        >>> result = metric.compute()
        >>> result.score[0, 0] > 0.95, result.score[0, 1] < 0.1
        (tensor(True), tensor(True))
    """

    name: ClassVar[str] = "decodability"

    def __init__(self, penalty: float = 0.1, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if not penalty > 0:
            raise ValueError(f"penalty={penalty} should be positive")
        self.penalty = penalty
        for fold in _FOLDS:
            self._add_moments(CrossMoments.zeros(), fold)
        self._seen = 0

    def _add_batch(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> None:
        both = self._side_by_side(activations, features)
        for turn, fold in enumerate(_FOLDS):
            part = both[(self._seen + turn) % 2 :: 2]
            self._store(cross_moments_update(self._load(CrossMoments, fold), part, part), fold)
        self._seen += len(both)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value and number of clips, each (1, rows)."""
        even, odd = (self._merged(CrossMoments, fold) for fold in _FOLDS)
        units, rows = (int(size) for size in self.sizes)
        n = (even.n + odd.n).expand(1, rows)
        if min(even.n, odd.n) < MIN_CLIPS:
            nan = torch.full((1, rows), torch.nan, dtype=torch.float64)
            return Similarity(nan, nan, nan, nan, n)
        forth = ridge_decoding(even, odd, units, self.penalty)
        back = ridge_decoding(odd, even, units, self.penalty)
        total = forth.total + back.total
        score = 1 - (forth.error + back.error) / total
        null = 1 - (forth.shuffled + back.shuffled) / total
        # By chance the halves agree as much one way as the other: the two tests are one, and do not add up.
        z = 0.5 * (forth.r.atanh() * (odd.n - 3).sqrt() + back.r.atanh() * (even.n - 3).sqrt())
        return Similarity(score, null, score - null, torch.special.ndtr(-z), n)

    def reset(self) -> None:
        """Forget all clips, and the numbers of units and rows."""
        super().reset()
        self._seen = 0
