"""What lies around a network when it is run aside, and has to stay as it was found."""

import copy
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

_DATA = (DataLoader, Dataset, Sampler)


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Undo what Lightning does beside running a network, however the block ends.

    Each submodule gets its mode back, a network that was on one device that device (Lightning leaves it on the CPU),
    random numbers their state, and Ctrl-C its meaning (Lightning ignores it from a first one on).

    Args:
        model: The network.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> with left_as_found(net):
        ...     _ = net.eval()
        >>> net.training
        True
    """
    modes = {module: module.training for module in model.modules()}
    devices = _devices(model)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with random_numbers_as_found():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        if len(devices) == 1 and devices != _devices(model):
            model.to(devices.pop())
        if signal.getsignal(signal.SIGINT) != interrupt:
            signal.signal(signal.SIGINT, interrupt)


@contextmanager
def random_numbers_as_found() -> Iterator[None]:
    """Give torch, numpy and Python the state of their random numbers back.

    Example:
        >>> state = torch.get_rng_state()
        >>> with random_numbers_as_found():
        ...     _ = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), state)
        True
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        # A GPU that is not in use yet has no random numbers to keep, and asking for them would take memory.
        with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)


@contextmanager
def data_as_found(loaders: Any) -> Iterator[Any]:
    """Data loaders to go through once, without a trace in those that are given.

    Samplers keep their attributes, and random generators in loaders, samplers and data sets their state. Workers that
    persist are not touched: there are others for the time being. What is no data loader of torch's is given as it is.

    Args:
        loaders: One, or several in lists and mappings.

    Example:
        >>> loader = DataLoader(range(8), shuffle=True, generator=torch.Generator().manual_seed(0))
        >>> with data_as_found(loader) as aside:
        ...     order = [int(item) for item in aside]
        >>> [int(item) for item in loader] == order
        True
    """
    parts: dict[int, Any] = {}
    apply_to_collection(loaders, DataLoader, lambda loader: _reach(loader, parts))
    attributes = [(part, dict(vars(part))) for part in parts.values() if isinstance(part, Sampler)]
    restore = [_keep(value) for part in parts.values() for value in vars(part).values()]
    try:
        yield apply_to_collection(loaders, DataLoader, _without_workers)
    finally:
        for part, values in attributes:
            vars(part).clear()
            vars(part).update(values)
        for put_back in restore:
            put_back()


def _reach(value: Any, parts: dict[int, Any]) -> None:
    """Find the data loaders, samplers and data sets that one of them is made of, itself included."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], _DATA):
        for item in value:
            _reach(item, parts)
    elif isinstance(value, _DATA) and id(value) not in parts:
        parts[id(value)] = value
        for held in vars(value).values():
            _reach(held, parts)


def _keep(value: Any) -> Callable[[], Any]:
    """What gives a source of random numbers its present state back; nothing to do for anything else."""
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if isinstance(value, np.random.Generator):
        numbers = copy.deepcopy(value.bit_generator.state)
        return lambda: setattr(value.bit_generator, "state", numbers)
    if isinstance(value, np.random.RandomState):
        old = value.get_state()
        return lambda: value.set_state(old)
    if isinstance(value, random.Random):
        python_state = value.getstate()
        return lambda: value.setstate(python_state)
    return lambda: None


def _without_workers(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same loader, whose workers, if it has any, are those of one pass."""
    aside = copy.copy(loader)
    vars(aside).update(_iterator=None, persistent_workers=False)  # as attributes they cannot be set
    return aside


def _devices(model: nn.Module) -> set[torch.device]:
    return {tensor.device for tensor in chain(model.parameters(), model.buffers())}
