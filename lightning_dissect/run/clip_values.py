"""What units and features were on a few clips: one value a clip, kept to be drawn."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_dissect.levels import Extent, Levels
from lightning_dissect.run.budget import Budget


class ClipValues:
    """Keeps one value a clip, of each unit and each feature row, for a bounded number of clips.

    The clips are those of the first data loader, spread over its batches where their number is known. Of several
    processes, each keeps its own.

    Args:
        clips: How many.
        batches: Number of batches to come, if it is known.

    Example:
        >>> kept = ClipValues(clips=2)
        >>> kept.begin(torch.zeros(3, 8), Extent(3, 1, None, 0), {"rms": Levels(torch.ones(3, 1), None, None)}, 0, 0)
        >>> kept.receive("embedding", Levels(torch.ones(3, 16), None, None))
        >>> kept.end()
        >>> kept.units("embedding").shape, kept.features()["rms"].shape
        (torch.Size([2, 16]), torch.Size([2, 1]))
    """

    def __init__(self, clips: int = 128, batches: int | None = None) -> None:
        self._budget = Budget(clips, batches)
        self._taken = 0
        self._units: dict[str, list[Tensor]] = {}
        self._features: dict[str, list[Tensor]] = {}

    def begin(
        self, waveform: Tensor, extent: Extent, features: Mapping[str, Levels], dataloader: int, first: int
    ) -> None:
        """Keep the features of some clips of a batch."""
        self._taken = self._budget.take(extent.clips) if dataloader == 0 else 0
        for name, levels in features.items():
            self._keep(self._features, name, levels)

    def receive(self, layer: str, levels: Levels) -> None:
        """Keep the activations of the same clips."""
        self._keep(self._units, layer, levels)

    def end(self) -> None:
        """Nothing is left to do when a batch ends."""

    def units(self, layer: str) -> Tensor:
        """Return the values of a layer, shape (clips, units), on the CPU."""
        return torch.cat(self._units[layer]).cpu()

    def features(self) -> dict[str, Tensor]:
        """Return the values of each feature that has any of clips, shape (clips, rows), on the CPU."""
        return {name: torch.cat(parts).cpu() for name, parts in self._features.items()}

    @property
    def layers(self) -> list[str]:
        """The layers that have values."""
        return list(self._units)

    @property
    def n_bytes(self) -> int:
        """Memory of the values kept so far."""
        return sum(part.nbytes for place in (self._units, self._features) for parts in place.values() for part in parts)

    def _keep(self, place: dict[str, list[Tensor]], name: str, levels: Levels) -> None:
        if self._taken and levels.clip is not None:
            place.setdefault(name, []).append(levels.clip[: self._taken].clone())
