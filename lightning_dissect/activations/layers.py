"""Which layers are dissected."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from lightning_dissect.activations.axes import known_kinds

_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding", "dist_token", "distillation_token")
_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(\.|$)")
"""What torch.compile, FSDP and activation checkpointing put between the parts of a name."""

IS_SCRIPTED = (
    "is scripted (TorchScript), and takes no hooks. Dissect the layer around it, or dissect the network before it "
    "is scripted."
)
"""What to say of a layer that :func:`is_scripted`."""


def find_layers(module: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Module]:
    r"""Find the submodules to dissect.

    Args:
        module: The network.
        patterns: Names of submodules, or globs: ``*`` stands for anything within one part of a dotted name, ``**`` for
            any number of parts. ``None`` takes every layer that has parameters of its own, normalisation layers aside:
            their units repeat those of the layer before them. What wraps a layer (``torch.compile``, FSDP) is not part
            of its name.

    Returns:
        The submodules by name, in the network's order. One that has several names (tied weights) comes once, by the
        first that matches; lists of modules, which never run themselves, and parametrizations do not come. Scripted
        layers among others do, see :func:`is_scripted`.

    Raises:
        ValueError: If a pattern matches nothing, or scripted layers alone, or the network has no layer with parameters.

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
        module: The network.
        layers: The dissected layers.

    Returns:
        For each dissected layer without a known kind (an activation function, pooling), the known one before it.

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
        raise ValueError(f"layers: {pattern!r} is a {kind}, which never runs itself. Dissect {pattern + '.*'!r}.")
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
