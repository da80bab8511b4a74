"""Base of the metrics that know only the order of values: exact within clips, over a sample of clips between them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_dissect.metrics.functional.lengths import shortness
from lightning_dissect.metrics.functional.paired import PairedMoments
from lightning_dissect.metrics.functional.ranks import ranks
from lightning_dissect.metrics.functional.sample import ClipSample, sample_update
from lightning_dissect.metrics.paired import PairedMetric
from lightning_dissect.metrics.similarity import (
    Level,
    Similarity,
    check_same_clips,
    check_same_grid,
    check_same_units,
    full_precision,
)


class RankedMetric(PairedMetric):
    """A metric of the ranks of units and feature rows.

    Ranks need all values at once. At levels frame and map these are the points of one clip. At level clip a sample of
    up to ``max_clips`` clips is kept (their values of all units and rows): the result is exact up to that number, and
    that of a random sample beyond it, as ``n_clips`` says. The sample depends on the clips alone, not on their order,
    their batches or their processes.

    Subclasses implement ``_within`` and ``_over``.

    Args:
        max_clips: most clips that are kept at level clip; the state is ``4 * max_clips * (units + rows)`` bytes.
        level: ``"clip"`` (default), ``"frame"`` or ``"map"``.
        kwargs: torchmetrics' own arguments.

    Raises:
        ValueError: if ``max_clips`` is less than four or the level unknown.
    """

    levels: ClassVar[tuple[Level, ...]] = ("clip", "frame", "map")

    x: Tensor
    f: Tensor

    def __init__(self, max_clips: int = 480, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if max_clips < 4:
            raise ValueError(f"max_clips={max_clips} should be at least 4")
        self.max_clips = max_clips
        self._add_moments(ClipSample.zeros() if self.level == "clip" else PairedMoments.zeros())

    @abstractmethod
    def _within(self, x: Tensor, f: Tensor, mask: Tensor | None) -> Tensor:
        """Similarity within each clip ``(B, U, F)`` of ranks ``(B, U, P)`` and ``(B, F, P)`` over its valid points."""

    @abstractmethod
    def _over(self, x: Tensor, f: Tensor, z: Tensor) -> Similarity:
        """Result over clips, from ranks ``(1, U, n)`` and ``(1, F, n)`` and the clips' shortness ``(n,)``."""

    @property
    def joins_rows(self) -> bool:
        """True but at level clip, where a clip counts if all rows are finite."""
        return self.level != "clip"

    def update(self, activations: Tensor, features: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: clip ``(B, U)``, frame ``(B, U, T)``, map ``(B, U, H, T)``.
            features: clip ``(B, F)``, frame ``(B, F, T)``, map ``(B, H, T)`` or, for several, ``(B, F, H, T)``.
            mask: valid frames, booleans ``(B, T)``; None if all are. At level clip it tells how long clips are.

        Raises:
            ValueError: if axes, clips, units or grids do not fit together.
        """
        if self.level == "map" and features.ndim == 3:
            features = features.unsqueeze(1)
        ndim = {"clip": 2, "frame": 3, "map": 4}[self.level]
        check_same_clips(activations, features, (ndim, ndim))
        with full_precision(activations):
            x, f = activations.float(), features.float()
            if self.level == "clip":
                sample = self._load(ClipSample)
                if sample.key.numel():
                    check_same_units(sample.f.new_empty(sample.x.shape[1], sample.f.shape[1]), x.shape[1], f.shape[1])
                z = torch.zeros_like(f[:, 0]) if mask is None else shortness(mask)
                self._store(sample_update(sample, x, f, z, self.max_clips))
                return
            check_same_grid(x, f, 1 if self.level == "frame" else 2)
            if mask is None:  # once for own and swapped features; a mask would have to be that of both clips
                x, f = (ranks(values.flatten(2)).view(values.shape) for values in (x, f))
            self._update_pairs(x, f, mask)

    def _similarity(self, activations: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        x, f = activations.flatten(2), features.flatten(2)
        if mask is not None:
            if self.level == "map":
                mask = mask.unsqueeze(1).expand(-1, features.shape[2], -1).flatten(1)
            # Of clips that waited without a mask the ranks are ranked again: their order is the same.
            x, f = ranks(x, mask), ranks(f, mask)
        return self._within(x, f, mask)

    def compute(self) -> Similarity:
        """Score, null, effect, p-value, number of clips and interval, each ``(U, F)``."""
        if self.level != "clip":
            return self._compute_pairs()
        sample = self._merged(ClipSample)
        x, f = (ranks(values.T.unsqueeze(0)) for values in (sample.x, sample.f))
        return self._over(x, f, sample.z)
