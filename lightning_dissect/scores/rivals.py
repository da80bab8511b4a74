"""Rivals: which features explain a unit significantly less than the one that explains it best."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.dependent import groups_p_value, partial_correlations, williams_p_value
from lightning_dissect.metrics.functional.moments import MIN_CLIPS
from lightning_dissect.metrics.functional.significance import correlation_p_value
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.scores.block import Block

SUPPORTED = 0.05
"""A row can explain a unit best if its p-value, times the number of rows that it is the best of, is below this."""

_Z = 1.959964
"""Half the width of a 95 % interval in standard errors."""


class Cell(NamedTuple):
    """What one metric found at one level in one layer, of all features: only these can be compared with each other.

    Attributes:
        similarity: Each field of shape (units, rows), the rows of all features side by side.
        two_sided: Whether scores below chance are as good as those above it.
        between: Correlations of the rows with each other, shape (rows, rows), if the scores follow from correlations
            over clips; else None.
    """

    similarity: Similarity
    two_sided: bool
    between: Tensor | None = None


def with_rivals(blocks: Sequence[Block], two_sided: bool, between: Tensor | None = None) -> list[Block]:
    """Compare the features of one layer with each other, and find what each has of its own.

    Args:
        blocks: What one metric found at one level in that layer, a block for each feature.
        two_sided: As in :class:`Cell`.
        between: As in :class:`Cell`; the scores' unique parts then follow from it in closed form.

    Returns:
        The same blocks with ``lower_p_value``, and with ``unique`` where ``between`` is given.
    """
    sizes = [len(block.features) for block in blocks]
    found = Similarity(*(torch.cat(fields, 1) for fields in zip(*(block.similarity for block in blocks), strict=True)))
    if not found.score.numel():
        return list(blocks)
    if between is not None and between.shape != 2 * found.score.shape[1:]:
        between = None  # no clip was seen
    if between is not None and torch.equal(found.score.nan_to_num(), found.correlation.nan_to_num()):
        found = _with_unique(found, between, sizes)
    lower = lower_p_values(Cell(found, two_sided, between))
    parts = zip(*(values.split(sizes, 1) for values in found), strict=True)
    return [
        block._replace(similarity=Similarity(*part), lower_p_value=own)
        for block, part, own in zip(blocks, parts, lower.split(sizes, 1), strict=True)
    ]


def lower_p_values(cell: Cell) -> Tensor:
    """p-value of each row that it explains its unit less than the row that explains it best, two-sided.

    Best is the row with the largest effect (the largest correlation, where effects follow from that) of those that are
    supported. The test of a difference is chosen by what is
    known of it: Williams' for correlations over clips, a paired t-test over groups of the same clips for scores within
    clips, and for others the standard error that it could have at most, the sum of those of the two effects.

    A best row that is chosen for being best and tested against the second best at level q, two-sided, is wrongly called
    better in at most q of the cases, whatever the number of rows (Hung and Fithian 2019).

    Returns:
        Shape (units, rows), with 1 for the best row and for those that are no lower, and NaN for undefined rows and in
        units without a supported row.
    """
    found, two_sided, between = cell
    size = found.effect if between is None else found.correlation
    tests = found.p_value.isfinite().sum(1, keepdim=True)
    supported = found.p_value * tests < SUPPORTED
    best = size.abs().where(supported, -1.0).argmax(1, keepdim=True)
    signs = size.sign() if two_sided else size.gather(1, best).sign().expand_as(size)
    lower = (size * signs).gather(1, best) - size * signs
    if between is not None:
        p_value = _of_correlations(found, signs, best, between)
    elif found.groups.shape[-1]:
        aligned = found.groups * signs.unsqueeze(-1)
        p_value = groups_p_value(aligned.gather(1, best.unsqueeze(-1).expand(-1, -1, aligned.shape[-1])) - aligned)
    else:
        error = ((found.high - found.low) / (2 * _Z)).abs()
        p_value = 2 * torch.special.ndtr(-lower.abs() / (error + error.gather(1, best)))
    p_value = p_value.nan_to_num(1.0).where(lower > 0, 1.0).scatter(1, best, 1.0)
    known = supported.any(1, keepdim=True) & size.isfinite()
    return p_value.where(known, torch.nan)


def _with_unique(found: Similarity, between: Tensor, families: Sequence[int]) -> Similarity:
    """Put beside correlations over clips what is left of them when the other features are held fixed."""
    unique = partial_correlations(found.score, between, families)
    held = torch.cat([torch.full((size,), found.score.shape[1] - size) for size in families])
    free = found.n_clips - held
    unique = unique.where(free >= MIN_CLIPS, torch.nan)
    p_value = correlation_p_value(unique, free, inflation=found.inflation)
    return found._replace(unique=unique, unique_p_value=p_value)


def _of_correlations(found: Similarity, signs: Tensor, best: Tensor, between: Tensor) -> Tensor:
    """Williams' test of each row against the best one."""
    r, n, inflation = found.correlation * signs, found.n_clips, found.inflation
    inflation = torch.maximum(inflation, inflation.gather(1, best))
    shared = between[best.squeeze(1)] * signs * signs.gather(1, best)
    return williams_p_value(r.gather(1, best), r, shared, torch.minimum(n, n.gather(1, best)), inflation)
