"""The examples that a network cuts clips into, where nothing but their number tells of them."""

import torch
from torch import Tensor

_CLEARLY_ALIKE = 2.0
"""How many times more alike than by chance; below it, clips of noise would be taken for something else."""


class Examples:
    """Layers whose batch axis holds several items for each clip, with what is known of them from earlier batches.

    Attributes:
        assumed: Layers that have several, and how many a clip had when this was first seen.

    Example:
        >>> examples = Examples()
        >>> examples.check("conv", torch.arange(6.0)[:, None], clips=2, length=16_000)
        >>> examples.assumed
        {'conv': 3}
    """

    def __init__(self) -> None:
        self.assumed: dict[str, int] = {}
        self._counts: dict[tuple[str, int], int] = {}

    def check(self, name: str, output: Tensor, clips: int, length: int | None = None) -> None:
        """Check that a layer's output goes on the batch axis as the examples of clips would, and remember it.

        Args:
            name: Of the layer.
            output: Shape (clips × examples, units, …).
            clips: How many clips the batch has.
            length: Of its clips, padding included, in samples or frames.

        Raises:
            ValueError: If clips of one length have had another number of items in an earlier batch, or the items are
                more alike from one group of ``clips`` items to the next than side by side.
        """
        count = len(output) // clips
        if length is not None and self._counts.setdefault((name, length), count) != count:
            raise ValueError(
                f"its output {tuple(output.shape)} has {count} items for each of {clips} clips on its first axis, and "
                f"an earlier batch, of clips as long, had {self._counts[name, length]}: they are no examples of the "
                "clips. Name its axes with the argument `axes`, or dissect another layer."
            )
        # Looking at numbers waits for a GPU, so that it is done once a layer.
        if count > 1 and name not in self.assumed:
            if clips > 1 and _lie_apart(output, clips):
                raise ValueError(
                    f"its output {tuple(output.shape)} has {count} items for each of {clips} clips on its first axis, "
                    f"and those that lie {clips} apart are the most alike, as if each clip's were not side by side. "
                    "Name its axes with the argument `axes`: '(example batch) …' for the first item of all clips, then "
                    "the second of all, '(batch example) …' if each clip's are side by side all the same."
                )
            self.assumed[name] = count


def _lie_apart(output: Tensor, clips: int) -> bool:
    """Whether the items of a clip seem to lie as far apart as there are clips: views, or time before clips."""
    items = output.detach().reshape(*output.shape[:2], -1).mean(2, dtype=torch.float32)
    side_by_side = _likeness(items.unflatten(0, (clips, -1)))
    apart = _likeness(items.unflatten(0, (-1, clips)).transpose(0, 1))
    return bool(apart > side_by_side.clamp(min=_CLEARLY_ALIKE))


def _likeness(groups: Tensor) -> Tensor:
    """How alike the items of a group are: the variance among groups over that within them, 1 by chance.

    Args:
        groups: Shape (groups, items, units).
    """
    n_groups, n_items, _ = groups.shape
    centred = groups - groups.mean((0, 1))
    total = centred.square().sum((0, 1))
    among = n_items * centred.mean(1).square().sum(0)
    explained = torch.where(total > 0, among / total, torch.nan).nanmean().clamp(max=1 - 1e-6)
    return (explained / (n_groups - 1)) / ((1 - explained) / (n_groups * (n_items - 1)))
