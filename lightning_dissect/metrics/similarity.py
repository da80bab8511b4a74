"""What every metric returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class _Fields(NamedTuple):
    score: Tensor
    null: Tensor
    effect: Tensor
    p_value: Tensor
    n_clips: Tensor
    low: Tensor
    high: Tensor
    unique: Tensor
    unique_p_value: Tensor
    groups: Tensor
    correlation: Tensor
    inflation: Tensor


class Similarity(_Fields):
    """Similarity of every unit (or layer, then one) with every feature row, in float64 on the CPU.

    Always of shape (units, rows), also where there is only one of each: torchmetrics squeezes results of one
    element, and building the tuple undoes that.

    Attributes:
        score: The similarity; NaN where it is undefined (dead unit, constant feature, too few clips).
        null: What the score would be if activations and features had nothing to do with each other.
        effect: Score minus null, over the clips that both are known for.
        p_value: Probability of such an effect by chance; NaN where it cannot be tested. Not corrected for multiple
            tests.
        n_clips: Number of clips that the score rests on.
        low: Lower end of the 95 % interval of the effect; NaN where there is none.
        high: Upper end.
        unique: The score that is left when all other features are held fixed; NaN where that is not known.
        unique_p_value: Probability of so much by chance.
        groups: Mean effects of a few independent groups of clips, the same for all features, shape (units, rows,
            groups), by which features can be compared; none where the metric knows no groups.
        correlation: Correlation over clips that the result follows from, by which features can be compared; NaN where
            there is none.
        inflation: How many times larger the variance of this correlation is than that of clips which scatter alike.
    """

    __slots__ = ()

    def __new__(
        cls,
        score: Tensor,
        null: Tensor,
        effect: Tensor,
        p_value: Tensor,
        n_clips: Tensor,
        low: Tensor | None = None,
        high: Tensor | None = None,
        unique: Tensor | None = None,
        unique_p_value: Tensor | None = None,
        groups: Tensor | None = None,
        correlation: Tensor | None = None,
        inflation: Tensor | None = None,
    ) -> Similarity:
        """Build the tuple with every tensor two-dimensional at least; what is not given is NaN, or no groups."""
        missing = torch.atleast_2d(torch.full_like(effect, torch.nan))
        groups = missing.new_empty((*missing.shape, 0)) if groups is None else groups
        tested, optional = (score, null, effect, p_value, n_clips), (low, high, unique, unique_p_value)
        fields = (*tested, *optional, groups, correlation, inflation)
        return super().__new__(cls, *(missing if t is None else torch.atleast_2d(t) for t in fields))
