"""Which layers are watched, and the hooks that undo themselves."""

import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from lightning_dissect.activations.axes import known_kinds
from lightning_dissect.errors import naming

_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding", "dist_token", "distillation_token")
_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(\.|$)")
"""What torch.compile, FSDP and activation checkpointing put between the parts of a name."""

IS_SCRIPTED = (
    "is scripted (TorchScript), and takes no hooks. Watch the layer around it, or dissect the network before it "
    "is scripted."
)
"""What to say of a layer that :func:`is_scripted`."""


def find_layers(module: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Module]:
    r"""Find the submodules to watch.

    Args:
        module: the network.
        patterns: names of submodules, or globs: ``*`` stands for anything within one part of a dotted name, ``**`` for
            any number of parts. ``None`` takes every layer that has parameters of its own, normalisation layers aside:
            their units repeat those of the layer before them. What wraps a layer (``torch.compile``, FSDP) is not part
            of its name.

    Returns:
        The submodules by name, in the network's order. One that has several names (tied weights) comes once, by the
        first that matches; lists of modules, which never run themselves, and parametrizations do not come. Scripted
        layers among others do, see :func:`is_scripted`.

    Raises:
        ValueError: if a pattern matches nothing, or scripted layers alone, or the network has no layer with parameters.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 8, 3))
        >>> list(find_layers(net))
        ['0', '3']
        >>> list(find_layers(net, ["2"]))
        ['2']
    """
    named = _named_layers(module)
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
            chosen |= _matches(pattern, named)
    found: dict[nn.Module, str] = {}
    for name, layer in named.items():
        if name in chosen:
            found.setdefault(layer, name)
    return {name: layer for layer, name in found.items()}


def find_kinds(module: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Find the layers whose kind says where the units of other layers are.

    Args:
        module: the network.
        layers: the watched layers.

    Returns:
        For each watched layer without a known kind (an activation function, pooling), the known one before it.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        >>> find_kinds(net, find_layers(net, ["1"]))
        {'1': Linear(in_features=3, out_features=4, bias=True)}
    """
    found: dict[str, nn.Module] = {}
    names: dict[nn.Module, list[str]] = {}
    for name, layer in layers.items():
        names.setdefault(layer, []).append(name)
    before: nn.Module | None = None
    for layer in module.modules():
        kinds = known_kinds(layer)
        if layer in kinds:
            before = layer
        elif not kinds and before is not None:
            found |= dict.fromkeys(names.get(layer, []), before)
    return found


def is_scripted(layer: nn.Module) -> bool:
    """Whether a layer was made by ``torch.jit.script``, and takes no hooks. Traced ones do take them.

    Example:
        >>> is_scripted(nn.Linear(3, 4))
        False
    """
    return isinstance(layer, torch.jit.RecursiveScriptModule)  # type: ignore[attr-defined]


def find_class_tokens(module: nn.Module) -> list[str]:
    """Find the parameters that transformers put before the frames or patches of a clip.

    Returns:
        Their names; none for networks that have no such tokens, or call them otherwise.
    """
    return [name for name, _ in module.named_parameters() if name.rpartition(".")[2] in _CLASS_TOKENS]


def _named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The submodules under each of their names, without wrappers, the wrapped one where a wrapper has the same name."""
    named = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        inside_parametrization = "parametrizations" in name.split(".") or isinstance(layer, ParametrizationList)
        if name and not inside_parametrization:
            named[_WRAPPERS.sub("", name).rstrip(".")] = layer
    return {name: layer for name, layer in named.items() if name}


def _matches(pattern: str, named: Mapping[str, nn.Module]) -> set[str]:
    if {"*", "?"} & set(pattern):
        glob = _glob(pattern)
        matches = {name for name in named if glob.fullmatch(name)}
    else:
        matches = {pattern} & named.keys()
    if not matches:
        raise ValueError(f"layers: {pattern!r} matches no submodule. {_advice(pattern, list(named))}")
    running = {name for name in matches if _runs(named[name])}
    if not running:
        kind = type(named[min(matches)]).__name__
        raise ValueError(f"layers: {pattern!r} is a {kind}, which never runs itself. Watch {pattern + '.*'!r}.")
    if all(is_scripted(named[name]) for name in running):
        raise ValueError(f"layers: {pattern!r} {IS_SCRIPTED}")
    return running


def _has_units_of_its_own(layer: nn.Module) -> bool:
    has_parameters = next(layer.parameters(recurse=False), None) is not None
    return has_parameters and _runs(layer) and not isinstance(layer, _NORMALISATION)


def _runs(layer: nn.Module) -> bool:
    """False for lists of modules and the like, which hold layers and have no forward."""
    forward = getattr(layer, "forward", None)
    return forward is not None and getattr(forward, "__func__", None) is not nn.Module.forward


def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meaning = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def _advice(pattern: str, names: list[str]) -> str:
    close = get_close_matches(pattern, names, n=5, cutoff=0.5)
    listed = ", ".join(close or names[:20])
    more = f" and {len(names) - 20} more" if not close and len(names) > 20 else ""
    return f"Did you mean: {listed}?" if close else f"Submodules are: {listed}{more}."


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
        layers: the layers by name.
        receive: called with a layer's name, the layer and its output each time a layer has run. It has to reduce or
            copy what it keeps: a later in-place operation of the network overwrites a tensor.

    Copies of a layer that are made meanwhile, by ``copy.deepcopy`` or ``torch.save``, have no hook of ours, and are not
    watched. What ``receive`` raises does not reach the network's forward: the first such error is kept in ``error``,
    with a note that names the layer. Networks compiled by ``torch.compile`` run uncompiled within the block (from torch
    2.6 on): compiled code calls no hooks.

    Example:
        >>> net, shapes = nn.Sequential(nn.Linear(3, 2)), {}
        >>> with Capture(find_layers(net), lambda name, layer, output: shapes.update({name: output.shape})):
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
