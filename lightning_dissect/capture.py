"""Which layers are watched, the hooks that undo themselves, and what each axis of an output means."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Literal, Self, cast, get_args

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Axis = Literal["batch", "unit", "frequency", "time"]

_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_UNIT_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
_UNIT_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


def find_layers(module: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Module]:
    r"""Find the submodules to watch.

    Args:
        module: the network.
        patterns: names of submodules, or globs: ``*`` stands for anything within one part of a dotted name, ``**`` for
            any number of parts. ``None`` takes every layer that has parameters of its own, normalisation layers aside:
            their units repeat those of the layer before them.

    Returns:
        The submodules by name, in the network's order.

    Raises:
        ValueError: if a pattern matches nothing, or the network has no layer with parameters.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 8, 3))
        >>> list(find_layers(net))
        ['0', '3']
        >>> list(find_layers(net, ["2"]))
        ['2']
    """
    named = {name: layer for name, layer in module.named_modules() if name}
    if patterns is None:
        chosen = {name for name, layer in named.items() if _has_units_of_its_own(layer)}
        if not chosen:
            raise ValueError("layers=None takes the layers with parameters, but this module has none.")
    else:
        if isinstance(patterns, str):
            raise ValueError(
                f"layers must be a list of names or globs, got the string {patterns!r}: use [{patterns!r}]."
            )
        chosen = set()
        for pattern in patterns:
            matches = {name for name in named if _glob(pattern).fullmatch(name)}
            if not matches:
                raise ValueError(f"layers: {pattern!r} matches no submodule. {_advice(pattern, list(named))}")
            chosen |= matches
    return {name: layer for name, layer in named.items() if name in chosen}


def _has_units_of_its_own(layer: nn.Module) -> bool:
    has_parameters = next(layer.parameters(recurse=False), None) is not None
    return has_parameters and not isinstance(layer, _NORMALISATION)


def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meaning = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def _advice(pattern: str, names: list[str]) -> str:
    close = get_close_matches(pattern, names, n=5, cutoff=0.5)
    listed = ", ".join(close or names[:20])
    more = f" and {len(names) - 20} more" if not close and len(names) > 20 else ""
    return f"Did you mean: {listed}?" if close else f"Submodules are: {listed}{more}."


def name_axes(layer: nn.Module, shape: Sequence[int]) -> tuple[Axis, ...]:
    """Say what each axis of a layer's output means, from the kind of the layer.

    Convolutions put units second, ``(batch, unit, time)`` or ``(batch, unit, frequency, time)``; linear, recurrent and
    attention layers put them last, ``(batch, time, unit)``. A container or an activation function is taken for the last
    layer inside it whose kind is known, else for a convolution.

    Args:
        layer: the layer.
        shape: the shape of its output, of two to four axes.

    Raises:
        ValueError: if the output has another number of axes.

    Example:
        >>> name_axes(nn.Conv2d(1, 8, 3), (2, 8, 96, 100))
        ('batch', 'unit', 'frequency', 'time')
        >>> name_axes(nn.Linear(8, 4), (2, 100, 4))
        ('batch', 'time', 'unit')
    """
    known = [m for m in layer.modules() if isinstance(m, _UNIT_LAST + _UNIT_SECOND)]
    unit_last = bool(known) and isinstance(known[-1], _UNIT_LAST)
    rest: dict[int, tuple[Axis, ...]] = {2: (), 3: ("time",), 4: ("frequency", "time")}
    if len(shape) not in rest:
        raise ValueError(
            f"its output has the shape {tuple(shape)}: two to four axes are understood. "
            "Watch another layer, or name its axes with the argument `axes`."
        )
    others = rest[len(shape)]
    return ("batch", *others, "unit") if unit_last else ("batch", "unit", *others)


def parse_axes(text: str) -> tuple[Axis, ...]:
    """Read axes written as words, like ``"batch time unit"``.

    Raises:
        ValueError: if a word is unknown or repeated, or ``batch`` or ``unit`` is missing.

    Example:
        >>> parse_axes("batch unit time frequency")
        ('batch', 'unit', 'time', 'frequency')
    """
    words = text.split()
    if len(set(words)) < len(words) or not {"batch", "unit"} <= set(words) <= set(get_args(Axis)):
        raise ValueError(
            f"axes: {text!r} is not understood. Write each axis of the output once, in its order: "
            "'batch' and 'unit', and 'frequency' and 'time' where there are such axes."
        )
    return cast(tuple[Axis, ...], tuple(words))


def first_tensor(output: Any) -> Tensor:
    """Find the activation in what a layer returned: a tensor, or the first one in a tuple, mapping or dataclass.

    Raises:
        ValueError: if there is none.
    """
    for leaf in _leaves(output):
        return leaf
    raise ValueError(f"its output is a {type(output).__name__} without a tensor.")


def _leaves(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name))


class Capture:
    """Forward hooks on layers, for as long as the ``with`` block lasts.

    Args:
        layers: the layers by name.
        receive: called with a layer's name, the layer and its output tensor, detached, each time a layer has run. It
            has to reduce or copy what it keeps: a later in-place operation of the network overwrites the tensor.

    What ``receive`` raises does not reach the network's forward: the first such error is kept in ``error``.

    Example:
        >>> import torch
        >>> net, shapes = nn.Sequential(nn.Linear(3, 2)), {}
        >>> with Capture(find_layers(net), lambda name, layer, output: shapes.update({name: output.shape})):
        ...     _ = net(torch.zeros(5, 3))
        >>> shapes
        {'0': torch.Size([5, 2])}
    """

    def __init__(self, layers: Mapping[str, nn.Module], receive: Callable[[str, nn.Module, Tensor], None]) -> None:
        self.layers = dict(layers)
        self.receive = receive
        self.error: Exception | None = None
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_hook(self._hook(name)) for name, layer in self.layers.items()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks; doing so twice is harmless."""
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, _inputs: Any, output: Any) -> None:
            try:
                self.receive(name, layer, first_tensor(output).detach())
            except Exception as error:
                if self.error is None:
                    self.error = type(error)(f"layer {name!r}: {error}") if isinstance(error, ValueError) else error

        return hook
