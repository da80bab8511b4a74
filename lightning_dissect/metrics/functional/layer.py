"""Similarity of a whole layer and a whole feature: linear CKA, CCA and linear regression, from second moments."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from lightning_dissect.metrics.functional.lengths import LengthMoments, variance_slopes
from lightning_dissect.metrics.functional.moments import (
    MIN_CLIPS,
    CrossMoments,
    standard_deviation_or_nan,
)


class Scatter(NamedTuple):
    """Sums of products of deviations over clips, float64 on the CPU, without units and rows that are constant.

    Attributes:
        n: Number of clips, shape ``()``.
        xx: Of the units among themselves, shape (units, units).
        yy: Of the feature rows among themselves, shape (rows, rows).
        xy: Of units and rows, shape (units, rows).
        inflation: How many times larger ``|xy|**2`` is by chance than if all clips were equally long, shape ``()``.
    """

    n: Tensor
    xx: Tensor
    yy: Tensor
    xy: Tensor
    inflation: Tensor


class Test(NamedTuple):
    """A statistic, its mean under permutations of clips, and the probability of one as large; each shape ``()``."""

    score: Tensor
    null: Tensor
    p_value: Tensor


class Decoding(NamedTuple):
    """How well linear predictions fit the clips that they were not made from; each of shape (rows,).

    Attributes:
        error: Sum of squared errors.
        shuffled: What the error would be, on average, against other clips' values.
        total: Sum of squared deviations of the feature from its mean.
        r: Correlation of prediction and feature.
    """

    error: Tensor
    shuffled: Tensor
    total: Tensor
    r: Tensor


def scatter(moments: CrossMoments, units: int, lengths: LengthMoments | None = None) -> Scatter:
    """Split joint moments, in float64, into those of units and of rows, leaving out what is constant.

    Args:
        moments: Of units and rows together, with themselves.
        units: Number of units.
        lengths: The clips' lengths, if they differ. Under independence the mean of ``|xy|**2`` is the sum over clips
            of the products of the two sides' total variances.
    """
    size = moments.cov.shape[1]
    alive = ~standard_deviation_or_nan(moments)[:size].isnan()
    x, y = (part.nonzero()[:, 0] for part in (alive[:units], alive[units:]))
    cov, y = moments.cov, units + y
    inflation = torch.ones_like(moments.n)
    if lengths is not None and len(x) and len(y):
        slopes, variances = variance_slopes(lengths, moments), moments.m2
        of_x, of_y = ((slopes[part] * variances[part]).sum() / variances[part].sum() for part in (x, y))
        inflation = (1 + of_x * of_y).clamp(min=1)
    return Scatter(moments.n, cov[x][:, x], cov[y][:, y], cov[x][:, y], inflation)


def linear_cka(s: Scatter) -> Test:
    """Linear centred kernel alignment (Kornblith et al. 2019, eq. 4): ``|X'Y|_F**2 / (|X'X|_F |Y'Y|_F)``.

    Returns:
        Score in [0, 1], 1 for representations that are equal up to rotation and scale; its mean under permutations of
        clips in closed form; and the p-value from :func:`trace_p_value`. NaN where either side is constant or with
        fewer than four clips.
    """
    scale = torch.linalg.matrix_norm(s.xx) * torch.linalg.matrix_norm(s.yy)
    return _trace_test(s, s.xx, s.yy, s.xy, scale)


def linear_regression_similarity(s: Scatter) -> Test:
    """Share of the layer's variance that the feature explains linearly: ``|Q_Y' X|_F**2 / |X|_F**2``.

    X are the units' values, Q_Y an orthonormal basis of the centred feature rows (Kornblith et al. 2019, table 1).

    Returns:
        As :func:`linear_cka`.
    """
    white = _whitening(s.yy)
    return _trace_test(s, s.xx, torch.eye(white.shape[1], dtype=s.xx.dtype), s.xy @ white, s.xx.trace())


def cca_r2(s: Scatter) -> Test:
    """Mean squared canonical correlation: ``|Q_Y' Q_X|_F**2 / p``, p the smaller of the two ranks.

    Returns:
        As :func:`linear_cka`, with the p-value of Pillai's trace (F approximation); NaN also where the ranks add up to
        the number of clips less two or more, since then canonical correlations say nothing.
    """
    white_x, white_y = _whitening(s.xx), _whitening(s.yy)
    p, q = white_x.shape[1], white_y.shape[1]
    smaller, spare = min(p, q), int(s.n) - 1 - p - q
    if smaller == 0 or spare < 2:
        nan = torch.full_like(s.n, torch.nan)
        return Test(nan, nan, nan)
    trace = (white_x.T @ s.xy @ white_y).square().sum().clamp(max=smaller)
    dof = (smaller * max(p, q), smaller * (spare + smaller))
    deflated = trace / s.inflation
    f = deflated / dof[0] / ((smaller - deflated) / dof[1])
    p_value = torch.as_tensor(stats.f.sf(f.item(), *dof), dtype=s.n.dtype)
    # As for the trace test, with p and q directions of variance 1 each.
    return Test(trace / smaller, s.inflation * p * q / (s.n - 1) / smaller, p_value)


def trace_p_value(statistic: Tensor, a: Tensor, b: Tensor, n: Tensor) -> Tensor:
    """Probability that ``|X'Y|_F**2`` is this large when the clips of Y are permuted.

    Permutations are taken for random rotations of the N = n - 1 dimensions that centring leaves. Then the first three
    cumulants follow from traces of powers of the scatter matrices A and B alone; a Pearson type III distribution with
    the same three is used, as Josse, Pages and Husson (2008) do for the RV coefficient.

    Args:
        statistic: Shape ``()``.
        a: Shape (units, units).
        b: Shape (rows, rows).
        n: Number of clips, shape ``()``.

    Returns:
        Probability, shape ``()``.
    """
    size = n - 1
    (mean_a, square_a, cube_a), (mean_b, square_b, cube_b) = (_central_traces(matrix, size) for matrix in (a, b))
    variance = 2 * square_a * square_b / ((size - 1) * (size + 2))
    third = 8 * cube_a * cube_b / ((size - 1) * (size + 2) * (size + 4))
    standard = (statistic - size * mean_a * mean_b) / variance.sqrt()
    p_value = stats.pearson3.sf(standard.item(), (third / variance**1.5).item())
    return torch.as_tensor(p_value, dtype=n.dtype)


def _central_traces(matrix: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the eigenvalues, with zeros up to ``size`` of them, and sums of their central 2nd and 3rd powers."""
    first, second, third = matrix.trace(), matrix.square().sum(), (matrix @ matrix * matrix).sum()
    mean = first / size
    return mean, second - size * mean**2, third - 3 * mean * second + 2 * size * mean**3


