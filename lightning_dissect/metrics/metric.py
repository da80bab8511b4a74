"""The base class that the metrics share."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lightning_dissect.levels import Level
from lightning_dissect.metrics.checks import (
    check_fraction,
    check_same_clips,
    check_same_grid,
    check_same_units,
    full_precision,
)
from lightning_dissect.metrics.functional.clip_sample import ClipSample
from lightning_dissect.metrics.functional.lengths import LengthMoments, length_moments_update, shortness
from lightning_dissect.metrics.functional.moments import CrossMoments, cross_moments_update
from lightning_dissect.metrics.functional.swapped_pairs import GroupMoments, PairedMoments
from lightning_dissect.metrics.functional.tail_moments import TailMoments
from lightning_dissect.metrics.similarity import Similarity

Moments = CrossMoments | PairedMoments | GroupMoments | LengthMoments | ClipSample | TailMoments
M = TypeVar("M", CrossMoments, PairedMoments, GroupMoments, LengthMoments, ClipSample, TailMoments)
MergedM = TypeVar("MergedM", CrossMoments, PairedMoments, GroupMoments, ClipSample, TailMoments)

_LENGTHS = "length_"


class SimilarityMetric(Metric, ABC):
    """A torchmetrics metric that compares units with feature rows, clip after clip.

    One instance serves one layer and one feature. The sizes of its states are taken from the first update, and
    `reset` forgets them. States are merged over processes, whatever the share of clips of each; a process without
    any is fine.

    Subclasses give `name`, `levels` and `alternative`, and implement `_add_batch` and `compute`. They keep each
    argument of their constructor as an attribute of its name, see `at_every_level`.

    Args:
        level: Where the comparison takes place; None takes the first of `levels`.
        kwargs: Torchmetrics' own arguments, such as `sync_on_compute`.

    Attributes:
        layers: How many layers an instance serves, see `joins_layers`; 1 unless it is set before the first update.

    Raises:
        ValueError: If the metric does not work at `level`.
    """

    name: ClassVar[str]
    levels: ClassVar[tuple[Level, ...]]
    alternative: ClassVar[Literal["two-sided", "greater", "less"]]
    per_unit: ClassVar[bool] = True
    """Whether each unit has a result of its own; if not, the result has one unit, the layer."""
    smallest_map: ClassVar[int] = 16
    """Maps with fewer bins or frames are not compared: they have next to no key points, and few shapes."""

    is_correlation: ClassVar[bool] = False
    """Whether the score is a correlation, which can be squared to an explained part of the variance."""

    correlates_clips: ClassVar[bool] = False
    """Whether the result at level clip follows from a correlation over clips."""

    _levels_joining_rows: ClassVar[tuple[Level, ...]] = ()
    _levels_joining_layers: ClassVar[tuple[Level, ...]] = ()

    is_differentiable = False
    higher_is_better = True
    # Merging the state of a batch into the state so far is not a sum: forward() updates twice instead.
    full_state_update = True

    cov: Tensor

    def __init__(self, level: Level | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_padded, **kwargs})
        if level is not None and level not in self.levels:
            raise ValueError(
                f"level={level!r} is not one that {type(self).__name__} works at: {', '.join(self.levels)}"
            )
        self.level: Level = level or self.levels[0]
        self.layers = 1
        self._of_one_level = level is not None or len(self.levels) == 1
        self._of_torchmetrics = kwargs
        self._padded = False

    def at_every_level(self) -> list[Self]:
        """List the metric itself if its level was given, else a new one of the same arguments for each of its levels.

        Example:
            >>> from lightning_dissect.metrics import PearsonSimilarity
            >>> [metric.level for metric in PearsonSimilarity().at_every_level()]
            ['clip', 'frame', 'map']
            >>> [metric.level for metric in PearsonSimilarity(level="frame").at_every_level()]
            ['frame']
        """
        if self._of_one_level:
            return [self]
        named = [p.name for p in inspect.signature(type(self)).parameters.values() if p.kind is not p.VAR_KEYWORD]
        arguments = {name: getattr(self, name) for name in named} | self._of_torchmetrics
        # States depend on the level: they are made anew.
        return [type(self)(**arguments | {"level": level}) for level in self.levels]

    @property
    def joins_rows(self) -> bool:
        """Whether features of one grid may share an instance, their rows side by side, since no row changes another."""
        return self.level in self._levels_joining_rows

    @property
    def joins_layers(self) -> bool:
        """Whether an instance may serve several layers of as many units, their units side by side.

        A network of a thousand layers is then compared by a few updates. No layer may change another one's result.
        """
        return self.level in self._levels_joining_layers

    def part(self, layers: Sequence[int]) -> Self:
        """Copy what is known so far of some of the instance's layers, which go their own way from here.

        Args:
            layers: Their indices.
        """
        part = copy.deepcopy(self)
        part.layers, part._computed = len(layers), None
        for name in self._defaults:
            setattr(part, name, of_layers(getattr(self, name), 0, self.layers, layers))
        return part

    def update(self, activations: Any, features: Any, fraction: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            activations: Shape (clips, units) at level clip, (clips, units, frames) at level frame, and
                (clips, units, frequency, time) at level map.
            features: Of the same clips and on the same grid, with rows in the place of units.
            fraction: Part of each clip's padded length that is audio, in [0, 1], shape (clips,); None if nothing is
                padded. Frames beyond it are left out. At level clip it tells how long the clips are.

        Raises:
            ValueError: If axes, clips, units or grids do not fit together.
        """
        check_same_clips(activations, features, self.level)
        check_same_grid(activations, features)
        check_fraction(fraction, len(activations))
        with full_precision(activations):
            self._add_batch(activations.float(), features.float(), fraction)

    def _add_batch(self, activations: Any, features: Any, fraction: Tensor | None) -> None:
        """Add a batch of clips, in float32, whose shapes fit together; what overrides `update` needs none."""
        raise NotImplementedError(f"{type(self).__name__} has neither an update nor an _add_batch of its own.")

    @abstractmethod
    def compute(self) -> Similarity:
        """Return the similarity over all clips since the last reset, of all processes."""

    def plot(self, val: Similarity | Sequence[Similarity] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the distribution of scores over units beside that of the null, one colour a feature row.

        This is the paper's figure of a layer (Slizovskaia et al. 2019, histograms of similarity).

        Args:
            val: A result of `compute()` or `forward()`; several are drawn as one; None computes.
            ax: Matplotlib axes to draw into; None makes a figure.

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

    def _add_moments(self, zeros: Moments, prefix: str = "") -> None:
        """Register the moments' tensors as states of the same names."""
        for name, value in zip(zeros._fields, zeros, strict=True):
            self.add_state(prefix + name, default=value, dist_reduce_fx=None)

    def _load(self, kind: type[M], prefix: str = "") -> M:
        """Return the states as the moments that they were registered from."""
        return kind(*(getattr(self, prefix + name) for name in kind._fields))

    def _store(self, moments: Moments, prefix: str = "") -> None:
        for name, value in zip(moments._fields, moments, strict=True):
            setattr(self, prefix + name, value)

    def _stacked(self, kind: type[M], prefix: str = "") -> M:
        """Return the states of all processes, or of this one, with a leading axis of processes."""
        moments = self._load(kind, prefix)
        before = self._defaults[prefix + kind._fields[0]]
        one = isinstance(before, Tensor) and moments[0].ndim == before.ndim
        return kind(*(t.unsqueeze(0) for t in moments)) if one else moments

    def _merged(self, kind: type[MergedM], prefix: str = "") -> MergedM:
        """Return the states of all processes, or of this one, as float64 moments on the CPU."""
        return kind.merge(self._stacked(kind, prefix))

    # What the metrics over clips share: moments of units and rows, and of the clips' lengths beside them.

    def _register_clip_moments(self, layers: Sequence[int] = ()) -> None:
        """Register their states; `(1,)` gives them a leading axis of layers."""
        self._add_moments(CrossMoments.zeros(layers=layers))
        self._add_moments(LengthMoments.zeros(layers=layers), _LENGTHS)

    def _by_layer(self, activations: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Give values of clips, (clips, layers x units) and (clips, rows), a leading axis of layers."""
        return activations.unflatten(1, (self.layers, -1)).transpose(0, 1), features.expand(self.layers, -1, -1)

    def _add_to_clip_moments(self, x: Tensor, f: Tensor, fraction: Tensor | None) -> None:
        """Add values of clips, with a leading axis of layers if the states have one."""
        moments = self._load(CrossMoments)
        check_same_units(moments.cov.mT.shape[-2:], (x.shape[-1], f.shape[-1]))
        # Lengths cost nothing before a first padded batch.
        self._padded = self._padded or fraction is not None
        if self._padded:
            z = torch.zeros_like(f[..., 0]) if fraction is None else shortness(fraction)
            lengths = length_moments_update(self._load(LengthMoments, _LENGTHS), moments, x, f, z)
            self._store(lengths, _LENGTHS)
        self._store(cross_moments_update(moments, x, f))

    def _merged_lengths(self) -> LengthMoments:
        """Return the clips' lengths of all processes, or of this one, in float64 on the CPU."""
        return LengthMoments.merge(self._stacked(LengthMoments, _LENGTHS), self._stacked(CrossMoments))


def of_layers(state: Any, axis: int, layers: int, wanted: Sequence[int]) -> Any:
    """Take what belongs to some of the layers which share a state's axis; a state without clips stays."""
    if not state.numel() or state.shape[axis] < layers:
        return state
    index = torch.as_tensor(wanted, device=state.device)
    return state.unflatten(axis, (layers, -1)).index_select(axis, index).flatten(axis, axis + 1)


def gather_padded(tensor: Tensor, group: Any = None) -> list[Tensor]:
    """Gather over processes as torchmetrics does; a process that saw no clip gives zeros of the others' shape."""
    gathered = gather_all_tensors(tensor, group)
    shape = [max(sizes) for sizes in zip(*(t.shape for t in gathered), strict=True)]
    return [t if list(t.shape) == shape else t.new_zeros(shape) for t in gathered]


def _limits(*tensors: Tensor) -> tuple[float, float]:
    """Smallest and largest finite value, apart from each other; (0, 1) without any."""
    values = torch.cat([t[t.isfinite()] for t in tensors])
    if not values.numel():
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    return (low, high) if high > low else (low - 0.5, high + 0.5)
