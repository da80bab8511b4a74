"""What units and features were on a few clips: one value a clip, kept to be drawn."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_dissect.levels import Extent, Side


class ClipValues:
    """Keeps one value a clip, of each unit and each feature row, for a bounded number of clips.

    The clips are those of the first data loader, spread over its batches where their number is known. Of several
    processes, each keeps its own.

    Args:
        clips: how many.
        batches: number of batches to come, if it is known.

    Example:
        >>> kept = ClipValues(clips=2)
        >>> kept.begin(torch.zeros(3, 8), Extent(3, 1, None, 0), {"rms": Side(torch.ones(3, 1), None, None)}, 0, 0)
        >>> kept.receive("embedding", Side(torch.ones(3, 16), None, None))
        >>> kept.end()
        >>> kept.units("embedding").shape, kept.features()["rms"].shape
        (torch.Size([2, 16]), torch.Size([2, 1]))
    """

    def __init__(self, clips: int = 128, batches: int | None = None) -> None:
        self._missing = clips
        self._a_batch = max(1, -(-clips // batches)) if batches else clips
        self._take = 0
        self._units: dict[str, list[Tensor]] = {}
        self._features: dict[str, list[Tensor]] = {}

    def begin(
        self, waveform: Tensor, extent: Extent, features: Mapping[str, Side], dataloader: int, first: int
    ) -> None:
        """Keep the features of some clips of a batch."""
        self._take = min(self._a_batch, self._missing, extent.clips) if dataloader == 0 else 0
        for name, side in features.items():
            self._keep(self._features, name, side)

    def receive(self, layer: str, side: Side) -> None:
        """Keep the activations of the same clips."""
        self._keep(self._units, layer, side)

    def end(self) -> None:
        """Count the clips that are kept."""
        self._missing -= self._take

    def units(self, layer: str) -> Tensor:
        """(clips, units) of a layer, on the CPU."""
        return torch.cat(self._units[layer]).cpu()

    def features(self) -> dict[str, Tensor]:
        """(clips, rows) of each feature, on the CPU."""
        return {name: torch.cat(parts).cpu() for name, parts in self._features.items()}

    @property
    def layers(self) -> list[str]:
        """The layers that have values."""
        return list(self._units)

    @property
    def n_bytes(self) -> int:
        """Memory of the values kept so far."""
        return sum(part.nbytes for place in (self._units, self._features) for parts in place.values() for part in parts)

    def _keep(self, place: dict[str, list[Tensor]], name: str, side: Side) -> None:
        if self._take:
            place.setdefault(name, []).append(side.clip[: self._take].clone())
