"""The metrics between the layers and the features of a run."""

import copy
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_dissect.errors import naming
from lightning_dissect.levels import Levels, to_frames, to_one_map
from lightning_dissect.metrics import DescriptorMetric, PearsonSimilarity, SimilarityMetric
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.run.batch_features import BatchFeatures, Values
from lightning_dissect.run.stacks import LARGE, MAX_BYTES, Stack, common_pieces, join_units, n_bytes, put_side_by_side
from lightning_dissect.scores import Block
from lightning_dissect.scores.rivals import with_rivals

_FEATURES: Stack = ("",)
"""Stands for the features themselves, which are compared with each other as if they were units of a layer."""


_Cells = dict[tuple[int, int, int], dict[int, Block]]
"""By data loader, layer and metric, the blocks of the features."""


class Key(NamedTuple):
    """What one metric compares: layers with features, by the metric of this index."""

    dataloader: int
    layers: Stack
    features: tuple[str, ...]
    metric: int


class Comparison:
    """Every layer against every feature, by every metric that works at a level that both have.

    Args:
        metrics: A prototype of each metric, which is cloned for each layer and feature; one clone serves all features
            of a grid if the metric :attr:`joins_rows`, and many layers of as many units if it :attr:`joins_layers`.
        layers: The names of the layers, in the network's order.
        rows: The names of each feature's rows, in the order of the features.
        controls: The features that are trivial explanations, marked in the table.

    Example:
        >>> from lightning_dissect.features.bank import FeatureBank
        >>> from lightning_dissect.levels import Extent, pool_activation, pool_feature
        >>> from lightning_dissect.run.choice import find_metrics
        >>> comparison = Comparison(find_metrics(["pearson"]), ["embedding"], {"rms": ("rms",)})
        >>> clips = torch.randn(8, 4_000) * torch.rand(8, 1)
        >>> extent = Extent(clips=8, frames=8, fraction=None, map_clips=0)
        >>> rms = pool_feature(*FeatureBank(["rms"], 8_000)(clips)["rms"], extent)
        >>> units = pool_activation(clips.square().mean(1, keepdim=True), ("batch", "unit"), extent)
        >>> comparison.update("embedding", units, BatchFeatures(extent, {"rms": rms}))
        >>> [(block.constant["layer"], block.features, block.similarity.score > 0.9) for block in comparison.blocks()]
        [('embedding', ('rms',), tensor([[True]]))]
    """

    def __init__(
        self,
        metrics: Sequence[SimilarityMetric],
        layers: Iterable[str],
        rows: Mapping[str, tuple[str, ...]],
        controls: Collection[str] = (),
    ) -> None:
        self.prototypes = list(metrics)
        self.layers = tuple(layers)
        self.rows = dict(rows)
        self.controls = frozenset(controls)
        self._metrics: dict[Key, SimilarityMetric] = {}
        self._stacks: dict[int, dict[str, Stack]] = {}
        self._places = {name: place for place, name in enumerate(self.layers)}
        self._batch: BatchFeatures | None = None
        self._related: BatchFeatures | None = None
        self._waiting: dict[str, Levels] = {}
        self._waiting_bytes = 0
        indices = range(len(self.prototypes))
        self._of_maps = [index for index in indices if self.prototypes[index].level == "map"]
        below = [index for index in indices if index not in self._of_maps]
        self._of_stacks = [index for index in below if self.prototypes[index].joins_layers]
        self._of_layers = [index for index in below if index not in self._of_stacks]
        clips = [index for index in below if self.prototypes[index].level == "clip"]
        self._of_features = [index for index in clips if self.prototypes[index].correlates_clips]

    @property
    def keys(self) -> list[Key]:
        """What has been compared, without what is still waiting."""
        return list(self._metrics)

    @property
    def n_bytes(self) -> int:
        """Bytes that the metrics' states take."""
        states = (state for metric in self._metrics.values() for state in metric.metric_state.values())
        return sum(part.nbytes for state in states for part in (state if isinstance(state, list) else [state]))

    def expect(self, keys: Iterable[Key], device: torch.device) -> None:
        """Have metrics for these, too, of no clips, so that they are computed together with other processes'.

        Args:
            keys: Of all processes. Where layers stand side by side in one and not in another, they do so in none.
            device: Of the metrics that are missing here.
        """
        keys = list(dict.fromkeys(keys))
        pieces = common_pieces({key[:2] for key in keys if key.metric in self._of_stacks})
        for dataloader, stacks in self._stacks.items():
            for stack in dict.fromkeys(stacks.values()):
                self._part(dataloader, stack, pieces.get((dataloader, stack), [stack]))
        for key in keys:
            for piece in pieces[key[:2]] if key.metric in self._of_stacks else [key.layers]:
                self._metric(key._replace(layers=piece), device)

    def update(self, layer: str, levels: Levels, batch: BatchFeatures) -> None:
        """Compare a layer with the features of a batch.

        An update of a metric costs some hundred microseconds however small the layer: below map level, small layers
        wait for the others of their batch, and those that are alike are compared as one.

        Args:
            layer: Its name.
            levels: Its activations. What they are cut from may be written over as soon as this returns.
            batch: The features of the same clips.
        """
        size = n_bytes(levels)
        if batch is not self._batch or self._waiting_bytes + size > MAX_BYTES:
            self.settle()
        if batch is not self._related:
            self._relate(batch)
        self._batch = batch
        if size < LARGE:
            self._waiting[layer] = levels._replace(map=None)
            self._waiting_bytes += size
        else:
            self._compare_stack((layer,), [levels], batch)
        self._compare((layer,), levels, batch, self._of_maps)

    def settle(self) -> None:
        """Compare the layers that wait; a batch ends with this."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if waiting and self._batch is not None:
            layers = sorted(waiting.items(), key=lambda part: self._places[part[0]])
            for stack, parts in put_side_by_side(layers, self._stacks.get(self._batch.dataloader, {})):
                self._compare_stack(stack, parts, self._batch)
        self._batch = None

    def _relate(self, batch: BatchFeatures) -> None:
        """Compare the features of a batch with each other, since two that are alike follow the same units."""
        self._related = batch
        for rows in batch.rows("clip", joined=True):
            self._compare(_FEATURES, Levels(rows.values, None, None), batch, self._of_features)

    def _compare_stack(self, stack: Stack, layers: Sequence[Levels], batch: BatchFeatures) -> None:
        """Compare layers that are new, or have been side by side before, alone or with more, below map level."""
        before = self._stacks.get(batch.dataloader, {}).get(stack[0], stack)
        rest = tuple(layer for layer in before if layer not in set(stack)) if before != stack else ()
        self._part(batch.dataloader, before, [stack, rest])
        with naming(*stack):
            self._compare(stack, join_units(layers), batch, self._of_stacks)
        for layer, levels in zip(stack, layers, strict=True):
            with naming(layer):
                self._compare((layer,), levels, batch, self._of_layers)

    def _part(self, dataloader: int, stack: Stack, pieces: Iterable[Stack]) -> None:
        """Have the layers of a stack stand side by side in these pieces only."""
        pieces = [piece for piece in pieces if piece]
        self._stacks.setdefault(dataloader, {}).update({layer: piece for piece in pieces for layer in piece})
        if len(pieces) == 1:
            return
        for key in [key for key in self._metrics if key[:2] == (dataloader, stack) and key.metric in self._of_stacks]:
            metric = self._metrics.pop(key)
            for piece in pieces:
                self._metrics[key._replace(layers=piece)] = metric.part([stack.index(layer) for layer in piece])

    def _compare(self, layers: Stack, levels: Levels, batch: BatchFeatures, metrics: Iterable[int]) -> None:
        units = {level: Values(values) for level, values in levels._asdict().items() if values is not None}
        for index in metrics:
            prototype = self.prototypes[index]
            level = prototype.level
            if level not in units:
                continue
            activations = units[level]
            if level == "map" and min(activations.values.shape[-2:]) < prototype.smallest_map:
                continue
            for rows in batch.rows(level, prototype.joins_rows):
                metric = self._metric(Key(batch.dataloader, layers, rows.names, index), activations.values.device)
                fraction = batch.extent.fraction
                metric.update(
                    *_as_asked(metric, activations, rows), None if fraction is None else fraction[: len(rows.values)]
                )

    def blocks(self, constant: Mapping[str, Any] | None = None, leave_out: Collection[str] = ()) -> list[Block]:
        """Compute every metric over all clips so far, of all processes.

        Args:
            constant: Columns of the table that are the same in all blocks, such as the epoch.
            leave_out: Layers that are not computed.

        Returns:
            One block for each data loader, layer, feature and metric, in this order, with the columns ``dataloader,
            level, metric, layer`` (and ``unit`` as None for a metric of the whole layer) after those that are given.
        """
        self.settle()
        cells, related = self._compute(constant or {}, set(leave_out))
        found: dict[tuple[int, int, int, int], Block] = {}
        for (dataloader, layer, index), cell in cells.items():
            places, blocks = zip(*sorted(cell.items()), strict=True)
            if self.prototypes[index].per_unit:
                metric = self.prototypes[index]
                blocks = with_rivals(blocks, metric.alternative == "two-sided", related.get((dataloader, index)))
            found |= {(dataloader, layer, place, index): block for place, block in zip(places, blocks, strict=True)}
        return [found[place] for place in sorted(found)]

    def _compute(
        self, constant: Mapping[str, Any], leave_out: set[str]
    ) -> tuple[_Cells, dict[tuple[int, int], Tensor]]:
        """Compute every metric: blocks by feature of each data loader, layer and metric, and the features' own."""
        features = {name: place for place, name in enumerate(self.rows)}
        cells: _Cells = {}
        related: dict[tuple[int, int], dict[int, Tensor]] = {}
        # In one order in every process, since computing is a collective.
        for key in sorted(key for key in self._metrics if not set(key.layers) <= leave_out):
            metric = self._metrics[key]
            where = {**constant, "dataloader": key.dataloader, "level": metric.level, "metric": metric.name}
            if not metric.per_unit:
                where["unit"] = None
            with warnings.catch_warnings():
                # Of a metric that has seen no clip in this process: others have.
                warnings.filterwarnings("ignore", "The ``compute`` method of metric")
                computed = metric.compute()
            if key.layers == _FEATURES:
                related.setdefault((key.dataloader, key.metric), {})[features[key.features[0]]] = computed.correlation
                continue
            for feature, rows, together in self._by_feature(key, computed):
                for layer, similarity in zip(key.layers, _by_layer(together, len(key.layers)), strict=True):
                    if layer not in leave_out:
                        cell = cells.setdefault((key.dataloader, self._places[layer], key.metric), {})
                        own = {"layer": layer, "control": feature in self.controls}
                        cell[features[feature]] = Block(where | own, rows, similarity)
        return cells, {key: torch.cat([some[place] for place in sorted(some)], 1) for key, some in related.items()}

    def _by_feature(self, key: Key, similarity: Similarity) -> Iterator[tuple[str, tuple[str, ...], Similarity]]:
        """Take apart what was computed for several features at once; a map's result is one row, whatever its rows."""
        named = [self.rows[feature] for feature in key.features]
        if sum(map(len, named)) != similarity.score.shape[1]:
            named = [(feature,) for feature in key.features]
        ends = accumulate(map(len, named))
        for feature, rows, end in zip(key.features, named, ends, strict=True):
            yield feature, rows, Similarity._make(values[:, end - len(rows) : end] for values in similarity)

    def _metric(self, key: Key, device: torch.device) -> SimilarityMetric:
        if key not in self._metrics:
            self._metrics[key] = copy.deepcopy(self.prototypes[key.metric]).to(device)
            self._metrics[key].layers = len(key.layers)
            if isinstance(metric := self._metrics[key], PearsonSimilarity) and len(key.features) > 1:
                metric.hold_fixed([len(self.rows[feature]) for feature in key.features])
        return self._metrics[key]


def _by_layer(similarity: Similarity, layers: int) -> Iterator[Similarity]:
    """Take apart the units of several layers of one size."""
    return map(Similarity._make, zip(*(values.chunk(layers) for values in similarity), strict=True))


def _as_asked(metric: SimilarityMetric, activations: Values, rows: Values) -> tuple[Any, Any]:
    """Activations and feature rows as a metric takes them: on the coarser grid of the two, or prepared."""
    if isinstance(metric, DescriptorMetric):
        grid = metric.grid(activations.values.shape)
        return activations.prepared(metric, grid), rows.prepared(metric, grid)
    if metric.level == "map":
        return to_one_map(activations.values, rows.values)
    if metric.level == "frame":
        return activations.values, to_frames(rows.values, activations.values.shape[-1])
    return activations.values, rows.values
