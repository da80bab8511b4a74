"""Per-clip similarities against the same clips with their features swapped: running moments and the test."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.moments import MIN_CLIPS, by_process


class PairedMoments(NamedTuple):
    """What is kept of per-clip similarities, each of shape (units, rows): units and feature rows.

    Attributes:
        n: Clips with a defined score.
        mean_score: Mean score over them.
        pairs: Pairs of clips with a defined effect.
        mean_null: Mean score over these pairs with the features swapped.
        mean_effect: Mean over these pairs of own minus swapped score.
        m2_effect: Sum of squared deviations of that difference.
    """

    n: Tensor
    mean_score: Tensor
    pairs: Tensor
    mean_null: Tensor
    mean_effect: Tensor
    m2_effect: Tensor

    @classmethod
    def zeros(cls, units: int = 0, rows: int = 0, device: torch.device | str | None = None) -> PairedMoments:
        """Moments of no clips at all."""
        return cls(*(torch.zeros((units, rows), device=device) for _ in cls._fields))

    @classmethod
    def merge(cls, stacked: PairedMoments) -> PairedMoments:
        """Join the moments of several processes, given with a leading axis; float64 on the CPU."""
        return reduce(merge_pairs, by_process(stacked))


GROUPS = 8
"""Groups that pairs of clips are dealt to in turn."""


class GroupMoments(NamedTuple):
    """Effects of pairs by group.

    Two features of one unit are compared over the same pairs. The spread of the difference would need their covariance,
    a state that grows with the square of the features; from the means of a few independent groups it follows for any
    two features (the method of random groups, Wolter 1985).

    Attributes:
        dealt: Pairs that each group was dealt, shape (1, 1, groups).
        effect: Sum of their effects, shape (units, rows, groups).
    """

    dealt: Tensor
    effect: Tensor

    @classmethod
    def zeros(cls, units: int = 0, rows: int = 0, device: torch.device | str | None = None) -> GroupMoments:
        """Groups without a pair."""
        return cls(*(torch.zeros((*size, GROUPS), device=device) for size in ((1, 1), (units, rows))))

    @classmethod
    def merge(cls, stacked: GroupMoments) -> GroupMoments:
        """Join the groups of several processes, given with a leading axis; float64 on the CPU."""
        return cls(*(values.double().cpu().sum(0) for values in stacked))

    def means(self, pairs: Tensor) -> Tensor:
        """Mean effect of each group, NaN for a group without a pair.

        Undefined pairs are taken to be spread evenly over the groups. Where they are not, groups differ by more than
        their effects do, which can only keep a difference from being called one.

        Args:
            pairs: Pairs with a defined effect, shape (units, rows).

        Returns:
            Shape (units, rows, groups).
        """
        share = self.dealt / self.dealt.sum(-1, keepdim=True)
        return self.effect / (pairs.unsqueeze(-1) * share)


def group_moments_update(groups: GroupMoments, effect: Tensor, first: int) -> GroupMoments:
    """Add the effects of pairs.

    Args:
        groups: The groups so far; ``GroupMoments.zeros()`` takes its sizes from the first pairs.
        effect: Own minus swapped score of each pair, shape (pairs, units, rows); undefined ones are left out.
        first: How many pairs came before: the same pairs are of the same group whatever the feature.
    """
    if not groups.effect.numel():
        groups = GroupMoments.zeros(effect.shape[1], effect.shape[2], effect.device)
    place = (torch.arange(len(effect), device=effect.device) + first) % GROUPS
    dealt = (place.unsqueeze(1) == torch.arange(GROUPS, device=effect.device)).to(effect.dtype)
    sums = effect.where(torch.isfinite(effect), 0).flatten(1).T @ dealt
    return GroupMoments(groups.dealt + dealt.sum(0), groups.effect + sums.view(groups.effect.shape))


def paired_moments_update(moments: PairedMoments, score: Tensor, own: Tensor, swapped: Tensor) -> PairedMoments:
    """Add the scores of a batch of clips, and the comparison of the pairs completed by it.

    Args:
        moments: The moments so far; ``PairedMoments.zeros()`` takes its sizes from the first batch.
        score: Similarity of each clip's activation and its own feature, shape (clips, units, rows), NaN where
            undefined.
        own: Mean own score of each pair of clips, shape (points, units, rows); P may be 0.
        swapped: Mean score of each pair when its two clips swap features, shape (points, units, rows).

    Returns:
        The moments with these added. Undefined values are left out, each (unit, row) on its own.
    """
    n, mean_score, _ = batch_moments(score)
    effect = own - swapped
    pairs, mean_effect, m2_effect = batch_moments(effect)
    _, mean_null, _ = batch_moments(torch.where(torch.isfinite(effect), swapped, torch.nan))
    batch = PairedMoments(n, mean_score, pairs, mean_null, mean_effect, m2_effect)
    return batch if moments.n.numel() == 0 else merge_pairs(moments, batch)


def paired_scores(moments: PairedMoments) -> tuple[Tensor, Tensor, Tensor]:
    """Mean score, mean null and mean effect; NaN where fewer than four clips have a score."""
    enough = moments.n >= MIN_CLIPS
    score = torch.where(enough, moments.mean_score, torch.nan)
    tested = enough & (moments.pairs > 0)
    return (
        score,
        torch.where(tested, moments.mean_null, torch.nan),
        torch.where(tested, moments.mean_effect, torch.nan),
    )


def batch_moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and sum of squared deviations over the first axis, of the finite values only.

    Args:
        values: Shape (clips, ...); B may be 0.

    Returns:
        Each of shape ``(...)``; zeros where there is no finite value.
    """
    finite = torch.isfinite(values)
    count = finite.sum(0, dtype=values.dtype)
    mean = torch.where(finite, values, 0).sum(0) / count.clamp(min=1)
    return count, mean, torch.where(finite, values - mean, 0).square().sum(0)


def merge_pairs(a: PairedMoments, b: PairedMoments) -> PairedMoments:
    """Join two sets of clips; means may have more axes after those of the counts of clips and pairs."""
    n, pairs = a.n + b.n, a.pairs + b.pairs
    share_n, share = b.n / n.clamp(min=1), b.pairs / pairs.clamp(min=1)
    score, null, delta = b.mean_score - a.mean_score, b.mean_null - a.mean_null, b.mean_effect - a.mean_effect
    return PairedMoments(
        n=n,
        mean_score=a.mean_score + with_axes(share_n, score) * score,
        pairs=pairs,
        mean_null=a.mean_null + with_axes(share, null) * null,
        mean_effect=a.mean_effect + with_axes(share, delta) * delta,
        m2_effect=a.m2_effect + b.m2_effect + with_axes(a.pairs * share, delta) * delta.square(),
    )


def with_axes(count: Tensor, means: Tensor) -> Tensor:
    """Give a tensor as many axes as another one, those that it lacks at its end."""
    return count.view(*count.shape, *[1] * (means.ndim - count.ndim))
