"""The metrics between the layers and the features of a run."""

import copy
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_dissect.batch import Batch
from lightning_dissect.metrics import METRICS, Level, SimilarityMetric
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.pairing import Extent, Side, to_frames, to_one_map
from lightning_dissect.pending import LARGE, Pending, n_bytes

Metrics = Sequence[str | SimilarityMetric]

_BELOW_MAPS: tuple[Level, ...] = ("clip", "frame")
_MAPS: tuple[Level, ...] = ("map",)


class Key(NamedTuple):
    """What one metric compares: a layer with features, by the metric of this index."""

    dataloader: int
    layer: str
    features: tuple[str, ...]
    metric: int


class Comparison:
    """Every layer against every feature, by every metric that works at a level that both have.

    Args:
        metrics: a prototype of each metric, which is cloned for each layer and feature; one clone serves all features
            of a grid if the metric :attr:`joins_rows`.
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
        self._begun: set[tuple[int, str]] = set()
        self._pending = Pending()

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
        """Have metrics for these, too, of no clips, so that they are computed together with other processes'."""
        for key in keys:
            self._metric(key, device)

    def update(self, layer: str, side: Side, batch: Batch) -> None:
        """Compare a layer with the features of a batch; small ones below map level wait for others, after the first.

        Args:
            layer: its name.
            side: its activations, brought to each level that they have. What they are cut from may be written over
                as soon as this returns.
            batch: the features of the same clips.
        """
        begun = (batch.dataloader, layer) in self._begun
        waits = begun and n_bytes(side) < LARGE
        if not self._pending.fits(layer, side, batch) if waits else layer in self._pending:
            self.settle()
        if waits:
            self._pending.put(layer, side, batch)
        else:
            self._begun.add((batch.dataloader, layer))
            self._compare(layer, side, batch, _BELOW_MAPS)
        self._compare(layer, side, batch, _MAPS)

    def settle(self) -> None:
        """Compare what is waiting."""
        for layer, side, batch in self._pending.take():
            self._compare(layer, side, batch, _BELOW_MAPS)

    def _compare(self, layer: str, side: Side, batch: Batch, levels: Collection[Level]) -> None:
        prepared: dict[Any, Any] = {}
        for index, prototype in enumerate(self.prototypes):
            activations = getattr(side, prototype.level) if prototype.level in levels else None
            if activations is None or (
                prototype.level == "map" and min(activations.shape[-2:]) < prototype.smallest_map
            ):
                continue
            preparation = prototype.preparation
            for group in batch.groups(prototype.level, prototype.joins_rows):
                metric = self._metric(Key(batch.dataloader, layer, group.names, index), activations.device)
                grid = metric.grid(activations.shape, group.values.shape)
                if grid is None:
                    metric.update(*_on_one_grid(prototype.level, activations, group.values, batch.extent))
                    continue
                if (preparation, grid) not in prepared:
                    prepared[preparation, grid] = metric.prepare_activations(activations, grid)
                mask = _mask(batch.extent, group.values)
                against = batch.prepare(metric, preparation, group, grid)
                metric.update(prepared[preparation, grid], against, mask)

    def similarities(self, leave_out: Collection[str] = ()) -> list[tuple[dict[str, Any], tuple[str, ...], Similarity]]:
        """Compute every metric over all clips so far, of all processes.

        Args:
            leave_out: layers that are not computed.

        Returns:
            For each data loader, layer, feature and metric, in this order, the columns ``dataloader, layer, level,
            metric`` (and ``unit`` as None for a metric of the whole layer), the names of the feature's rows, and the
            result.
        """
        self.settle()
        layers, features = ({name: i for i, name in enumerate(names)} for names in (self.layers, self.rows))
        found = {}
        # In one order in every process, since computing is a collective.
        for key in sorted(key for key in self._metrics if key.layer not in leave_out):
            metric = self._metrics[key]
            constant: dict[str, Any] = {
                "dataloader": key.dataloader,
                "layer": key.layer,
                "level": metric.level,
                "metric": metric.name,
            }
            if not metric.per_unit:
                constant["unit"] = None
            with warnings.catch_warnings():
                # Of a metric that has seen no clip in this process: others have.
                warnings.filterwarnings("ignore", "The ``compute`` method of metric")
                computed = metric.compute()
            for feature, rows, similarity in self._by_feature(key, computed):
                place = (key.dataloader, layers[key.layer], features[feature], key.metric)
                found[place] = (constant, rows, similarity)
        return [found[place] for place in sorted(found)]

    def _by_feature(self, key: Key, similarity: Similarity) -> Iterator[tuple[str, tuple[str, ...], Similarity]]:
        """Take apart what was computed for several features at once; a map's result is one row, whatever its rows."""
        named = [self.rows[feature] for feature in key.features]
        if sum(map(len, named)) != similarity.score.shape[1]:
            named = [(feature,) for feature in key.features]
        ends = accumulate(map(len, named))
        for feature, rows, end in zip(key.features, named, ends, strict=True):
            yield feature, rows, Similarity(*(values[:, end - len(rows) : end] for values in similarity))

    def _metric(self, key: Key, device: torch.device) -> SimilarityMetric:
        if key not in self._metrics:
            self._metrics[key] = copy.deepcopy(self.prototypes[key.metric]).to(device)
        return self._metrics[key]


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
