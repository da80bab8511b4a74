"""Base of the metrics that know only the order of values: exact within clips, over a sample of clips between them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_dissect.levels import Level
from lightning_dissect.metrics.checks import check_same_units
from lightning_dissect.metrics.functional.clip_sample import ClipSample, sample_update
from lightning_dissect.metrics.functional.lengths import shortness
from lightning_dissect.metrics.functional.padding import valid_points
from lightning_dissect.metrics.functional.ranks import ranks
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.metrics.swapped_pairs import PairedMetric


class RankedMetric(PairedMetric):
    """A metric of the ranks of units and feature rows.

    Ranks need all values at once. At levels frame and map these are the points of one clip. At level clip a sample of
    up to ``max_clips`` clips is kept (their values of all units and rows): the result is exact up to that number, and
    that of a random sample beyond it, as ``n_clips`` says. The sample depends on the clips alone, not on their order,
    their batches or their processes.

    Subclasses implement ``_within`` and ``_over``.

    Args:
        max_clips: Most clips that are kept at level clip; the state is ``4 * max_clips * (units + rows)`` bytes.
        level: ``"clip"`` (default), ``"frame"`` or ``"map"``.

    Raises:
        ValueError: If ``max_clips`` is less than four or the level unknown.
    """

    levels: ClassVar[tuple[Level, ...]] = ("clip", "frame", "map")
    # At level clip a clip counts if all rows are finite: no feature may change which clips another one has.
    _levels_joining_rows: ClassVar[tuple[Level, ...]] = ("frame", "map")

    x: Tensor
    f: Tensor

    def __init__(self, max_clips: int = 480, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if max_clips < 4:
            raise ValueError(f"max_clips={max_clips} should be at least 4")
        self.max_clips = max_clips
        if self.level == "clip":
            self._add_moments(ClipSample.zeros())
        else:
            self._register_pairs()

    @abstractmethod
    def _within(self, x: Tensor, f: Tensor, mask: Tensor | None) -> Tensor:
        """Similarity within each clip, (clips, units, rows), of ranks (clips, units or rows, points)."""

    @abstractmethod
    def _over(self, x: Tensor, f: Tensor, z: Tensor) -> Similarity:
        """Result over clips, from ranks (1, units, clips) and (1, rows, clips) and the clips' shortness (clips,)."""

    def _add_batch(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> None:
        if self.level == "clip":
            sample = self._load(ClipSample)
            check_same_units((sample.x.shape[-1], sample.f.shape[-1]), (activations.shape[1], features.shape[1]))
            z = torch.zeros_like(features[:, 0]) if fraction is None else shortness(fraction)
            self._store(sample_update(sample, activations, features, z, self.max_clips))
            return
        if fraction is None:  # once for own and swapped features; padded clips need it over the frames of each pair
            activations, features = (ranks(values.flatten(2)).view(values.shape) for values in (activations, features))
        self._update_pairs(activations, features, fraction)

    def _similarity(self, activations: Tensor, features: Tensor, fraction: Tensor | None) -> Tensor:
        x, f, valid = activations.flatten(2), features.flatten(2), valid_points(fraction, features)
        if valid is not None:
            # Of a clip that waited unpadded, the ranks are ranked again: their order is the same.
            x, f = ranks(x, valid), ranks(f, valid)
        return self._within(x, f, valid)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value, number of clips and interval, each (units, rows)."""
        if self.level != "clip":
            return self._compute_pairs()
        sample = self._merged(ClipSample)
        x, f = (ranks(values.T.unsqueeze(0)) for values in (sample.x, sample.f))
        return self._over(x, f, sample.z)
