"""Pearson's correlation as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.functional.dependent import partial_correlations
from lightning_dissect.metrics.functional.lengths import variance_inflation
from lightning_dissect.metrics.functional.moments import MIN_CLIPS, CrossMoments, correlation
from lightning_dissect.metrics.functional.padding import valid_points
from lightning_dissect.metrics.functional.pearson import standardised
from lightning_dissect.metrics.functional.significance import correlation_interval, correlation_p_value
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.metrics.swapped_pairs import PairedMetric


class PearsonSimilarity(PairedMetric):
    """Pearson's correlation of every unit with every feature row.

    At level ``"clip"`` the correlation is over clips, one value each; its null is 0, its p-value that of the
    t-test with n - 2 degrees of freedom, two-sided, and its interval Fisher's. Both allow for clips of unequal length,
    if the fractions of padded clips are given: means over short clips scatter more. Slizovskaia et al. 2019 compare
    single activations with loudness and onset rate so. A clip counts when the feature is finite in all rows and at
    least one unit is; a unit that is not finite on such a clip ends as NaN.

    At level ``"frame"`` it is over the frames of each clip, and at level ``"map"`` over all points of each clip's map,
    then averaged over clips and tested against swapped features (see
    :class:`~lightning_dissect.metrics.PairedMetric`), two-sided. At level frame, `hold_fixed` adds the part of each
    correlation that is the feature's own.

    States are float32 and merged as running moments, so that offsets of many standard deviations do no harm; values
    beyond 1e18 overflow to NaN. Memory grows with units times rows, not with clips.

    Args:
        level: ``"clip"`` (default), ``"frame"`` or ``"map"``.

    Example:
        >>> import torch
        >>> from lightning_dissect.metrics import PearsonSimilarity
        >>> metric = PearsonSimilarity()
        >>> loudness = torch.linspace(-1, 1, 32).unsqueeze(1)
        >>> units = torch.cat([3 * loudness + 1e4, loudness.square()], dim=1)
        >>> metric.update(units[:20], loudness[:20])
        >>> metric.update(units[20:], loudness[20:])
        >>> metric.compute().score.round(decimals=2).abs()
        tensor([[1.],
                [0.]], dtype=torch.float64)
    """

    name: ClassVar[str] = "pearson"
    levels: ClassVar[tuple[Level, ...]] = ("clip", "frame", "map")
    # At level clip a clip counts if all rows are finite: no feature may change which clips another one has.
    _levels_joining_rows: ClassVar[tuple[Level, ...]] = ("frame", "map")
    _levels_joining_layers: ClassVar[tuple[Level, ...]] = ("clip", "frame")
    alternative: ClassVar[Literal["two-sided", "greater", "less"]] = "two-sided"
    is_correlation: ClassVar[bool] = True
    correlates_clips: ClassVar[bool] = True

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if self.level == "clip":
            self._register_clip_moments((1,))
        else:
            self._register_pairs()
        self._families: tuple[int, ...] = ()

    def hold_fixed(self, families: Sequence[int]) -> None:
        """At level frame, also find what is left of each correlation when all other features are held fixed.

        Args:
            families: Number of rows of each feature, in their order; those of one feature are not held fixed for each
                other.
        """
        if self.level == "frame":
            self._families = tuple(families)

    def _add_batch(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> None:
        if self.level == "clip":
            self._add_to_clip_moments(*self._by_layer(activations, features), fraction)
            return
        if fraction is None:  # once for own and swapped features; padded clips need it over the frames of each pair
            activations, features = _standardised(activations), _standardised(features)
        self._update_pairs(activations, features, fraction)

    def _similarity(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> Tensor:
        x, f = activations.flatten(2), features.flatten(2)
        if fraction is not None:  # of a clip that waited unpadded, the standardised values: correlation does not mind
            valid = valid_points(fraction, features)
            x, f = standardised(x, valid), standardised(f, valid)
        r = (x @ f.mT).clamp(-1, 1)
        if not self._families:
            return r
        return torch.cat([r, self._partial(r, f, fraction)], -1)

    def _partial(self, r: Tensor, f: Tensor, fraction: Tensor | None) -> Tensor:
        """What is left of correlations within clips when the other features are held fixed, of the same shape."""
        part = partial_correlations(r, f @ f.mT, self._families)
        frames = f.shape[-1] if fraction is None else fraction.view(-1, 1, 1) * f.shape[-1]
        enough = torch.as_tensor(frames, device=r.device) >= f.shape[1] + MIN_CLIPS
        return part.where(enough, torch.nan)

    def _compare_features(self, effect: Tensor) -> Tensor:
        """Without what others leave of each row."""
        return effect[..., : effect.shape[-1] // 2] if self._families else effect

    def compute(self) -> Similarity:
        """Correlation, null, effect, p-value and number of clips, each (units, rows)."""
        if self.level != "clip":
            return self._with_unique(self._compute_pairs())
        moments = self._merged(CrossMoments)
        r = correlation(moments)
        n = moments.n[:, None, None].expand_as(r)
        inflation = variance_inflation(self._merged_lengths(), moments)
        p_value = correlation_p_value(r, n, inflation=inflation)
        null = torch.where(r.isnan(), r, 0.0)
        interval = correlation_interval(r, n, inflation)
        found = Similarity(*(values.flatten(0, 1) for values in (r, null, r, p_value, n, *interval)))
        return found._replace(correlation=r.flatten(0, 1), inflation=inflation.flatten(0, 1))

    def _with_unique(self, found: Similarity) -> Similarity:
        """Put what others leave of the correlations, their second half, beside them."""
        if not self._families:
            return found
        rows = found.score.shape[1] // 2
        whole = Similarity(*(values[:, :rows] for values in found[:7]))
        return whole._replace(unique=found.score[:, rows:], unique_p_value=found.p_value[:, rows:], groups=found.groups)


def _standardised(values: Tensor) -> Tensor:
    """Each row of each clip at mean zero and length one."""
    return standardised(values.flatten(2)).view(values.shape)
