"""Stacks: layers of as many units that are compared as one, their units side by side."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

import torch

from lightning_dissect.levels import Levels

UNITS = 1024
"""Units up to which layers are compared as one: of more, nothing is gained."""

LARGE = 2**20
"""Bytes of a layer's activations from which on it is compared at once, by itself."""

MAX_BYTES = 2**23
"""Most memory of the layers of a batch that wait for others."""

Stack = tuple[str, ...]
"""The names of its layers, in the network's order."""


def n_bytes(levels: Levels) -> int:
    """Return the memory of a layer's activations below map level."""
    return sum(values.nbytes for values in levels[:2] if values is not None)


def put_side_by_side(
    layers: Iterable[tuple[str, Levels]], stacks: Mapping[str, Stack]
) -> list[tuple[Stack, list[Levels]]]:
    """Put the layers of a batch side by side, if they are alike: those that have been so before, and new ones.

    Args:
        layers: In the network's order, with their activations.
        stacks: The stack of each layer so far.

    Returns:
        Stacks, or parts of one where not all its layers ran or some are not like the others now, and the activations
        of each layer.

    Example:
        >>> sizes = {"conv": 4, "dense": 2, "conv2": 4}
        >>> layers = [(layer, Levels(torch.zeros(8, units), None, None)) for layer, units in sizes.items()]
        >>> [stack for stack, _ in put_side_by_side(layers, {})]
        [('conv', 'conv2'), ('dense',)]
    """
    groups: dict[Hashable, list[tuple[str, Levels]]] = {}
    for layer, levels in layers:
        alike = tuple(None if values is None else (values.device, values.shape) for values in levels[:2])
        groups.setdefault((stacks.get(layer), alike), []).append((layer, levels))
    found = []
    for parts in groups.values():
        layer, levels = parts[0]
        most = len(parts) if layer in stacks else max(1, UNITS // max(1, levels.n_rows))
        for first in range(0, len(parts), most):
            names, values = zip(*parts[first : first + most], strict=True)
            found.append((names, list(values)))
    return found


def join_units(layers: Sequence[Levels]) -> Levels:
    """Put the units of layers of the same clips and frames side by side, without maps."""
    if len(layers) == 1:
        return layers[0]
    below = zip(*(levels[:2] for levels in layers), strict=True)
    clip, frame = ([values for values in level if values is not None] for level in below)
    return Levels(torch.cat(clip, 1), torch.cat(frame, 1) if frame else None, None)


def common_pieces(stacks: Collection[tuple[int, Stack]]) -> dict[tuple[int, Stack], list[Stack]]:
    """The largest pieces of each stack that no other stack, of another process, would take apart.

    Args:
        stacks: Data loaders and stacks; those of one process have no layer in common.

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
