"""One run: the layers under watch, the features of each batch, and the metrics between them."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from lightning_dissect.axes import Axes, name_axes
from lightning_dissect.capture import Capture
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.metrics import METRICS, Level, SimilarityMetric
from lightning_dissect.pairing import Extent, Side, pool_activation, pool_feature, to_frames, to_one_map
from lightning_dissect.scores import Scores

Metrics = Sequence[str | SimilarityMetric]


_DRAWN = 4
"""Clips whose maps are kept to be drawn."""


class Example(NamedTuple):
    """The maps of a few clips, kept to be drawn.

    Attributes:
        activations: (clips, units, frequency, time).
        features: each map feature, (clips, frequency, time).
    """

    activations: Tensor
    features: dict[str, Tensor]


class Keeper(Protocol):
    """Looks on while a run goes by, and keeps a bounded part of it."""

    def begin(self, waveform: Tensor, extent: Extent, features: Mapping[str, Side], dataloader: int) -> None:
        """Take a batch's waveform (B, samples), its extent and its features."""

    def receive(self, layer: str, side: Side) -> None:
        """Take the activations of a layer for that batch."""

    def end(self) -> None:
        """Finish the batch."""


class _Key(NamedTuple):
    dataloader: int
    layer: str
    feature: str
    metric: int


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


