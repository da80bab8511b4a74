"""Correlations that share a variable: which of two features a unit follows more closely, and what is each one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.significance import t_p_value

_LEFT = 1e-4
"""Of a variable's variance: what others leave of it at least, or nothing can be said of what is its own."""


def williams_p_value(r_a: Tensor, r_b: Tensor, r_ab: Tensor, n: Tensor, inflation: Tensor | float = 1.0) -> Tensor:
    """p-value, two-sided, that a variable correlates with a as it does with b (Williams 1959; Steiger 1980, eq. 7).

    Args:
        r_a: Correlations with a, any shape; NaN gives NaN, as for all that follow.
        r_b: Correlations with b.
        r_ab: Correlations of a and b.
        n: Numbers of clips.
        inflation: How many times larger the variance of a correlation is than that of clips which all scatter alike;
            t is divided by its root.

    Returns:
        Probabilities in float64 on the CPU; 1 where the two correlations are equal.

    Example:
        Steiger (1980), p. 247: n = 103, r_a = .5, r_b = .4, r_ab = .1 gives t = 0.89 and p = .37.

        >>> r_a, r_b, r_ab, n = (torch.tensor(value) for value in (0.5, 0.4, 0.1, 103.0))
        >>> round(williams_p_value(r_a, r_b, r_ab, n).item(), 2)
        0.37
    """
    r_a, r_b, r_ab, n = (values.double().cpu() for values in (r_a, r_b, r_ab, n))
    n = n.clamp(min=4)
    determinant = (1 - r_a.square() - r_b.square() - r_ab.square() + 2 * r_a * r_b * r_ab).clamp(min=0)
    spread = 2 * (n - 1) / (n - 3) * determinant + ((r_a + r_b) / 2).square() * (1 - r_ab).clamp(min=0) ** 3
    difference = r_a - r_b
    t = difference * ((n - 1) * (1 + r_ab).clamp(min=0) / spread / inflation).sqrt()
    return t_p_value(t.where(difference != 0, 0.0), n - 3).where(~(r_a + r_b + r_ab).isnan(), torch.nan)


def groups_p_value(groups: Tensor) -> Tensor:
    """p-value, two-sided, that the mean of independent groups of clips is 0, by Student's t over the groups.

    Args:
        groups: Means of groups, shape (..., groups); groups that are NaN are left out.

    Returns:
        Probabilities in float64 on the CPU, shape (...); NaN with fewer than three groups; 1 where all are 0.
    """
    groups = groups.double().cpu()
    known = groups.isfinite()
    count = known.sum(-1)
    mean = groups.where(known, 0.0).sum(-1) / count
    squares = (groups - mean.unsqueeze(-1)).where(known, 0.0).square().sum(-1)
    error = (squares / (count - 1) / count).sqrt()
    t = (mean / error).where(mean != 0, 0.0)
    return t_p_value(t, (count - 1).clamp(min=1)).where(count >= 3, torch.nan)


def partial_correlations(r: Tensor, between: Tensor, families: Sequence[int]) -> Tensor:
    """Correlation of each unit with each feature row that is left when all other features are held fixed.

    Rows of one feature (the twelve of chroma) are not held fixed for each other, or nothing would be left of them.
    In closed form from the correlations alone: both variables' residuals from their regression on the others.

    Args:
        r: Correlations of units with rows, shape (..., units, rows).
        between: Correlations of the rows with each other, shape (..., rows, rows). A row that is undefined (constant)
            is not held fixed.
        families: Number of rows of each feature, in their order.

    Returns:
        Partial correlations in [-1, 1], shape (..., units, rows); NaN where the correlation is undefined, or where the
        others leave nothing of the unit or the row.

    Example:
        >>> r, between = torch.tensor([[0.8, 0.6]]), torch.tensor([[1.0, 0.75], [0.75, 1.0]])
        >>> partial_correlations(r, between, [1, 1]).round(decimals=2)
        tensor([[0.6600, 0.0000]])
    """
    known = between.diagonal(dim1=-2, dim2=-1).isfinite()
    both = known.unsqueeze(-1) & known.unsqueeze(-2) & between.isfinite()
    one = torch.eye(between.shape[-1], dtype=r.dtype, device=r.device)
    clean, c = between.where(both, one), r.nan_to_num(0.0)
    found, first = [], 0
    for size in families:
        own = slice(first, first + size)
        held = torch.ones_like(one[0])
        held[own] = 0.0
        first += size
        inside = clean * held.unsqueeze(-1) * held
        # What is not held stands alone on the diagonal; a trace keeps features that are sums of others solvable.
        inverse = torch.linalg.inv_ex(inside + torch.diag_embed(1 - held) + 1e-6 * one).inverse
        weights = inverse @ (clean[..., own] * held.unsqueeze(-1))
        left_of_rows = 1 - (weights * clean[..., own]).sum(-2)
        left_of_units = 1 - ((c * held) @ inverse).mul(c * held).sum(-1, keepdim=True)
        left = left_of_rows.unsqueeze(-2) * left_of_units
        enough = (left_of_rows.unsqueeze(-2) > _LEFT) & (left_of_units > _LEFT)
        part = (c[..., own] - c @ weights) / left.clamp(min=_LEFT**2).sqrt()
        found.append(part.clamp(-1, 1).where(enough, torch.nan))
    return torch.cat(found, -1).where(r.isfinite(), torch.nan)
