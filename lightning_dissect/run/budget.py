"""How many clips are taken of each batch."""


class Budget:
    """Takes so many clips of each data loader, spread over the batches if there is a number of these.

    Args:
        clips: How many in all; None takes every clip.
        batches: Number of batches to come; None if it is not known, and then the first clips are taken.

    Example:
        >>> budget = Budget(clips=4, batches=2)
        >>> [budget.take(clips=8) for _ in range(3)]
        [2, 2, 0]
    """

    def __init__(self, clips: int | None, batches: int | None) -> None:
        self._clips = clips
        # Two at least, since clips are compared in pairs.
        self._a_batch = clips if clips is None or batches is None else max(2, -(-clips // batches))
        self._taken: dict[int, int] = {}

    def take(self, clips: int, dataloader: int = 0) -> int:
        """Return how many of a batch's clips to take, the first ones."""
        if self._clips is None or self._a_batch is None:
            return clips
        taken = self._taken.get(dataloader, 0)
        now = min(clips, self._a_batch, self._clips - taken)
        self._taken[dataloader] = taken + now
        return now
