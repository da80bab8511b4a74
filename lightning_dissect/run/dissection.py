"""One run: the layers, the features of each batch, and the metrics between them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from lightning_dissect.activations.activation import Activation, Outputs
from lightning_dissect.activations.capture import Capture
from lightning_dissect.activations.layers import IS_SCRIPTED, is_scripted
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.files.layout import Stage
from lightning_dissect.levels import Extent, Levels, pool_activation, pool_feature
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.run.batch_features import BatchFeatures
from lightning_dissect.run.budget import Budget
from lightning_dissect.run.comparison import Comparison
from lightning_dissect.run.drawn_maps import DrawnMaps
from lightning_dissect.run.processes import gather
from lightning_dissect.scores import Scores

_PACKAGES = ("lightning-dissect", "torch", "pytorch-lightning", "torchmetrics")


class Keeper(Protocol):
    """Looks on while a run goes by, and keeps a bounded part of it."""

    def begin(
        self, waveform: Tensor, extent: Extent, features: Mapping[str, Levels], dataloader: int, first: int
    ) -> None:
        """Take a batch's waveform (clips, samples), its extent, its features, and the index of its first clip."""

    def receive(self, layer: str, levels: Levels) -> None:
        """Take the activations of a layer for that batch."""

    def end(self) -> None:
        """Finish the batch."""

    @property
    def n_bytes(self) -> int:
        """Memory of what is kept so far."""


