"""Mutual information as a metric."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy import special
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.functional.mutual_information import (
    bin_ranks,
    expected_information,
    information,
    joint_counts,
)
from lightning_dissect.metrics.ranked import RankedMetric
from lightning_dissect.metrics.similarity import Similarity


class MutualInformationSimilarity(RankedMetric):
    """Mutual information of every unit with every feature row, in nats.

    It finds any relation, also one that rises and falls (a unit that answers to middle loudness), and needs more clips
    than a correlation for it. Each series is cut into ``bins`` bins of equally many points, so that a score lies
    between 0 and ``log(bins)``. Scores are those of the table of counts, and hold its bias: short series that have
    nothing to do with each other share some information, too. The null has the same bias, ``effect`` is free of it.

    Within clips (levels frame and map) scores are averaged over clips and compared with swapped features, one-sided. At
    level clip the null is the mean over all permutations of the clips in closed form (Vinh, Epps and Bailey 2010), and
    the p-value that of the G-test, scaled so that its mean is right under permutations; there is no interval. It is
    exact for up to ``max_clips`` clips, and of a random sample of so many beyond that. Give it clips of one length:
    that short clips are extreme in unit and feature alike is a relation as well, and not told apart.

    Args:
        bins: Number of bins of each series.
        max_clips: Most clips that are kept at level clip; the state is ``4 * max_clips * (units + rows)`` bytes.
        level: ``"clip"`` (default), ``"frame"`` or ``"map"``.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import MutualInformationSimilarity
        >>> metric = MutualInformationSimilarity()
        >>> loudness = torch.linspace(-1, 1, 64).unsqueeze(1)
        >>> metric.update(torch.cat([loudness.exp(), loudness.square()], dim=1), loudness)
        >>> metric.compute().score.round(decimals=2)
        tensor([[1.3900],
                [0.6900]], dtype=torch.float64)
    """

    name: ClassVar[str] = "mutual_information"
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "greater"

    def __init__(self, bins: int = 4, max_clips: int = 480, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(max_clips=max_clips, level=level, **kwargs)
        if bins < 2:
            raise ValueError(f"bins={bins} should be at least 2")
        self.bins = bins

    def _within(self, x: Tensor, f: Tensor, mask: Tensor | None) -> Tensor:
        return information(joint_counts(bin_ranks(x, mask, self.bins), bin_ranks(f, mask, self.bins), self.bins))

    def _over(self, x: Tensor, f: Tensor, z: Tensor) -> Similarity:
        of_x, of_f = (bin_ranks(ranked, None, self.bins) for ranked in (x, f))
        counts = joint_counts(of_x, of_f, self.bins)[0].double()
        score, n = information(counts), torch.full(counts.shape[:2], len(z), dtype=torch.float64)
        rows, columns = (
            torch.stack([(b[0] == k).sum(-1) for k in range(self.bins)], -1).double() for b in (of_x, of_f)
        )
        null = expected_information(rows, columns).where(~score.isnan(), torch.nan)
        dof = ((rows > 0).sum(-1) - 1).unsqueeze(1) * ((columns > 0).sum(-1) - 1)
        p_value = special.chdtrc(dof.numpy(), (score / null * dof).numpy())
        return Similarity(score, null, score - null, torch.from_numpy(np.asarray(p_value)), n)
