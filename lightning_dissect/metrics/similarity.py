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
    ) -> Similarity:
        """Build the tuple with every tensor two-dimensional; an interval that is not given is NaN."""
        ends = (torch.full_like(effect, torch.nan) if end is None else end for end in (low, high))
        return super().__new__(cls, *(torch.atleast_2d(t) for t in (score, null, effect, p_value, n_clips, *ends)))
