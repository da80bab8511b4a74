"""One run: the layers under watch, the features of each batch, and the metrics between them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from lightning_dissect.activations import Activations
from lightning_dissect.batch import Batch
from lightning_dissect.capture import IS_SCRIPTED, Capture, is_scripted
from lightning_dissect.comparison import Comparison
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.files.layout import Stage
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.pairing import Extent, Side, pool_feature
from lightning_dissect.processes import gather
from lightning_dissect.scores import Scores

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

    def begin(
        self, waveform: Tensor, extent: Extent, features: Mapping[str, Side], dataloader: int, first: int
    ) -> None:
        """Take a batch's waveform (B, samples), its extent and its features; ``first`` is its first clip's index."""

    def receive(self, layer: str, side: Side) -> None:
        """Take the activations of a layer for that batch."""

    def end(self) -> None:
        """Finish the batch."""

    @property
    def n_bytes(self) -> int:
        """Memory of what is kept so far."""


class Dissection:
    """Compares layers with features, batch after batch, for as long as the ``with`` block lasts.

    Args:
        layers: the layers to watch, by name.
        bank: the features.
        metrics: a prototype of each metric, see :class:`~lightning_dissect.comparison.Comparison`.
        max_clips: how many clips of each data loader are compared; None for all. The rest costs nothing.
        sift_clips: how many of these are compared at map level, the costly one.
        batches: number of batches to come, if it is known: these clips are then spread over them.
        axes: for layers whose output does not read as :func:`~lightning_dissect.axes.name_axes` says, its axes in
            words.
        kinds: for layers that do not say themselves where their units are, the layer that does.
        strict: whether an output that cannot be read is an error; else its layer is left out.
        keepers: shown each batch and each layer's activations.

    Attributes:
        units: number of units of each layer that has run.
        axes: how the output of each of these was read.
        left_out: layers that take no hook, or whose output could not be read, and why; none of the latter if
            ``strict``.
        repeated: layers that ran several times in a batch, of which only the first run was compared, and the most runs.

    Example:
        >>> from lightning_dissect.comparison import find_metrics
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
        self.metrics = tuple(metrics)
        self.examples: dict[str, Example] = {}
        self._activations = Activations(axes, kinds, strict)
        self.axes, self.repeated = self._activations.axes, self._activations.repeated
        self.left_out = self._activations.left_out
        self.left_out |= {name: f"it {IS_SCRIPTED}" for name, layer in layers.items() if is_scripted(layer)}
        self._clips, self._map_clips = _Budget(max_clips, batches), _Budget(sift_clips, batches)
        self._comparison = Comparison(metrics, layers, bank.rows)
        watched = {name: layer for name, layer in layers.items() if name not in self.left_out}
        self._capture = Capture(watched, self._receive)
        self._batch: _Running | None = None
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
        self._activations.clear()
        self._batch = None

    def begin(self, waveform: Tensor, lengths: Tensor | None = None, dataloader: int = 0) -> None:
        """Compute the features of a batch; the network's forward of the same batch comes next.

        Args:
            waveform: (B, samples); with a bank for spectrograms, these, (B, bins, frames).
            lengths: (B,) samples, or frames, of each clip that are not padding.
            dataloader: index of the data loader, whose scores are kept apart.
        """
        clips, samples = waveform.shape[0], waveform.shape[-1]
        first = self._seen.get(dataloader, 0)
        self._seen[dataloader] = first + clips
        taken = self._clips.take(clips, dataloader)
        if not taken:
            return
        waveform, lengths = waveform[:taken], None if lengths is None else lengths[:taken]
        with torch.no_grad(), _float32(waveform.device):
            values = self.bank.to(waveform.device)(waveform, lengths)
            fraction = None if lengths is None else lengths.to(waveform.device) / max(samples, 1)
            extent = Extent(taken, self.bank.frames(samples), fraction, self._map_clips.take(taken, dataloader))
            sides = {name: pool_feature(feature, extent) for name, feature in values.items()}
            for keeper in self.keepers:
                keeper.begin(waveform, extent, sides, dataloader, first)
        self._activations.begin(clips, extent)
        self._batch = _Running(Batch(extent, sides, dataloader), waveform.device)

    def end(self) -> None:
        """Finish the batch.

        Raises:
            Exception: what went wrong while the network's layers were captured and compared.
        """
        batch, self._batch = self._batch, None
        error, self._capture.error = self._capture.error, None
        if error is not None:
            raise error
        if batch is None:
            return
        with torch.no_grad():
            with _float32(batch.device):
                for name, side in self._activations.end():
                    self._compare(name, side, batch.features)
            for keeper in self.keepers:
                keeper.end()

    def settle(self) -> None:
        """Compare what still waits: activations of small batches, which are compared some batches at a time."""
        with torch.no_grad(), _float32(self._device()):
            self._comparison.settle()

    def share(self) -> None:
        """Let every process know what the others have seen, so that one without a batch can take part in `scores`."""
        self.settle()
        device = self._device()
        seen = gather((self._comparison.keys, self.units, self.left_out))
        self._comparison.expect((key for keys, _, _ in seen for key in keys), device)
        for _, units, left_out in seen:
            self.units |= units
            self.left_out |= left_out

    def unseen(self) -> list[str]:
        """The watched layers that have not run in any batch."""
        return [name for name in self.layers if name not in self.units and name not in self.left_out]

    def uncompared(self) -> list[str]:
        """The layers that have run, but have no level that a metric and a feature have, too."""
        compared = {layer for key in self._comparison.keys for layer in key.layers}
        return [name for name in self.units if name not in compared and name not in self.left_out]

    def describe(self) -> str:
        """Say in a line what is compared and how much memory its state takes, once a batch has been seen."""
        self.settle()
        read: dict[str, list[str]] = {}
        for name, axes in self.axes.items():
            read.setdefault(str(axes), []).append(f"{name} ({self.units[name]})")
        layers = "; ".join(f"{axes}: {', '.join(names)}" for axes, names in read.items())
        metrics = dict.fromkeys(f"{metric.name}.{metric.level}" for metric in self._comparison.prototypes)
        kilobytes = (self._comparison.n_bytes + sum(keeper.n_bytes for keeper in self.keepers)) / 1e3
        memory = f"{kilobytes:.0f} kB" if kilobytes < 1e3 else f"{kilobytes / 1e3:.1f} MB"
        return (
            f"compares {sum(self.units.values())} units of {len(self.units)} layers ({layers}) with "
            f"{', '.join(self.bank.names)} by {', '.join(metrics)}; "
            f"its state takes {memory}, however many clips there are"
        )

    def scores(
        self,
        epoch: int = 0,
        step: int = 0,
        settings: Mapping[str, Any] | None = None,
        stage: Stage = "validate",
    ) -> Scores:
        """Compute every metric over all clips so far, of all processes.

        Args:
            epoch: for the table.
            step: for the table.
            settings: kept with the table, for citation.
            stage: for the table.
        """
        self.share()
        blocks = self._comparison.similarities(leave_out=set(self.left_out))
        when = {"epoch": epoch, "step": step, "stage": stage}
        return Scores.from_blocks([block._replace(constant=when | dict(block.constant)) for block in blocks], settings)

    def _device(self) -> torch.device:
        parameters = (parameter for layer in self.layers.values() for parameter in layer.parameters())
        return next((parameter.device for parameter in parameters), torch.device("cpu"))

    @torch.no_grad()
    def _receive(self, name: str, layer: nn.Module, output: Any) -> None:
        if self._batch is None or name in self.left_out:
            return
        with _float32(self._batch.device):
            side = self._activations.read(name, layer, output)
            if side is not None:
                self._compare(name, side, self._batch.features)

    def _compare(self, name: str, side: Side, batch: Batch) -> None:
        self._comparison.update(name, side, batch)
        for keeper in self.keepers:
            keeper.receive(name, side)
        self.units[name] = side.clip.shape[1]
        if side.map is not None and name not in self.examples:
            maps = {feature: other.map[:_DRAWN] for feature, other in batch.features.items() if other.map is not None}
            self.examples[name] = Example(side.map[:_DRAWN].clone(), maps)


class _Running(NamedTuple):
    """The batch under way: its features, and where they were computed."""

    features: Batch
    device: torch.device


class _Budget:
    """How many clips are taken of each batch: a number in all, spread over the batches if their number is known."""

    def __init__(self, clips: int | None, batches: int | None) -> None:
        self._clips = clips
        # Two at least, since clips are compared in pairs.
        self._a_batch = clips if clips is None or batches is None else max(2, -(-clips // batches))
        self._taken: dict[int, int] = {}

    def take(self, clips: int, dataloader: int) -> int:
        """How many of a batch's clips to take."""
        if self._clips is None or self._a_batch is None:
            return clips
        taken = self._taken.get(dataloader, 0)
        now = min(clips, self._a_batch, self._clips - taken)
        self._taken[dataloader] = taken + now
        return now


@contextmanager
def _float32(device: torch.device) -> Iterator[None]:
    """Compute in float32, whatever the training's precision: bf16-true also changes what integers are divided into."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_default_dtype(default)
