import pytest
import torch
from torch import Tensor, nn


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.head = nn.ModuleDict({"embedding": nn.Linear(4, 3), "drop": nn.Dropout()})

    def forward(self, x: Tensor) -> Tensor:
        return self.head["embedding"](self.features(x).mean((2, 3)))


@pytest.fixture
def network() -> nn.Module:
    return Network()


@pytest.fixture
def partly_scripted() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2)), nn.Linear(2, 2))
