"""Stacks: layers of as many units that are compared as one, their units side by side."""

from collections.abc import Collection, Hashable, Iterable, Mapping

from lightning_dissect.levels import Side
from lightning_dissect.run.batch import Batch

UNITS = 1024
"""Units up to which layers are compared as one: of more, nothing is gained."""

Stack = tuple[str, ...]
"""The names of its layers, in the network's order."""


def put_side_by_side(
    waiting: Iterable[tuple[str, Side, Batch]], stacks: Mapping[tuple[int, str], Stack]
) -> list[tuple[Stack, list[Side], Batch]]:
    """Put layers side by side, if they are alike: those that have been so before, and new ones.

    Args:
        waiting: layers in the network's order, their activations, and the features of the same clips.
        stacks: the stack of each data loader's layers so far.

    Returns:
        Stacks, or parts of one where not all its layers ran or some are not like the others now; the activations of
        each layer; and the features.

    Example:
        >>> import torch
        >>> from lightning_dissect.levels import Extent
        >>> batch = Batch(Extent(8, 1, None, 0), {})
        >>> sides = {"conv": 4, "dense": 2, "conv2": 4}
        >>> waiting = [(layer, Side(torch.zeros(8, units), None, None), batch) for layer, units in sides.items()]
        >>> [stack for stack, _, _ in put_side_by_side(waiting, {})]
        [('conv', 'conv2'), ('dense',)]
    """
    groups: dict[Hashable, list[tuple[str, Side, Batch]]] = {}
    for layer, side, batch in waiting:
        alike = (id(batch), side.clip.device, side.clip.shape, side.frame is None or side.frame.shape)
        groups.setdefault((stacks.get((batch.dataloader, layer)), alike), []).append((layer, side, batch))
    found = []
    for parts in groups.values():
        layer, side, batch = parts[0]
        is_new = (batch.dataloader, layer) not in stacks
        most = max(1, UNITS // max(1, side.clip.shape[1])) if is_new else len(parts)
        for first in range(0, len(parts), most):
            layers, sides, batches = zip(*parts[first : first + most], strict=True)
            found.append((layers, list(sides), batches[0]))
    return found


def common_pieces(stacks: Collection[tuple[int, Stack]]) -> dict[tuple[int, Stack], list[Stack]]:
    """The largest pieces of each stack that no other stack, of another process, would take apart.

    Args:
        stacks: data loaders and stacks; those of one process have no layer in common.

    Example:
        >>> common_pieces({(0, ("a", "b", "c")), (0, ("b", "c", "d"))})[0, ("a", "b", "c")]
        [('a',), ('b', 'c')]
    """
    holds: dict[tuple[int, str], list[int]] = {}
    for index, (dataloader, stack) in enumerate(sorted(stacks)):
        for layer in stack:
            holds.setdefault((dataloader, layer), []).append(index)
    pieces = {}
    for dataloader, stack in stacks:
        parts: dict[tuple[int, ...], list[str]] = {}
        for layer in stack:
            parts.setdefault(tuple(holds[dataloader, layer]), []).append(layer)
        pieces[dataloader, stack] = [tuple(part) for part in parts.values()]
    return pieces
