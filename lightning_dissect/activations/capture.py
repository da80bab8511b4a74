"""Forward hooks that undo themselves."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from lightning_dissect.errors import naming


class _Uncompiled:
    """Lets compiled networks run uncompiled while any capture is open, whichever closes first."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._stance: Any = None

    def enter(self, capture: object) -> None:
        # Nothing is compiled before torch._dynamo is imported, and importing it takes seconds.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            if not self._open:
                self._stance = torch.compiler.set_stance("force_eager")
            self._open.add(id(capture))

    def leave(self, capture: object) -> None:
        if id(capture) in self._open:
            self._open.remove(id(capture))
            if not self._open:
                self._stance.__exit__(None, None, None)


_uncompiled = _Uncompiled()


class _Hook:
    """A forward hook of a capture, known by its type among the hooks of others."""

    def __init__(self, capture: "Capture", name: str) -> None:
        self._capture, self._name = capture, name

    def __call__(self, layer: nn.Module, _inputs: Any, output: Any) -> None:
        capture = self._capture
        try:
            with naming(self._name):
                capture.receive(self._name, layer, output)
        except Exception as error:
            if capture.error is None:
                capture.error = error

    def place(self, layer: nn.Module) -> Callable[[], None]:
        """Register with a layer, whose copies will not have it; returns what takes it back."""
        handle, hooks = layer.register_forward_hook(self), layer._forward_hooks
        # However a layer is copied or pickled, the dictionary of its hooks is asked for its contents. A hook for all
        # modules would not be copied either, but runs before the layer's own hooks, which may change the output, and
        # PyTorch's fused transformer, which runs none of its parts, would not step aside for it.
        vars(hooks)["__reduce_ex__"] = lambda _protocol: (OrderedDict, (_of_others(hooks),))

        def remove() -> None:
            handle.remove()
            if len(_of_others(hooks)) == len(hooks):
                vars(hooks).pop("__reduce_ex__", None)

        return remove


def _of_others(hooks: Mapping[int, Any]) -> list[tuple[int, Any]]:
    return [(key, hook) for key, hook in hooks.items() if not isinstance(hook, _Hook)]


class Capture:
    """Forward hooks on layers, for as long as the ``with`` block lasts.

    Args:
        layers: The layers by name.
        receive: Called with a layer's name, the layer and its output each time a layer has run. It has to reduce or
            copy what it keeps: a later in-place operation of the network overwrites a tensor.

    Copies of a layer that are made meanwhile, by ``copy.deepcopy`` or ``torch.save``, have no hook of ours, and are not
    seen. What ``receive`` raises does not reach the network's forward: the first such error is kept in ``error``,
    with a note that names the layer. Networks compiled by ``torch.compile`` run uncompiled within the block (from torch
    2.6 on): compiled code calls no hooks.

    Example:
        >>> net, shapes = nn.Sequential(nn.Linear(3, 2)), {}
        >>> with Capture({"0": net[0]}, lambda name, layer, output: shapes.update({name: output.shape})):
        ...     _ = net(torch.zeros(5, 3))
        >>> shapes
        {'0': torch.Size([5, 2])}
    """

    def __init__(self, layers: Mapping[str, nn.Module], receive: Callable[[str, nn.Module, Any], None]) -> None:
        self.layers = dict(layers)
        self.receive = receive
        self.error: Exception | None = None
        self._placed = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as placed:
            placed.callback(_uncompiled.leave, self)
            _uncompiled.enter(self)
            for name, layer in self.layers.items():
                placed.callback(_Hook(self, name).place(layer))
            # All is in place: from here on it stays until `close`.
            self._placed = placed.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks; doing so twice is harmless."""
        self._placed.close()
