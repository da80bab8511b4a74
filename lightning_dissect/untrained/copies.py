"""Copies of a network with weights that know nothing of its training."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from lightning_dissect.untrained.surroundings import random_numbers_as_found

Untrained = int | Literal["start"] | Callable[[], nn.Module]
"""How many copies, ``"start"`` for the network as it came, or what builds a network, for four copies."""

_BUILT = 4
_NAMED = 5
_WHAT_WORKS = (
    "Give `untrained` a function that builds a network like this one, such as the class of the model, and its weights "
    "are taken."
)


def check_untrained(untrained: Untrained) -> None:
    """Raise unless it says what the copies are.

    Raises:
        ValueError: Saying what it can be.
    """
    if callable(untrained) or untrained == "start" or (isinstance(untrained, int) and untrained >= 0):
        return
    raise ValueError(
        f"untrained={untrained!r}: it is a number of copies from 0 on, 'start', or a function that builds the network."
    )


def check_copies(model: nn.Module, untrained: Untrained) -> None:
    """Raise unless a network can be initialised anew, where that is asked for.

    Raises:
        ValueError: Naming the submodules that cannot.
    """
    if isinstance(untrained, int) and untrained:
        _raise_for([name for name, module in model.named_modules() if _has_own_weights(module) and not _reset(module)])


def make_copies(model: nn.Module, untrained: Untrained) -> Iterator[nn.Module]:
    """Copy a network, each time with other weights, on the CPU; the n-th copy has the same ones wherever it is made.

    Args:
        model: The network; it is left as it is. What it holds of data sets and of a Trainer is not copied.
        untrained: What weights the copies get: of a number, those that each submodule's ``reset_parameters`` gives
            it, the running statistics of batch normalisation included; of a function, those of what it builds; of
            ``"start"``, the network's own.

    Raises:
        ValueError: If it cannot be copied, or does not get new weights throughout.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        >>> first, second = make_copies(net, 2)
        >>> (first[0].weight == second[0].weight).any().item()
        False
    """
    check_copies(model, untrained)
    count = untrained if isinstance(untrained, int) else 1 if untrained == "start" else _BUILT
    for seed in range(count):
        made = _copy(model)
        with random_numbers_as_found():
            _sow(seed)
            if callable(untrained):
                _load(made, untrained())
            elif untrained != "start":
                reset_weights(made)
        yield made


@torch.no_grad()
def reset_weights(model: nn.Module) -> None:
    """Initialise a network anew as its submodules do it themselves, each after those within it.

    Raises:
        ValueError: If that leaves some weights as they were; it names them.
    """
    for parameter in model.parameters():
        if not is_lazy(parameter) and (parameter.is_floating_point() or parameter.is_complex()):
            parameter.fill_(torch.nan)  # by which what is not set is found
    for module in reversed(list(model.modules())):
        if reset := _reset(module):
            reset()
    known = ((name, parameter) for name, parameter in model.named_parameters() if not is_lazy(parameter))
    _raise_for([name for name, parameter in known if parameter.isnan().any()])


def describe_untrained(untrained: Untrained) -> int | str:
    """What is kept of it with the scores.

    Example:
        >>> describe_untrained(4), describe_untrained(nn.Identity)
        (4, 'Identity')
    """
    return getattr(untrained, "__qualname__", type(untrained).__name__) if callable(untrained) else untrained


def _copy(model: nn.Module) -> nn.Module:
    trainer = getattr(model, "_trainer", None)  # `trainer` raises where there is none
    held = vars(model).values()
    memo: dict[int, Any] = {id(value): value for value in held if isinstance(value, (Dataset, DataLoader))}
    memo[id(trainer)] = None
    try:
        made = copy.deepcopy(model, memo).cpu()
    except Exception as error:
        raise ValueError(f"untrained: {type(model).__name__} cannot be copied: {error}") from error
    for part in made.modules():
        if "_metric_attributes" in vars(part):  # by which Lightning knows the metrics of the original
            vars(part)["_metric_attributes"] = None
    return made


def _sow(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # else it would be seeded when it is
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)


def _load(made: nn.Module, built: Any) -> None:
    if not isinstance(built, nn.Module):
        raise ValueError(f"untrained: its function gave {type(built).__name__}, not a network.")
    try:
        made.load_state_dict(built.state_dict())
    except RuntimeError as error:
        kind = type(made).__name__
        raise ValueError(
            f"untrained: the {type(built).__name__} that its function gave does not fit the {kind} in training. Build "
            f"a whole {kind}, of the same size. {error}"
        ) from error


def _has_own_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _reset(module: nn.Module) -> Callable[[], Any] | None:
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _raise_for(names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        listed = ", ".join(repr(name) if name else "the network itself" for name in names[:_NAMED])
        raise ValueError(f"untrained: no `reset_parameters` gives new weights to {listed}{more}. {_WHAT_WORKS}")