class Dissection:
    """Compares layers with features, batch after batch, for as long as the ``with`` block lasts.

    Args:
        layers: The layers to dissect, by name.
        bank: The features.
        metrics: A prototype of each metric, see :class:`~lightning_dissect.run.comparison.Comparison`.
        max_clips: How many clips of each data loader are compared; None for all. The rest costs nothing.
        map_clips: How many of these are compared at map level, the costly one.
        batches: Number of batches to come, if it is known: these clips are then spread over them.
        axes: For layers whose output does not read as :func:`~lightning_dissect.activations.axes.name_axes` says, its
            axes in words.
        kinds: For layers that do not say themselves where their units are, the layer that does.
        strict: Whether an output that cannot be read is an error; else its layer is left out.
        keepers: Shown each batch and each layer's activations.
        controls: Names of the features that are trivial explanations, marked in the table.

    Attributes:
        units: Number of units of each layer that has run.
        axes: How the output of each of these was read.
        left_out: Layers that take no hook, or whose output could not be read, and why; none of the latter if
            ``strict``.
        repeated: Layers that ran several times in a batch, of which only the first run was compared, and the most runs.
        in_examples: Layers whose batch axis was taken for the examples that clips are cut into, though nobody said so,
            and how many a clip had.
        drawn: Maps of a few clips of each layer that has maps.

    Example:
        >>> from lightning_dissect.run.choice import find_metrics
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
        max_clips: int | None = None,
        map_clips: int = 16,
        batches: int | None = None,
        axes: Mapping[str, str] | None = None,
        kinds: Mapping[str, nn.Module] | None = None,
        strict: bool = True,
        keepers: Sequence[Keeper] = (),
        controls: Sequence[str] = (),
    ) -> None:
        self.layers = dict(layers)
        self.units: dict[str, int] = {}
        self.keepers = tuple(keepers)
        self.bank = bank
        self.metrics = tuple(metrics)
        self.drawn: dict[str, DrawnMaps] = {}
        self._outputs = Outputs(axes, kinds, strict)
        self.axes, self.repeated, self.left_out = self._outputs.axes, self._outputs.repeated, self._outputs.left_out
        self.in_examples = self._outputs.in_examples
        self.left_out |= {name: f"it {IS_SCRIPTED}" for name, layer in layers.items() if is_scripted(layer)}
        self.max_clips, self.map_clips = max_clips, map_clips
        self._clips, self._map_clips = Budget(max_clips, batches), Budget(map_clips, batches)
        self._controls = tuple(controls)
        self._comparison = Comparison(metrics, layers, bank.rows, controls)
        chosen = {name: layer for name, layer in layers.items() if name not in self.left_out}
        self._capture = Capture(chosen, self._receive)
        self._batch: BatchFeatures | None = None
        self._device: torch.device | None = None
        self._seen: dict[int, int] = {}

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
        self._outputs.clear()
        self._batch = None

    def begin(self, waveform: Tensor, lengths: Tensor | None = None, dataloader: int = 0) -> None:
        """Compute the features of a batch; the network's forward of the same batch comes next.

        Args:
            waveform: Shape (clips, samples); with a bank for spectrograms, these, (clips, bins, frames).
            lengths: Samples, or frames, of each clip that are not padding, shape (clips,).
            dataloader: Index of the data loader, whose scores are kept apart.
        """
        clips, samples = waveform.shape[0], waveform.shape[-1]
        first = self._seen.get(dataloader, 0)
        self._seen[dataloader] = first + clips
        taken = self._clips.take(clips, dataloader)
        if not taken:
            return
        waveform, lengths = waveform[:taken], None if lengths is None else lengths[:taken]
        self._device = waveform.device
        with self._plainly():
            values = self.bank.to(waveform.device)(waveform, lengths)
            fraction = None if lengths is None else lengths.to(waveform.device) / max(samples, 1)
            extent = Extent(taken, self.bank.frames(samples), fraction, self._map_clips.take(taken, dataloader))
            features = {
                name: pool_feature(feature.values, feature.level, feature.rows, feature.mask, extent)
                for name, feature in values.items()
            }
            for keeper in self.keepers:
                keeper.begin(waveform, extent, features, dataloader, first)
        self._outputs.begin(clips, taken, samples)
        self._batch = BatchFeatures(extent, features, dataloader)

    def end(self) -> None:
        """Finish the batch.

        Raises:
            Exception: What went wrong while the network's layers were captured and compared.
        """
        batch, self._batch = self._batch, None
        error, self._capture.error = self._capture.error, None
        if error is not None:
            raise error
        if batch is None:
            return
        with self._plainly():
            for name, activation in self._outputs.end():
                self._compare(name, activation, batch)
            self._comparison.settle()
            for keeper in self.keepers:
                keeper.end()

    def share(self) -> None:
        """Let every process know what the others have seen, so that one without a batch can take part in `scores`."""
        parameters = (parameter for layer in self.layers.values() for parameter in layer.parameters())
        device = next((parameter.device for parameter in parameters), torch.device("cpu"))
        seen = gather((self._comparison.keys, self.units, self.left_out))
        self._comparison.expect((key for keys, _, _ in seen for key in keys), device)
        for _, units, left_out in seen:
            self.units |= units
            self.left_out |= left_out

    def unseen(self) -> list[str]:
        """The dissected layers that have not run in any batch."""
        return [name for name in self.layers if name not in self.units and name not in self.left_out]

    def uncompared(self) -> list[str]:
        """The layers that have run, but have no level that a metric and a feature have, too."""
        compared = {layer for key in self._comparison.keys for layer in key.layers}
        return [name for name in self.units if name not in compared and name not in self.left_out]

    def describe(self) -> str:
        """Say in a line what is compared and how much memory its state takes, once a batch has been seen."""
        read: dict[str, list[str]] = {}
        for name, axes in self.axes.items():
            read.setdefault(str(axes), []).append(f"{name} ({self.units[name]})")
        layers = "; ".join(f"{axes}: {', '.join(names)}" for axes, names in read.items())
        metrics = dict.fromkeys(f"{metric.name}.{metric.level}" for metric in self._comparison.prototypes)
        kilobytes = (self._comparison.n_bytes + sum(keeper.n_bytes for keeper in self.keepers)) / 1e3
        memory = f"{kilobytes:.0f} kB" if kilobytes < 1e3 else f"{kilobytes / 1e3:.1f} MB"
        return (
            f"compares {sum(self.units.values())} units of {len(self.units)} layers ({layers}) with "
            f"{', '.join(self._asked)} by {', '.join(metrics)}; controls: {', '.join(self._controls) or 'none'}; "
            f"its state takes {memory}, however many clips there are"
        )

    @property
    def _asked(self) -> list[str]:
        """The features that are no controls."""
        return [name for name in self.bank.names if name not in self._controls]

    @property
    def settings(self) -> dict[str, Any]:
        """What was compared and how, for citation: versions, analysis, layers, features, metrics."""
        analysis = self.bank.analysis
        return {
            "versions": {package: version(package) for package in _PACKAGES},
            "sample_rate": analysis.sample_rate,
            "frequency": analysis.frequency.settings,
            "n_fft": analysis.n_fft,
            "hop_length": analysis.hop_length,
            "layers": list(self.layers),
            "axes": {layer: str(axes) for layer, axes in self.axes.items()},
            "features": self._asked,
            "controls": list(self._controls),
            "metrics": [f"{metric.name}.{metric.level}" for metric in self.metrics],
            "max_clips": self.max_clips,
            "map_clips": self.map_clips,
        }

    def scores(
        self,
        epoch: int = 0,
        step: int = 0,
        settings: Mapping[str, Any] | None = None,
        stage: Stage = "validate",
    ) -> Scores:
        """Compute every metric over all clips so far, of all processes.

        Args:
            epoch: For the table.
            step: For the table.
            settings: Kept with the table, for citation.
            stage: For the table.
        """
        self.share()
        when = {"epoch": epoch, "step": step, "stage": stage}
        return Scores.from_blocks(self._comparison.blocks(when, leave_out=set(self.left_out)), settings)

    def _receive(self, name: str, layer: nn.Module, output: Any) -> None:
        batch = self._batch
        if batch is None or name in self.left_out:
            return
        with self._plainly():
            activation = self._outputs.read(name, layer, output)
            if activation is not None:
                self._compare(name, activation, batch)

    def _compare(self, name: str, activation: Activation, batch: BatchFeatures) -> None:
        levels = pool_activation(*activation, batch.extent)
        self._comparison.update(name, levels, batch)
        for keeper in self.keepers:
            keeper.receive(name, levels)
        self.units[name] = levels.n_rows
        if levels.map is not None and name not in self.drawn:
            self.drawn[name] = DrawnMaps.of(levels.map, batch)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Compute in float32 and without gradients, whatever the training's precision.

        bf16-true also changes what integers are divided into.
        """
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            with torch.no_grad(), torch.autocast((self._device or torch.device("cpu")).type, enabled=False):
                yield
        finally:
            torch.set_default_dtype(default)
