"""What a network is run with aside: random numbers, data loaders, samplers, workers."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, Subset, WeightedRandomSampler

from lightning_dissect.untrained.surroundings import data_as_found, left_as_found, random_numbers_as_found


class Noisy(Dataset[float]):
    """Draws from generators of its own, and from everyone's."""

    def __init__(self) -> None:
        self.torchs, self.numpys = torch.Generator().manual_seed(0), np.random.default_rng(0)
        self.old, self.pythons = np.random.RandomState(0), random.Random(0)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> float:
        own = self.torchs and torch.rand(1, generator=self.torchs).item() + self.numpys.random()
        return own + self.old.rand() + self.pythons.random() + np.random.rand() + random.random() + torch.rand(1).item()


class Counting(Sampler[int]):
    """Begins elsewhere in each epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Any:
        self.epoch += 1
        return iter([self.epoch, 0])

    def __len__(self) -> int:
        return 2


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


LOADERS = {
    "shuffled": lambda: DataLoader(range(16), shuffle=True),
    "own generator": lambda: DataLoader(range(16), shuffle=True, generator=generator()),
    "a sampler's generator": lambda: DataLoader(range(16), sampler=RandomSampler(range(16), generator=generator())),
    "a batch sampler's": lambda: DataLoader(
        range(16), batch_sampler=BatchSampler(WeightedRandomSampler([1.0] * 16, 8, generator=generator()), 2, False)
    ),
    "a sampler that counts": lambda: DataLoader(range(16), sampler=Counting()),
    "a data set that draws": lambda: DataLoader(Noisy()),
    "a part of one": lambda: DataLoader(torch.utils.data.ConcatDataset([Subset(Noisy(), range(4)), Noisy()])),
    "persistent workers": lambda: DataLoader(
        range(8), shuffle=True, num_workers=1, persistent_workers=True, generator=generator()
    ),
}


def order(loader: Any) -> list[float]:
    return [float(value) for batch in loader for value in batch]


def seed() -> None:
    torch.manual_seed(0), np.random.seed(0), random.seed(0)


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_goes_on_as_if_no_one_had_looked(name: str) -> None:
    orders = []
    for looks in (0, 1, 2):
        seed()
        loader = LOADERS[name]()
        passes = [order(loader)]
        for _ in range(looks):
            with random_numbers_as_found(), data_as_found([loader]) as (aside,):
                looked = order(aside)
        passes += [order(loader), order(loader)]
        orders.append(passes)
        if looks and name != "persistent workers":  # which draw a seed in their first pass alone
            assert looked == passes[1]  # the clips of the pass to come
    assert orders[0] == orders[1] == orders[2]
    assert name == "a sampler that counts" or orders[0][0] != orders[0][1]


def test_loaders_are_found_in_lists_and_mappings_and_others_stay() -> None:
    loaders = {"a": [DataLoader(range(3))], "b": [1, 2]}
    with data_as_found(loaders) as aside:
        assert aside["b"] == [1, 2]
        assert aside["a"][0] is not loaders["a"][0]
        assert order(aside["a"][0]) == [0, 1, 2]


def test_random_numbers_come_back_after_an_error() -> None:
    seed()

    @random_numbers_as_found()
    def fail() -> None:
        torch.rand(3), np.random.rand(3), random.random()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fail()
    found = torch.rand(1).item(), np.random.rand(), random.random()
    seed()
    assert found == (torch.rand(1).item(), np.random.rand(), random.random())


def test_a_network_comes_back_to_its_device() -> None:
    """The device without values stands for a GPU: Lightning leaves what it has run on the CPU."""
    net = torch.nn.Linear(3, 3).to("meta")
    with left_as_found(net):
        net.to_empty(device="cpu")
    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}
