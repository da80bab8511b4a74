"""What every metric returns, and the base class they share."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lightning_dissect.metrics.functional.iou import TailMoments
from lightning_dissect.metrics.functional.lengths import LengthMoments, length_moments_update, shortness
from lightning_dissect.metrics.functional.moments import CrossMoments
from lightning_dissect.metrics.functional.paired import PairedMoments
from lightning_dissect.metrics.functional.sample import ClipSample

Level = Literal["clip", "frame", "map"]
Moments = CrossMoments | PairedMoments | LengthMoments | ClipSample | TailMoments
M = TypeVar("M", CrossMoments, PairedMoments, LengthMoments, ClipSample, TailMoments)
MergedM = TypeVar("MergedM", CrossMoments, PairedMoments, ClipSample, TailMoments)


_LENGTHS = "length_"


class _Fields(NamedTuple):
    score: Tensor
    null: Tensor
    effect: Tensor
    p_value: Tensor
    n_clips: Tensor
    low: Tensor
    high: Tensor


class Similarity(_Fields):
    """Similarity of every unit (or layer, then one) with every feature row, in float64 on the CPU.

    Always of shape ``(units, rows)``, also where there is only one of each: torchmetrics squeezes results of one
    element, and building the tuple undoes that.

    Attributes:
        score: the similarity; NaN where it is undefined (dead unit, constant feature, too few clips). null: what the
            score would be if activations and features had nothing to do with each other. effect: score minus null,
            over the clips that both are known for. p_value: probability of such an effect by chance; NaN where it
            cannot be tested. Not corrected for multiple tests. n_clips: number of clips that the score rests on.
        low, high: ends of the 95 % interval of the effect; NaN where there is none.
    """

    __slots__ = ()

    def __new__(
        cls,
        score: Tensor,
        null: Tensor,
        effect: Tensor,
        p_value: Tensor,
        n_clips: Tensor,
        low: Tensor | None = None,
        high: Tensor | None = None,
    ) -> Similarity:
        """Build the tuple with every tensor two-dimensional; an interval that is not given is NaN."""
        ends = (torch.full_like(effect, torch.nan) if end is None else end for end in (low, high))
        return super().__new__(cls, *(torch.atleast_2d(t) for t in (score, null, effect, p_value, n_clips, *ends)))


class SimilarityMetric(Metric, ABC):
    """A torchmetrics metric that compares units with feature rows, clip after clip.

    One instance serves one layer and one feature. The sizes of its states are taken from the first update, and
    ``reset`` forgets them. States are merged over processes, whatever the share of clips of each; a process without
    any is fine.

    Subclasses give ``name``, ``levels`` and ``alternative``, and implement ``update`` and ``compute``. The shapes
    ``update`` takes depend on the level: clip ``(B, U)`` and ``(B, F)``; frame ``(B, U, T)`` and ``(B, F, T)``; map
    ``(B, U, H, W)`` and ``(B, H', W')``, one feature map a clip; each with a mask ``(B, T)`` of the valid frames, if
    clips are padded. Units and rows of the result are ``U`` and ``F``, and 1 row at level map.

    A metric whose work depends on one side only (key points of a map) does that in ``prepare_activations`` and
    ``prepare_features``, so that a layer is prepared once a batch for all features and a feature once for all layers::

        grid = metric.grid(activations.shape, features.shape)     # sides with an equal grid share what is prepared
        prepared = metric.prepare_activations(activations, grid)  # keep for (layer, grid)
        against = metric.prepare_features(features, grid)         # keep for (feature, grid)
        metric.update(prepared, against)

    For other metrics ``grid`` is None and both return their argument. Any instance may prepare for its clones.

    Args:
        level: where the comparison takes place; None takes the first of ``levels``.
        kwargs: torchmetrics' own arguments, such as ``sync_on_compute``.

    Attributes:
        layers: how many layers an instance serves, see :attr:`joins_layers`; 1 unless it is set before the first
            update.

    Raises:
        ValueError: if the metric does not work at ``level``.
    """

    name: ClassVar[str]
    levels: ClassVar[tuple[Level, ...]]
    alternative: ClassVar[Literal["two-sided", "greater", "less"]]
    per_unit: ClassVar[bool] = True
    """Whether each unit has a result of its own; if not, the result has one unit, the layer."""
    smallest_map: ClassVar[int] = 16
    """Maps with fewer bins or frames are not compared: they have next to no key points, and few shapes."""

    is_differentiable = False
    higher_is_better = True
    # Merging the state of a batch into the state so far is not a sum: forward() updates twice instead.
    full_state_update = True

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dist_sync_fn", gather_padded)
        super().__init__(**kwargs)
        if level is not None and level not in self.levels:
            raise ValueError(
                f"level={level!r} is not one that {type(self).__name__} works at: {', '.join(self.levels)}"
            )
        self.level: Level = level or self.levels[0]
        self.layers = 1
        self._padded = False

    @property
    def joins_rows(self) -> bool:
        """Whether features of one grid may share an instance, their rows side by side, since no row changes another.

        Maps then come as ``(B, F, H, W)``, one row a feature.
        """
        return False

    @property
    def joins_layers(self) -> bool:
        """Whether an instance may serve several layers of as many units, their units side by side.

        A network of a thousand layers is then compared by a few updates. No layer may change another one's result.
        """
        return False

    def part(self, layers: Sequence[int]) -> Self:
        """What is known so far of some of the instance's layers, which go their own way from here.

        Args:
            layers: their indices.
        """
        part = copy.deepcopy(self)
        part.layers, part._computed = len(layers), None
        for name in self._defaults:
            setattr(part, name, of_layers(getattr(self, name), 0, self.layers, layers))
        return part

    def grid(self, activations: Sequence[int], features: Sequence[int]) -> tuple[int, int] | None:
        """Common (height, width) that maps of these shapes are brought to before they are prepared; None for none.

        Args:
            activations: shape of the activations.
            features: shape of the features.
        """
        return None

    @property
    def preparation(self) -> Hashable:
        """What prepared values depend on beside the grid; metrics with an equal one share what is prepared."""
        return id(self)

    def prepare_activations(self, activations: Any, grid: tuple[int, int] | None = None) -> Any:
        """What ``update`` needs of activations, whatever the feature; here they are returned as they are.

        Args:
            activations: a batch's activations.
            grid: what :meth:`grid` gave.
        """
        return activations

    def prepare_features(self, features: Any, grid: tuple[int, int] | None = None) -> Any:
        """What ``update`` needs of a feature, whatever the layer; here it is returned as it is.

        Args:
            features: a batch's feature values.
            grid: what :meth:`grid` gave.
        """
        return features

    @abstractmethod
    def update(self, activations: Any, features: Any, mask: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: raw or prepared activations, shapes as above.
            features: raw or prepared feature values of the same clips.
            mask: valid frames ``(B, T)``, None if all are.
        """

    @abstractmethod
    def compute(self) -> Similarity:
        """The similarity over all clips since the last reset, of all processes."""

    def plot(self, val: Similarity | Sequence[Similarity] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the distribution of scores over units beside that of the null, one colour a feature row.

        This is the paper's figure of a layer (Slizovskaia et al. 2019, histograms of similarity).

        Args:
            val: a result of ``compute()`` or ``forward()``; several are drawn as one; None computes.
            ax: matplotlib axes to draw into; None makes a figure.

        Returns:
            The figure and its axes.
        """
        from matplotlib import pyplot as plt  # slow to import, and not needed to compute

        result = val if val is not None else self.compute()
        if not isinstance(result, Similarity):
            result = Similarity(*(torch.cat(parts) for parts in zip(*result, strict=True)))
        figure, axes = (ax.figure, ax) if ax is not None else plt.subplots()
        edges = torch.linspace(*_limits(result.score, result.null), 41, dtype=torch.float64).tolist()
        for row in range(result.score.shape[1]):
            score, null = (values[:, row][values[:, row].isfinite()].numpy() for values in (result.score, result.null))
            label = f"row {row}" if result.score.shape[1] > 1 else "score"
            axes.hist(score, edges, alpha=0.6, color=f"C{row}", label=label)
            axes.hist(null, edges, histtype="step", color=f"C{row}", linestyle=":", label=None if row else "null")
        axes.set(xlabel=f"{self.name} similarity ({self.level})", ylabel="units")
        axes.legend()
        return figure, axes

    def _add_clip_moments(self, layers: Sequence[int] = ()) -> None:
        """Register the states of a metric over clips of any length; ``(1,)`` gives them a leading axis of layers."""
        self._add_moments(CrossMoments.zeros(layers=layers))
        self._add_moments(LengthMoments.zeros(layers=layers), _LENGTHS)

    def _by_layer(self, activations: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Values of clips, ``(B, layers * U)`` and ``(B, F)``, in float32 with a leading axis of layers."""
        x = activations.float().unflatten(1, (self.layers, -1)).transpose(0, 1)
        return x, features.float().expand(self.layers, -1, -1)

    def _add_moments(self, zeros: Moments, prefix: str = "") -> None:
        """Register the moments' tensors as states of the same names."""
        for name, value in zip(zeros._fields, zeros, strict=True):
            self.add_state(prefix + name, default=value, dist_reduce_fx=None)

    def _load(self, kind: type[M], prefix: str = "") -> M:
        """The states as the moments that they were registered from."""
        return kind(*(getattr(self, prefix + name) for name in kind._fields))

    def _store(self, moments: Moments, prefix: str = "") -> None:
        for name, value in zip(moments._fields, moments, strict=True):
            setattr(self, prefix + name, value)

    def _stacked(self, kind: type[M], prefix: str = "") -> M:
        """The states of all processes, or of this one, with a leading axis of processes."""
        moments = self._load(kind, prefix)
        before = self._defaults[prefix + kind._fields[0]]
        one = isinstance(before, Tensor) and moments[0].ndim == before.ndim
        return kind(*(t.unsqueeze(0) for t in moments)) if one else moments

    def _merged(self, kind: type[MergedM], prefix: str = "") -> MergedM:
        """The states of all processes, or of this one, as float64 moments on the CPU."""
        return kind.merge(self._stacked(kind, prefix))

    def _update_lengths(self, before: CrossMoments, x: Tensor, f: Tensor, mask: Tensor | None) -> None:
        """Add the clips' lengths to the states of :class:`LengthMoments`; costs nothing before a first mask.

        Args:
            before: the states of :class:`CrossMoments` before the batch.
            x: activations ``(B, U)``, of layers with a leading axis, if the states have one.
            f: feature values ``(B, F)``, with the same axis.
            mask: valid frames ``(B, T)``, None if all are.
        """
        if mask is not None:
            self._padded = True
        if self._padded:
            z = torch.zeros_like(f[..., 0]) if mask is None else shortness(mask)
            lengths = length_moments_update(self._load(LengthMoments, _LENGTHS), before, x, f, z)
            self._store(lengths, _LENGTHS)

    def _merged_lengths(self) -> LengthMoments:
        """The clips' lengths of all processes, or of this one, in float64 on the CPU."""
        return LengthMoments.merge(self._stacked(LengthMoments, _LENGTHS), self._stacked(CrossMoments))


def of_layers(state: Any, axis: int, layers: int, wanted: Sequence[int]) -> Any:
    """The part of a state that belongs to some of the layers which share an axis; one without clips stays."""
    if not state.numel() or state.shape[axis] < layers:
        return state
    index = torch.as_tensor(wanted, device=state.device)
    return state.unflatten(axis, (layers, -1)).index_select(axis, index).flatten(axis, axis + 1)


def _limits(*tensors: Tensor) -> tuple[float, float]:
    """Smallest and largest finite value, apart from each other; (0, 1) without any."""
    values = torch.cat([t[t.isfinite()] for t in tensors])
    if not values.numel():
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def gather_padded(tensor: Tensor, group: Any = None) -> list[Tensor]:
    """Gather over processes as torchmetrics does; a process that saw no clip gives zeros of the others' shape."""
    gathered = gather_all_tensors(tensor, group)
    shape = [max(sizes) for sizes in zip(*(t.shape for t in gathered), strict=True)]
    return [t if list(t.shape) == shape else t.new_zeros(shape) for t in gathered]


def check_same_clips(activations: Tensor, features: Tensor, dims: tuple[int, int]) -> None:
    """Raise unless both have these numbers of axes and the same number of clips.

    Raises:
        ValueError: naming the argument and the shape found.
    """
    for argument, value, ndim in (("activations", activations, dims[0]), ("features", features, dims[1])):
        if value.ndim != ndim:
            raise ValueError(f"{argument} of shape {tuple(value.shape)} should have {ndim} axes at this level")
    if activations.shape[0] != features.shape[0]:
        raise ValueError(
            f"activations are of {activations.shape[0]} clips and features of {features.shape[0]}: both need the same"
        )


def check_same_grid(activations: Tensor, features: Tensor, axes: int) -> None:
    """Raise unless the last axes (frames, or frequency and frames) are the same.

    Raises:
        ValueError: naming both shapes.
    """
    if activations.shape[-axes:] != features.shape[-axes:]:
        raise ValueError(
            f"activations {tuple(activations.shape)} and features {tuple(features.shape)} should end in the same "
            f"{axes} axes: bring both to one grid first"
        )


def full_precision(tensor: Tensor) -> torch.autocast:
    """Context in which autocast leaves float32 alone, on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def check_same_units(states: Tensor, units: int, rows: int) -> None:
    """Raise if an update has another number of units or rows than those before it.

    Raises:
        ValueError: naming the sizes before and now.
    """
    if states.numel() and tuple(states.shape) != (units, rows):
        raise ValueError(
            f"units and feature rows were {tuple(states.shape)} so far and are {(units, rows)} now: "
            "use one metric for each layer and feature, or reset() first"
        )