def _trace_test(s: Scatter, a: Tensor, b: Tensor, xy: Tensor, scale: Tensor) -> Test:
    if s.n < MIN_CLIPS or 0 in s.xy.shape:
        nan = torch.full_like(s.n, torch.nan)
        return Test(nan, nan, nan)
    statistic = xy.square().sum()
    # When clips are permuted, each pair of directions has a correlation of mean square 1 / (n - 1): the squares of all
    # products add up to the product of the two total variances over n - 1.
    null = torch.trace(a) * torch.trace(b) / (s.n - 1) * s.inflation
    return Test(statistic / scale, null / scale, trace_p_value(statistic / s.inflation, a, b, s.n))


def _whitening(scatter_matrix: Tensor) -> Tensor:
    """W with ``W' S W = I`` on the space where S is not zero up to float32 rounding, shape (units, rank)."""
    values, vectors = torch.linalg.eigh(scatter_matrix)
    largest = values[-1] if len(values) else torch.zeros(())
    kept = values > len(values) * torch.finfo(torch.float32).eps * largest
    white: Tensor = vectors[:, kept] / values[kept].sqrt()
    return white


def ridge_decoding(train: CrossMoments, test: CrossMoments, units: int, penalty: float) -> Decoding:
    """Predict each feature row from the units by ridge regression on some clips, and score it on others.

    Units are divided by their standard deviation first. Everything follows from moments: the normal equations of the
    training clips, and the squared error expanded over the test clips.

    Args:
        train: Joint moments of the training clips, float64.
        test: Joint moments of the test clips, float64.
        units: Number of units.
        penalty: Added to the diagonal of the units' correlation matrix.

    Returns:
        Errors, totals and correlations; NaN for rows that are constant on either side.
    """
    sd = standard_deviation_or_nan(train)[: train.cov.shape[1]]
    alive = (~sd[:units].isnan()).nonzero()[:, 0]
    scale = sd[alive]
    covariance = train.cov[alive][:, alive] / train.n.clamp(min=1)
    correlation = covariance / scale.unsqueeze(1) / scale + penalty * torch.eye(len(alive), dtype=scale.dtype)
    target = train.cov[alive, units:] / train.n.clamp(min=1) / scale.unsqueeze(1)
    weight = torch.linalg.solve(correlation, target) / scale.unsqueeze(1)
    size = len(sd)
    explained = (weight * test.cov[alive, units:size]).sum(0)
    spread = (weight * (test.cov[alive][:, alive] @ weight)).sum(0)
    offset = (test.mean - train.mean)[units:size] - (test.mean - train.mean)[alive] @ weight
    sd_test = standard_deviation_or_nan(test)[units:size] + 0 * sd[units:]
    total = test.n * sd_test.square()
    shuffled = total + spread + test.n * offset.square()
    return Decoding(shuffled - 2 * explained, shuffled, total, explained / (spread * total).sqrt())
