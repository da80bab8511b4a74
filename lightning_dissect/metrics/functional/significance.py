"""p-values of correlations and of paired differences, computed once a run on the CPU in float64."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import special
from torch import Tensor

from lightning_dissect.metrics.functional.moments import MIN_CLIPS
from lightning_dissect.metrics.functional.swapped_pairs import PairedMoments

Alternative = Literal["two-sided", "greater", "less"]


def t_p_value(t: Tensor, dof: Tensor, alternative: Alternative = "two-sided") -> Tensor:
    """Probability of a t statistic at least this large under Student's distribution.

    Args:
        t: Statistics, any shape; NaN gives NaN.
        dof: Degrees of freedom, broadcastable to ``t``.
        alternative: ``"two-sided"`` counts both tails, ``"greater"`` the upper and ``"less"`` the lower one.

    Returns:
        Probabilities in float64 on the CPU, as ``scipy.stats.t.sf``.
    """
    statistic, freedom = (v.double().cpu().numpy() for v in (t, dof))
    tail = {"two-sided": -np.abs(statistic), "greater": -statistic, "less": statistic}[alternative]
    p = special.stdtr(freedom, tail)
    return torch.from_numpy(np.asarray(2 * p if alternative == "two-sided" else p))


def correlation_p_value(
    r: Tensor, n: Tensor, alternative: Alternative = "two-sided", inflation: Tensor | float = 1.0
) -> Tensor:
    """p-value of Pearson's correlation over ``n`` clips, from ``t = r * sqrt((n - 2) / (1 - r**2))``.

    Args:
        r: Correlations in [-1, 1]; NaN gives NaN.
        n: Number of clips, broadcastable to ``r``.
        alternative: As in :func:`t_p_value`.
        inflation: How many times larger the variance of ``r`` is than that of clips which all scatter alike (see
            :mod:`~lightning_dissect.metrics.functional.lengths`); t is divided by its root.

    Returns:
        Probabilities in float64 on the CPU, as ``scipy.stats.pearsonr``.
    """
    dof = (n - 2).clamp(min=1).expand_as(r)
    return t_p_value(r * (dof / (1 - r.square()) / inflation).sqrt(), dof, alternative)


def correlation_interval(r: Tensor, n: Tensor, inflation: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """95 % interval of Pearson's correlation over ``n`` clips: ``tanh(atanh(r) ± 1.96 / sqrt(n - 3))`` (Fisher 1921).

    Args:
        r: Correlations in [-1, 1]; NaN gives NaN.
        n: Number of clips, broadcastable to ``r``.
        inflation: As in :func:`correlation_p_value`; the half width grows by its root.

    Returns:
        Lower and upper ends, of the shape of ``r``. The interval is exact in the limit of many clips of normally
        distributed values.

    Example:
        >>> import torch
        >>> [round(end.item(), 2) for end in correlation_interval(torch.tensor([0.5]), torch.tensor([103]))]
        [0.34, 0.63]
    """
    half = special.ndtri(0.975) * (torch.as_tensor(inflation) / (n - 3).clamp(min=1)).sqrt()
    z = r.atanh()
    return (z - half).tanh(), (z + half).tanh()


def paired_p_value(moments: PairedMoments, alternative: Alternative = "two-sided") -> Tensor:
    """t-test that the mean effect over pairs of clips is zero.

    Where clips are independent and activations have nothing to do with features, swapping the two features of a pair
    turns the sign of its effect, so that the effects are symmetric around zero and independent of one another.

    Where all effects are the same the t statistic is infinite or undefined; then the sign-flip test decides: p = 1 for
    effects of zero, and 2 to the power of minus the number of pairs (twice that if two-sided) for others.

    Args:
        moments: Moments over pairs of clips.
        alternative: As in :func:`t_p_value`.

    Returns:
        Probabilities, shape (units, rows); NaN with fewer than four clips or two pairs.
    """
    error, dof = _standard_error(moments)
    effect = moments.mean_effect
    p = t_p_value(effect / error, dof, alternative)
    constant = error <= 4 * torch.finfo(torch.float32).eps * effect.abs()
    sides = 2.0 if alternative == "two-sided" else 1.0
    signs = (sides * torch.pow(0.5, moments.pairs)).clamp(max=1)
    if alternative != "two-sided":
        signs = torch.where(effect > 0 if alternative == "greater" else effect < 0, signs, 1.0)
    p = torch.where(constant, torch.where(effect == 0, 1.0, signs), p)
    return torch.where((moments.n >= MIN_CLIPS) & (moments.pairs >= 2), p, torch.nan)


def paired_interval(moments: PairedMoments) -> tuple[Tensor, Tensor]:
    """95 % interval of the mean effect over pairs of clips, by Student's distribution.

    Args:
        moments: Moments over pairs of clips.

    Returns:
        Lower and upper ends, shape (units, rows); NaN with fewer than four clips or two pairs.
    """
    error, dof = _standard_error(moments)
    half = torch.from_numpy(special.stdtrit(dof.numpy(), 0.975)) * error
    half = torch.where((moments.n >= MIN_CLIPS) & (moments.pairs >= 2), half, torch.nan)
    return moments.mean_effect - half, moments.mean_effect + half


def _standard_error(moments: PairedMoments) -> tuple[Tensor, Tensor]:
    """Standard error of the mean effect, and its degrees of freedom."""
    dof = (moments.pairs - 1).clamp(min=1)
    return (moments.m2_effect / dof / moments.pairs.clamp(min=1)).sqrt(), dof
