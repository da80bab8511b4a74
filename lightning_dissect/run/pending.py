"""Small batches that wait to be compared together."""

from lightning_dissect.levels import Side
from lightning_dissect.run.batch import Batch, join_sides, sides_alike

CLIPS = 64
"""Clips that are compared at once."""

MAX_BYTES = 2**23
"""Most memory of what waits, over all layers."""

LARGE = 2**20
"""Bytes of a batch's activations from which on nothing is gained by waiting."""


class Pending:
    """Activations of some layers, and the features of the same clips, that wait to be compared.

    An update of a metric costs some hundred microseconds whatever the number of clips, which is much beside a batch of
    eight. What waits is bounded by :data:`CLIPS` and :data:`MAX_BYTES`. Maps do not wait.

    Example:
        >>> import torch
        >>> from lightning_dissect.levels import Extent
        >>> pending = Pending()
        >>> for _ in range(3):
        ...     side = Side(torch.zeros(8, 2), None, None)
        ...     pending.put("embedding", side, Batch(Extent(8, 1, None, 0), {"rms": side}))
        >>> [(layer, side.clip.shape, batch.extent.clips) for layer, side, batch in pending.take()]
        [('embedding', torch.Size([24, 2]), 24)]
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Side, Batch]]] = {}
        self._bytes = 0
        self._latest: Batch | None = None
        self._of_latest = 0

    def __contains__(self, layer: str) -> bool:
        return layer in self._waiting

    def fits(self, layer: str, side: Side, batch: Batch) -> bool:
        """Whether a layer's activations of one more batch can wait together with what does so already.

        A batch is expected to take as much as the last one, so that what waits is compared between batches rather than
        amid the layers of one.
        """
        expected = n_bytes(side) if batch is self._latest else max(n_bytes(side), self._of_latest)
        if self._bytes + expected > MAX_BYTES:
            return False
        if not all(batch is other or batch.alike(other) for _, other in self._last()):
            return False
        before = self._waiting.get(layer, [])
        clips = sum(other.extent.clips for _, other in before) + batch.extent.clips
        return clips <= CLIPS and all(sides_alike(side, other) for other, _ in before[-1:])

    def put(self, layer: str, side: Side, batch: Batch) -> None:
        """Let a layer's activations wait, without their maps."""
        if batch is not self._latest:
            self._latest, self._of_latest = batch, 0
        self._waiting.setdefault(layer, []).append((side._replace(map=None), batch))
        self._bytes += n_bytes(side)
        self._of_latest += n_bytes(side)

    def take(self) -> list[tuple[str, Side, Batch]]:
        """Everything that waits, one joined batch a layer; layers that ran in the same batches share it."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        joined: dict[tuple[int, ...], Batch] = {}
        found = []
        for layer, parts in waiting.items():
            sides, batches = zip(*parts, strict=True)
            key = tuple(map(id, batches))
            if key not in joined:
                joined[key] = Batch.join(batches)
            found.append((layer, join_sides(sides), joined[key]))
        return found

    def _last(self) -> list[tuple[Side, Batch]]:
        """The last part of some layer; all parts are alike."""
        return next(iter(self._waiting.values()), [])[-1:]


def n_bytes(side: Side) -> int:
    """Memory of a layer's activations below map level."""
    return side.clip.nbytes + (0 if side.frame is None else side.frame.nbytes)
