"""Base of the metrics that score each clip by itself and test against clips with swapped features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_dissect.metrics.functional.paired import PairedMoments, paired_moments_update, paired_scores
from lightning_dissect.metrics.functional.significance import paired_interval, paired_p_value
from lightning_dissect.metrics.similarity import Similarity, SimilarityMetric, check_same_units, of_layers


class _Clips(NamedTuple):
    """Clips to compare: two tensors with time last and the mask of its valid frames; or two prepared named tuples.

    Of prepared ones, the mask is whatever the metric makes of it: one tensor, never None.
    """

    activations: Any
    features: Any
    mask: Tensor | None
    score: Tensor


class PairedMetric(SimilarityMetric):
    """A metric whose score is the mean over clips of a similarity within the clip.

    Clips are taken two by two in their order, over the borders of batches: a batch's odd clip waits for the next batch
    (its data stays on the device, outside torchmetrics' states). ``null`` is the mean similarity of a pair's
    activations with each other's feature, ``effect`` the difference to their own; p-value and interval are those of a
    t-test of the effect over pairs. Swapping both ways cancels what a clip's activation or feature does to its scores
    whatever it is compared with (a busy map matches everything a little), and makes effects of different pairs
    independent, as the t-test asks. Score, null and p-value do not depend on the size of batches.

    Where clips are padded, both sides of an effect are over the frames that the pair has in common, or a long clip
    would differ from the pair for its length alone; the score is over all frames.

    Subclasses implement ``_similarity``.
    """

    n: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._waiting: _Clips | None = None

    @abstractmethod
    def _similarity(self, activations: Any, features: Any, mask: Tensor | None) -> Tensor:
        """Similarity of each clip's activations and features, shape ``(B, U, R)``, NaN where undefined."""

    def _update_pairs(self, activations: Any, features: Any, mask: Tensor | None) -> None:
        """Score a batch, complete pairs, keep the odd clip."""
        score, own, swapped = self._pair_up(activations, features, mask)
        self._store(paired_moments_update(self._load(PairedMoments), score, own, swapped))

    def _pair_up(self, activations: Any, features: Any, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of a batch's clips, then of its pairs with their own and with swapped features; keep the odd clip."""
        score = self._similarity(activations, features, mask)
        check_same_units(self.n, *score.shape[1:3])
        clips = _Clips(activations, features, mask, score)
        if self._waiting is not None:
            clips = _join(self._waiting, clips)
        paired = len(clips.score) - len(clips.score) % 2
        own, swapped = self._compare_pairs(_take(clips, slice(0, paired, 2)), _take(clips, slice(1, paired, 2)))
        # A copy: the tensors that it is cut from are a whole batch, and may be written over.
        self._waiting = _clone(_take(clips, slice(paired, None))) if paired < len(clips.score) else None
        return score, own, swapped

    def _compare_pairs(self, first: _Clips, second: _Clips) -> tuple[Tensor, Tensor]:
        """Mean own and mean swapped score of each pair, both over the frames that are valid in both clips."""
        own = 0.5 * (first.score + second.score)
        if not len(own):
            return own, own
        both = None
        if first.mask is not None and second.mask is not None:
            both = torch.minimum(first.mask, second.mask)
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
        return Similarity(score, null, effect, p_value, moments.n, *paired_interval(moments))

    def part(self, layers: Sequence[int]) -> Self:
        """What is known so far of some of the instance's layers, the waiting clip too."""
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
        self._waiting = None


def _take(clips: _Clips, index: slice) -> _Clips:
    return _Clips._make(_map(lambda t: t[index], part) for part in clips)


def _clone(clips: _Clips) -> _Clips:
    return _Clips._make(_map(torch.clone, part) for part in clips)


def _map(function: Any, value: Any) -> Any:
    """Apply to a tensor, to each tensor of a named tuple, or not at all to None."""
    if value is None or isinstance(value, Tensor):
        return None if value is None else function(value)
    return type(value)(*(function(tensor) for tensor in value))


def _join(first: _Clips, second: _Clips) -> _Clips:
    """Clips of both; where one batch was padded to fewer frames, it is padded to the other's and masked there."""
    device = second.score.device
    if not isinstance(second.activations, Tensor):
        activations, features = (
            type(b)(*(torch.cat([s.to(device), t]) for s, t in zip(a, b, strict=True)))
            for a, b in ((first.activations, second.activations), (first.features, second.features))
        )
        assert first.mask is not None
        assert second.mask is not None
        mask, score = torch.cat([first.mask.to(device), second.mask]), torch.cat([first.score.to(device), second.score])
        return _Clips(activations, features, mask, score)
    frames = max(first.activations.shape[-1], second.activations.shape[-1])
    whole = first.mask is None and second.mask is None and first.activations.shape[-1] == second.activations.shape[-1]
    first, second = (_pad_to(clips, frames, device, whole) for clips in (first, second))
    return _Clips._make(None if b is None else torch.cat([a, b]) for a, b in zip(first, second, strict=True))


def _pad_to(clips: _Clips, frames: int, device: torch.device, whole: bool) -> _Clips:
    """The clips on a device, with this many frames, and with an explicit mask unless all are whole."""
    score, mask = clips.score.to(device), clips.mask
    missing = (0, frames - clips.activations.shape[-1])
    if mask is None and not whole:
        mask = torch.ones((len(score), clips.activations.shape[-1]), dtype=torch.bool, device=device)
    activations, features = (pad(t.to(device), missing) for t in (clips.activations, clips.features))
    return _Clips(activations, features, None if mask is None else pad(mask.to(device), missing), score)
