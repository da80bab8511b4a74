"""The metrics between the layers and the features of a run."""

import copy
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_dissect.batch import Batch, join_units
from lightning_dissect.errors import naming
from lightning_dissect.metrics import METRICS, Level, SimilarityMetric
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.pairing import Extent, Side, to_frames, to_one_map
from lightning_dissect.pending import LARGE, Pending, n_bytes
from lightning_dissect.scores import Block
from lightning_dissect.stacks import Stack, common_pieces, put_side_by_side

Metrics = Sequence[str | SimilarityMetric]


class Key(NamedTuple):
    """What one metric compares: layers with features, by the metric of this index."""

    dataloader: int
    layers: Stack
    features: tuple[str, ...]
    metric: int


class Comparison:
    """Every layer against every feature, by every metric that works at a level that both have.

    Args:
        metrics: a prototype of each metric, which is cloned for each layer and feature; one clone serves all features
            of a grid if the metric :attr:`joins_rows`, and many layers of as many units if it :attr:`joins_layers`.
        layers: the names of the layers, in the network's order.
        rows: the names of each feature's rows, in the order of the features.

    Example:
        >>> from lightning_dissect.features.bank import FeatureBank
        >>> from lightning_dissect.pairing import pool_activation, pool_feature
        >>> comparison = Comparison(find_metrics(["pearson"]), ["embedding"], {"rms": ("rms",)})
        >>> clips = torch.randn(8, 4_000) * torch.rand(8, 1)
        >>> extent = Extent(clips=8, frames=8, fraction=None, map_clips=0)
        >>> rms = pool_feature(FeatureBank(["rms"], 8_000)(clips)["rms"], extent)
        >>> units = pool_activation(clips.square().mean(1, keepdim=True), ("batch", "unit"), extent)
        >>> comparison.update("embedding", units, Batch(extent, {"rms": rms}))
        >>> [(key["layer"], rows, similarity.score > 0.9) for key, rows, similarity in comparison.similarities()]
        [('embedding', ('rms',), tensor([[True]]))]
    """

    def __init__(
        self, metrics: Sequence[SimilarityMetric], layers: Iterable[str], rows: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.prototypes = list(metrics)
        self.layers = tuple(layers)
        self.rows = dict(rows)
        self._metrics: dict[Key, SimilarityMetric] = {}
        self._stacks: dict[tuple[int, str], Stack] = {}
        self._places = {name: place for place, name in enumerate(self.layers)}
        self._pending = Pending()
        indices = range(len(self.prototypes))
        self._of_maps = [index for index in indices if self.prototypes[index].level == "map"]
        below = [index for index in indices if index not in self._of_maps]
        self._of_stacks = [index for index in below if self.prototypes[index].joins_layers]
        self._of_layers = [index for index in below if index not in self._of_stacks]

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
            keys: of all processes. Where layers stand side by side in one and not in another, they do so in none.
            device: of the metrics that are missing here.
        """
        keys = list(dict.fromkeys(keys))
        pieces = common_pieces({key[:2] for key in keys if key.metric in self._of_stacks})
        for dataloader, stack in dict.fromkeys((place[0], stack) for place, stack in self._stacks.items()):
            self._part(dataloader, stack, pieces.get((dataloader, stack), [stack]))
        for key in keys:
            for piece in pieces[key[:2]] if key.metric in self._of_stacks else [key.layers]:
                self._metric(key._replace(layers=piece), device)

    def update(self, layer: str, side: Side, batch: Batch) -> None:
        """Compare a layer with the features of a batch; small ones below map level wait for more batches and layers.

        Args:
            layer: its name.
            side: its activations, brought to each level that they have. What they are cut from may be written over
                as soon as this returns.
            batch: the features of the same clips.
        """
        waits = n_bytes(side) < LARGE
        if not self._pending.fits(layer, side, batch) if waits else layer in self._pending:
            self.settle()
        if waits:
            self._pending.put(layer, side, batch)
        else:
            self._compare_stack((layer,), [side], batch)
        self._compare((layer,), side, batch, self._of_maps)

    def settle(self) -> None:
        """Compare what is waiting."""
        waiting = sorted(self._pending.take(), key=lambda part: self._places[part[0]])
        for stack, sides, batch in put_side_by_side(waiting, self._stacks):
            self._compare_stack(stack, sides, batch)

    def _compare_stack(self, stack: Stack, sides: Sequence[Side], batch: Batch) -> None:
        """Compare layers that are new, or have been side by side before, alone or with more, below map level."""
        before = self._stacks.get((batch.dataloader, stack[0]), stack)
        rest = tuple(layer for layer in before if layer not in set(stack)) if before != stack else ()
        self._part(batch.dataloader, before, [stack, rest])
        with naming(*stack):
            self._compare(stack, join_units(sides), batch, self._of_stacks)
        for layer, side in zip(stack, sides, strict=True):
            with naming(layer):
                self._compare((layer,), side, batch, self._of_layers)

    def _part(self, dataloader: int, stack: Stack, pieces: Iterable[Stack]) -> None:
        """Have the layers of a stack stand side by side in these pieces only."""
        pieces = [piece for piece in pieces if piece]
        self._stacks |= {(dataloader, layer): piece for piece in pieces for layer in piece}
        if len(pieces) == 1:
            return
        for key in [key for key in self._metrics if key[:2] == (dataloader, stack) and key.metric in self._of_stacks]:
            metric = self._metrics.pop(key)
            for piece in pieces:
                self._metrics[key._replace(layers=piece)] = metric.part([stack.index(layer) for layer in piece])

    def _compare(self, layers: Stack, side: Side, batch: Batch, metrics: Iterable[int]) -> None:
        prepared: dict[Any, Any] = {}
        for index in metrics:
            prototype = self.prototypes[index]
            activations = getattr(side, prototype.level)
            if activations is None or (
                prototype.level == "map" and min(activations.shape[-2:]) < prototype.smallest_map
            ):
                continue
            preparation = prototype.preparation
            for group in batch.groups(prototype.level, prototype.joins_rows):
                metric = self._metric(Key(batch.dataloader, layers, group.names, index), activations.device)
                grid = metric.grid(activations.shape, group.values.shape)
                if grid is None:
                    metric.update(*_on_one_grid(prototype.level, activations, group.values, batch.extent))
                    continue
                if (preparation, grid) not in prepared:
                    prepared[preparation, grid] = metric.prepare_activations(activations, grid)
                mask = _mask(batch.extent, group.values)
                against = batch.prepare(metric, preparation, group, grid)
                metric.update(prepared[preparation, grid], against, mask)

    def similarities(self, leave_out: Collection[str] = ()) -> list[Block]:
        """Compute every metric over all clips so far, of all processes.

        Args:
            leave_out: layers that are not computed.

        Returns:
            For each data loader, layer, feature and metric, in this order, the columns ``dataloader, layer, level,
            metric`` (and ``unit`` as None for a metric of the whole layer), the names of the feature's rows, and the
            result.
        """
        self.settle()
        features = {name: place for place, name in enumerate(self.rows)}
        found = {}
        # In one order in every process, since computing is a collective.
        for key in sorted(key for key in self._metrics if not set(key.layers) <= set(leave_out)):
            metric = self._metrics[key]
            constant: dict[str, Any] = {"dataloader": key.dataloader, "level": metric.level, "metric": metric.name}
            if not metric.per_unit:
                constant["unit"] = None
            with warnings.catch_warnings():
                # Of a metric that has seen no clip in this process: others have.
                warnings.filterwarnings("ignore", "The ``compute`` method of metric")
                computed = metric.compute()
            for feature, rows, together in self._by_feature(key, computed):
                for layer, similarity in zip(key.layers, _by_layer(together, len(key.layers)), strict=True):
                    place = (key.dataloader, self._places[layer], features[feature], key.metric)
                    if layer not in leave_out:
                        found[place] = Block(constant | {"layer": layer}, rows, similarity)
        return [found[place] for place in sorted(found)]

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
        return self._metrics[key]


def _by_layer(similarity: Similarity, layers: int) -> Iterator[Similarity]:
    """Take apart the units of several layers of one size."""
    return map(Similarity._make, zip(*(values.chunk(layers) for values in similarity), strict=True))


def without_metric(features: Mapping[str, Level], metrics: Sequence[SimilarityMetric], maps: bool = True) -> list[str]:
    """The features that no metric can compare, since they have no level that one works at.

    Args:
        features: the features and their levels; one with maps has frames, too, and one with frames values of clips.
        metrics: the metrics.
        maps: whether maps are compared at all.

    Example:
        >>> without_metric({"harmonic": "map", "loudness": "frame"}, find_metrics(["sift"]))
        ['loudness']
    """
    order = ("clip", "frame", "map")
    reached = [order.index(metric.level) for metric in metrics if maps or metric.level != "map"]
    return [name for name, level in features.items() if not any(place <= order.index(level) for place in reached)]


def find_metrics(metrics: Metrics) -> list[SimilarityMetric]:
    """Make metrics from their names, one for each level that the metric works at; metrics in the list stay as they are.

    Raises:
        ValueError: if a name is unknown.

    Example:
        >>> [(metric.name, metric.level) for metric in find_metrics(["euclidean"])]
        [('euclidean', 'clip')]
    """
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a list of names or metrics, got the string {metrics!r}: use [{metrics!r}].")
    found: list[SimilarityMetric] = []
    for metric in metrics:
        if isinstance(metric, SimilarityMetric):
            found.append(metric)
        elif metric in METRICS:
            found.extend(METRICS[metric](level=level) for level in METRICS[metric].levels)
        else:
            raise ValueError(
                f"metrics: {metric!r} is unknown. Known are {', '.join(METRICS)}, and any SimilarityMetric."
            )
    return found


def _on_one_grid(
    level: Level, activations: Tensor, features: Tensor, extent: Extent
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Activations, features and the mask of valid frames, on the coarser grid of the two."""
    if level == "clip":
        return activations, features, extent.mask(extent.frames)
    if level == "frame":
        features = to_frames(features, activations.shape[-1])
    else:
        activations, features = to_one_map(activations, features)
    return activations, features, _mask(extent, features)


def _mask(extent: Extent, values: Tensor) -> Tensor | None:
    mask = extent.mask(values.shape[-1])
    return mask if mask is None else mask[: len(values)]
