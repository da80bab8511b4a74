"""Values inside tuples, mappings and dataclasses, such as the tensors of a batch or of a layer's output."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def named_leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that holds no others, after its name.

    Example:
        >>> list(named_leaves({"audio": (1, 2), "label": 3}))
        [('audio.0', 1), ('audio.1', 2), ('label', 3)]
    """
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (tuple, list)):
        items = [(str(index), item) for index, item in enumerate(value)]
    elif is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in fields(value)]
    else:
        yield name, value
        return
    for key, item in items:
        yield from named_leaves(item, f"{name}.{key}" if name else key)


def look_up(value: Any, where: str | int | Callable[[Any], Any], argument: str) -> Any:
    """Return what is at a key, an attribute or an index, or what a function gives.

    Args:
        value: A mapping, a dataclass, a tuple or a list.
        where: The key, the attribute, the index or the function.
        argument: Its name, for the error.

    Raises:
        ValueError: If there is nothing; it says what there is.
    """
    if callable(where):
        return where(value)
    try:
        return getattr(value, str(where)) if is_dataclass(value) else value[where]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(f"{argument}={where!r} is not in the batch, which holds {contents(value)}.") from None


def contents(value: Any) -> str:
    """Say in words what a batch holds.

    Example:
        >>> import torch
        >>> contents({"audio": torch.zeros(2, 8), "name": "a"})
        'audio: float32 (2, 8); name: str'
    """
    return "; ".join(f"{name or 'the batch'}: {describe(leaf)}" for name, leaf in named_leaves(value)) or "nothing"


def describe(value: Any) -> str:
    """Say in words what a value is: of a tensor its type and shape, of others their kind."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__
