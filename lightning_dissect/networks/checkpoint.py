"""Published weights from a local file."""

import os
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn


def load_checkpoint(network: nn.Module, path: str | os.PathLike[str], left_out: tuple[str, ...] = ()) -> None:
    """Load a file of weights into a network, all or nothing.

    Args:
        network: Takes the weights.
        path: File that `torch.save` made of a state dict, or a Lightning checkpoint, of the network or of a module that
            holds it; it is read without running any code in it.
        left_out: Beginnings of the names that the file need not have and that are ignored if it has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds something else, or lacks tensors, has others, or has some in another shape; the
            message names each.
    """
    given = _read_weights(path)
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(left_out)}
    given = _without_holder(given, next(iter(wanted), ""))
    given = {name: tensor for name, tensor in given.items() if not name.startswith(left_out)}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    problems = [f"  missing: {name} {tuple(wanted[name].shape)}" for name in wanted.keys() - given.keys() - counters]
    problems += [f"  unknown: {name} {tuple(given[name].shape)}" for name in given.keys() - wanted.keys()]
    problems += [
        f"  {name} has the shape {tuple(given[name].shape)}, needed is {tuple(wanted[name].shape)}"
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    ]
    if problems:
        listing = "\n".join(sorted(problems))
        raise ValueError(f"{os.fspath(path)} does not fit {type(network).__name__}:\n{listing}")
    network.load_state_dict(given, strict=False)


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Read what `torch.save` wrote into a file, without running any code in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds something else, or objects that could run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except UnpicklingError as error:  # whose text advises to run the code
        words = "it holds other things than tensors and plain values, which could run code, or is damaged"
        raise ValueError(f"{os.fspath(path)} is no file of weights: {words}.") from error
    except Exception as error:  # what is no pickle, or half of one, ends in errors of any kind
        raise ValueError(f"{os.fspath(path)} is no file of weights: {error or type(error).__name__}") from error


def _read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    content = read_checkpoint(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(map(_is_weight, content, content.values())):
        raise ValueError(f"{os.fspath(path)} holds a {type(content).__name__}; needed is a dict of tensors by name")
    return content


def _is_weight(name: Any, tensor: Any) -> bool:
    return isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided


def _without_holder(given: dict[str, Tensor], wanted: str) -> dict[str, Tensor]:
    """Take the name of the module that holds the network (``network.`` in ``network.conv1.weight``) off the names."""
    holder = next((name.removesuffix(wanted) for name in given if name.endswith(f".{wanted}")), "")
    if wanted in given or not holder:
        return given
    return {name.removeprefix(holder): tensor for name, tensor in given.items() if name.startswith(holder)}