class Dissection:
    """Compares layers with features, batch after batch, for as long as the ``with`` block lasts.

    Args:
        layers: the layers to watch, by name.
        bank: the features.
        metrics: a prototype of each metric; each pair of a layer and a feature gets a clone.
        sift_clips: how many clips of each data loader are compared at map level, the costly one.
        batches: number of batches to come, if it is known: the map clips are then spread over them.
        axes: for layers whose output does not read as :func:`~lightning_dissect.axes.name_axes` says, its axes in
            words.
        kinds: for layers that do not say themselves where their units are, the layer that does.
        strict: whether an output that cannot be read is an error; else its layer is left out.
        keepers: shown each batch and each layer's activations.

    Attributes:
        units: number of units of each layer that has run.
        axes: how the output of each of these was read.
        left_out: layers whose output could not be read, and why; empty if ``strict``.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(1, 4, 64, 32), nn.ReLU())
        >>> with Dissection({"relu": net[1]}, FeatureBank(["rms"], 8_000), find_metrics(["pearson"])) as run:
        ...     for _ in range(4):
        ...         clips = torch.randn(8, 4_000) * torch.rand(8, 1)
        ...         run.begin(clips)
        ...         _ = net(clips[:, None])
        ...         run.end()
        >>> run.scores().labels()["feature"].tolist()
        ['rms', 'rms', 'rms', 'rms']
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        bank: FeatureBank,
        metrics: Sequence[SimilarityMetric],
        *,
        sift_clips: int = 16,
        batches: int | None = None,
        axes: Mapping[str, str] | None = None,
        kinds: Mapping[str, nn.Module] | None = None,
        strict: bool = True,
        keepers: Sequence[Keeper] = (),
    ) -> None:
        self.layers = dict(layers)
        self.units: dict[str, int] = {}
        self.keepers = tuple(keepers)
        self.bank = bank
        self.prototypes = list(metrics)
        self.examples: dict[str, Example] = {}
        self.axes: dict[str, Axes] = {}
        self.left_out: dict[str, str] = {}
        self._named = {name: Axes.parse(words) for name, words in (axes or {}).items()}
        self._kinds = dict(kinds or {})
        self._strict = strict
        self._sift_clips = sift_clips
        self._map_clips_a_batch = max(2, -(-sift_clips // batches)) if batches else sift_clips
        self._map_clips_taken: dict[int, int] = {}
        self._metrics: dict[_Key, SimilarityMetric] = {}
        self._rows: dict[str, tuple[str, ...]] = {}
        self._capture = Capture(self.layers, self._receive)
        self._batch: _Batch | None = None

    def __enter__(self) -> Self:
        self._capture.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks and let go of the batch; what was compared stays. Closing twice is harmless."""
        self._capture.close()
        self._batch = None

    def begin(self, waveform: Tensor, lengths: Tensor | None = None, dataloader: int = 0) -> None:
        """Compute the features of a batch; the network's forward of the same batch comes next.

        Args:
            waveform: (B, samples).
            lengths: (B,) samples of each clip that are not padding.
            dataloader: index of the data loader, whose scores are kept apart.
        """
        clips, samples = waveform.shape
        taken = self._map_clips_taken.get(dataloader, 0)
        map_clips = min(clips, self._map_clips_a_batch, self._sift_clips - taken)
        self._map_clips_taken[dataloader] = taken + map_clips
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            values = self.bank.to(waveform.device)(waveform, lengths)
            fraction = None if lengths is None else lengths.to(waveform.device) / max(samples, 1)
            extent = Extent(clips, self.bank.frames(samples), fraction, map_clips)
            self._rows = {name: feature.rows or (name,) for name, feature in values.items()}
            sides = {name: pool_feature(feature, extent) for name, feature in values.items()}
            for keeper in self.keepers:
                keeper.begin(waveform, extent, sides, dataloader)
        self._batch = _Batch(dataloader, extent, sides)

    def end(self) -> None:
        """Finish the batch.

        Raises:
            Exception: what went wrong while the network's layers were captured and compared.
        """
        self._batch = None
        error, self._capture.error = self._capture.error, None
        if error is not None:
            raise error
        with torch.no_grad():
            for keeper in self.keepers:
                keeper.end()

    def unseen(self) -> list[str]:
        """The watched layers that have not run in any batch."""
        seen = {key.layer for key in self._metrics}
        return [name for name in self.layers if name not in seen and name not in self.left_out]

    def scores(self, epoch: int = 0, step: int = 0, settings: Mapping[str, Any] | None = None) -> Scores:
        """Compute every metric over all clips so far, of all processes.

        Args:
            epoch: for the table.
            step: for the table.
            settings: kept with the table, for citation.
        """
        return Scores.from_similarities(self._similarities(epoch, step), settings)

    def _similarities(self, epoch: int, step: int) -> Iterable[Any]:
        place = {name: index for index, name in enumerate(self.layers)}
        order = {name: index for index, name in enumerate(self._rows)}
        kept = [key for key in self._metrics if key.layer not in self.left_out]
        keys = sorted(kept, key=lambda key: (key[0], place[key.layer], order[key.feature], key.metric))
        for key in keys:
            metric = self._metrics[key]
            constant: dict[str, Any] = {
                "epoch": epoch,
                "step": step,
                "dataloader": key.dataloader,
                "layer": key.layer,
                "level": metric.level,
                "metric": metric.name,
            }
            if not metric.per_unit:
                constant["unit"] = None
            similarity = metric.compute()
            rows = self._rows[key.feature]
            yield constant, rows if similarity.score.shape[1] == len(rows) else (key.feature,), similarity

    @torch.no_grad()
    def _receive(self, name: str, layer: nn.Module, output: Tensor) -> None:
        batch = self._batch
        if batch is None or name in batch.seen or name in self.left_out:
            return
        batch.seen.add(name)
        with torch.autocast(output.device.type, enabled=False):
            side = self._read(name, layer, output, batch.extent)
            if side is None:
                return
            self._compare(name, side, batch)
            for keeper in self.keepers:
                keeper.receive(name, side)
        self.units[name] = side.clip.shape[1]
        if side.map is not None and name not in self.examples:
            maps = {feature: other.map[:_DRAWN] for feature, other in batch.features.items() if other.map is not None}
            self.examples[name] = Example(side.map[:_DRAWN].clone(), maps)

    def _read(self, name: str, layer: nn.Module, output: Tensor, extent: Extent) -> Side | None:
        try:
            axes = self._named.get(name) or name_axes(self._kinds.get(name, layer), output.shape, extent.clips)
            side = pool_activation(axes.read(output), axes.names, extent)
        except ValueError as error:
            if self._strict or name in self._named:
                raise
            self.left_out[name] = str(error)
            return None
        self.axes[name] = axes
        return side

    def _compare(self, layer: str, side: Side, batch: "_Batch") -> None:
        for index, prototype in enumerate(self.prototypes):
            activations = getattr(side, prototype.level)
            prepared: dict[Any, Any] = {}
            for feature, other in batch.features.items():
                values = getattr(other, prototype.level)
                if activations is None or values is None:
                    continue
                metric = self._metric(_Key(batch.dataloader, layer, feature, index), values.device)
                grid = metric.grid(activations.shape, values.shape)
                if grid is None:
                    metric.update(*_on_one_grid(prototype.level, activations, values, batch.extent))
                else:
                    if grid not in prepared:
                        prepared[grid] = metric.prepare_activations(activations, grid)
                    mask = _mask(batch.extent, values)
                    metric.update(prepared[grid], batch.prepare(metric, index, feature, grid, values), mask)

    def _metric(self, key: _Key, device: torch.device) -> SimilarityMetric:
        if key not in self._metrics:
            self._metrics[key] = copy.deepcopy(self.prototypes[key.metric]).to(device)
        return self._metrics[key]


class _Batch:
    """The features of the batch under way, and what has been done with it."""

    def __init__(self, dataloader: int, extent: Extent, features: dict[str, Side]) -> None:
        self.dataloader = dataloader
        self.extent = extent
        self.features = features
        self.seen: set[str] = set()
        self._prepared: dict[Any, Any] = {}

    def prepare(self, metric: SimilarityMetric, index: int, feature: str, grid: Any, values: Tensor) -> Any:
        """What a metric needs of a feature on a grid, once for all layers."""
        key = (index, feature, grid)
        if key not in self._prepared:
            self._prepared[key] = metric.prepare_features(values, grid)
        return self._prepared[key]


def _on_one_grid(
    level: Level, activations: Tensor, features: Tensor, extent: Extent
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Activations, features and the mask of valid frames, on the coarser grid of the two."""
    if level == "clip":
        return activations, features, None
    if level == "frame":
        features = to_frames(features, activations.shape[-1])
    else:
        activations, features = to_one_map(activations, features)
    return activations, features, _mask(extent, features)


def _mask(extent: Extent, values: Tensor) -> Tensor | None:
    mask = extent.mask(values.shape[-1])
    return mask if mask is None else mask[: len(values)]
