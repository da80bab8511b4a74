"""Base of the metrics that score each clip by itself and test against pairs of clips that swap their features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_dissect.metrics.checks import check_same_units
from lightning_dissect.metrics.functional.significance import paired_interval, paired_p_value
from lightning_dissect.metrics.functional.swapped_pairs import (
    GroupMoments,
    PairedMoments,
    group_moments_update,
    paired_moments_update,
    paired_scores,
)
from lightning_dissect.metrics.metric import SimilarityMetric, of_layers
from lightning_dissect.metrics.similarity import Similarity

_GROUP = "group_"


class _Clips(NamedTuple):
    """Clips to compare: two tensors with time last or two named tuples of tensors, with fraction and score."""

    activations: Any
    features: Any
    fraction: Tensor | None
    score: Tensor


class PairedMetric(SimilarityMetric):
    """A metric whose score is the mean over clips of a similarity within the clip.

    Clips are taken two by two in their order, over the borders of batches: a batch's odd clip waits for the next batch
    (its data stays on the device, outside torchmetrics' states). `null` is the mean similarity of a pair's
    activations with each other's feature, `effect` the difference to their own; p-value and interval are those of a
    t-test of the effect over pairs. Swapping both ways cancels what a clip's activation or feature does to its scores
    whatever it is compared with (a busy map matches everything a little), and makes effects of different pairs
    independent, as the t-test asks. Score, null and p-value do not depend on the size of batches.

    Where clips are padded, both sides of an effect are over the frames that the pair has in common, or a long clip
    would differ from the pair for its length alone; the score is over all frames.

    Subclasses implement `_similarity`, and hand their batches to `_update_pairs`.
    """

    n: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._waiting: _Clips | None = None
        self._n_pairs = 0

    def _register_pairs(self) -> None:
        """Register the states of pairs."""
        self._add_moments(PairedMoments.zeros())
        self._add_moments(GroupMoments.zeros(), _GROUP)

    @abstractmethod
    def _similarity(self, activations: Any, features: Any, fraction: Tensor | None) -> Tensor:
        """Compare each clip's activations and features, shape (clips, units, rows), NaN where undefined."""

    def _update_pairs(self, activations: Any, features: Any, fraction: Tensor | None) -> None:
        """Score a batch, complete pairs, keep the odd clip."""
        score, own, swapped = self._pair_up(activations, features, fraction)
        self._store(paired_moments_update(self._load(PairedMoments), score, own, swapped))
        groups = self._load(GroupMoments, _GROUP)
        effect = self._compare_features(own - swapped)
        self._store(group_moments_update(groups, effect, self._n_pairs - len(own)), _GROUP)

    def _compare_features(self, effect: Tensor) -> Tensor:
        """Of what is known of each row, shape (..., units, rows), what features are compared by."""
        return effect

    def _pair_up(self, activations: Any, features: Any, fraction: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Score a batch's clips, then its pairs with their own and with swapped features; keep the odd clip."""
        score = self._similarity(activations, features, fraction)
        check_same_units(self.n.shape, score.shape[1:3])
        clips = _Clips(activations, features, fraction, score)
        if self._waiting is not None:
            clips = _join(self._waiting, clips)
        paired = len(clips.score) - len(clips.score) % 2
        parts = slice(0, paired, 2), slice(1, paired, 2), slice(paired, None)
        first, second, odd = (_each(clips, itemgetter(part)) for part in parts)
        # A copy: the tensors that it is cut from are a whole batch, and may be written over.
        self._waiting = _each(odd, torch.clone) if len(odd.score) else None
        self._n_pairs += paired // 2
        return score, *self._compare_pairs(first, second)

    def _compare_pairs(self, first: _Clips, second: _Clips) -> tuple[Tensor, Tensor]:
        """Mean own and mean swapped score of each pair, both over the frames that are valid in both clips."""
        own = 0.5 * (first.score + second.score)
        if not len(own):
            return own, own
        both = None
        if first.fraction is not None and second.fraction is not None:
            both = torch.minimum(first.fraction, second.fraction)
            own = 0.5 * (
                self._similarity(first.activations, first.features, both)
                + self._similarity(second.activations, second.features, both)
            )
        forth = self._similarity(first.activations, second.features, both)
        back = self._similarity(second.activations, first.features, both)
        return own, 0.5 * (forth + back)

    def _compute_pairs(self) -> Similarity:
        moments = self._merged(PairedMoments)
        score, null, effect = paired_scores(moments)
        p_value = paired_p_value(moments, self.alternative)
        groups = self._merged(GroupMoments, _GROUP).means(self._compare_features(moments.pairs))
        return Similarity(score, null, effect, p_value, moments.n, *paired_interval(moments), groups=groups)

    def part(self, layers: Sequence[int]) -> Self:
        """Copy what is known so far of some of the instance's layers, the waiting clip too."""
        part = super().part(layers)
        if self._waiting is not None:
            activations, score = (
                of_layers(values, 1, self.layers, layers) for values in (self._waiting.activations, self._waiting.score)
            )
            part._waiting = self._waiting._replace(activations=activations, score=score)
        return part

    def reset(self) -> None:
        """Forget all clips, the waiting one too."""
        super().reset()
        self._waiting, self._n_pairs = None, 0


def _each(value: Any, function: Callable[..., Tensor], *others: Any) -> Any:
    """Apply to a tensor and its likes, to each tensor of named tuples of one kind, or not at all to None."""
    if value is None or isinstance(value, Tensor):
        return None if value is None else function(value, *others)
    return type(value)(*(_each(part, function, *alike) for part, *alike in zip(value, *others, strict=True)))


def _join(waiting: _Clips, clips: _Clips) -> _Clips:
    """Put the waiting clip before a batch; what was padded to fewer frames is padded on, and its fraction with it."""
    waiting = _each(waiting, lambda t: t.to(clips.score.device))
    both = [waiting, clips]
    if isinstance(clips.activations, Tensor):
        frames = max(part.activations.shape[-1] for part in both)
        both = [_padded(part, frames) for part in both]
    if any(part.fraction is not None for part in both):
        both = [part._replace(fraction=_fraction(part)) for part in both]
    joined: _Clips = _each(both[0], lambda a, b: torch.cat([a, b]), both[1])
    return joined


def _padded(clips: _Clips, frames: int) -> _Clips:
    """The clips with so many frames."""
    own = clips.activations.shape[-1]
    if own == frames:
        return clips
    activations, features = (pad(t, (0, frames - own)) for t in (clips.activations, clips.features))
    return _Clips(activations, features, _fraction(clips) * (own / frames), clips.score)


def _fraction(clips: _Clips) -> Tensor:
    """The clips' fraction; 1 if nothing is padded."""
    return clips.score.new_ones(len(clips.score)) if clips.fraction is None else clips.fraction
