from collections.abc import Callable
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import dissect

RATE = 8_000


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 256, 128), nn.ReLU(), nn.Dropout())


@pytest.fixture(scope="module")
def batches(clips: Callable[..., Tensor]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(clips(24, seconds=1.0, sample_rate=RATE), torch.zeros(24)), batch_size=8)


@pytest.mark.parametrize("package", [pytorch_lightning, lightning.pytorch])
def test_plain_and_lightning_modules_give_the_same_scores(package: Any, batches: DataLoader[Any]) -> None:
    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.net(batch[0])

    arguments = {"features": ["rms", "loudness"], "metrics": ["pearson"], "progress": False}
    plain = dissect(network(), batches, RATE, layers=["2"], **arguments)
    module = dissect(Module(), batches, RATE, layers=["net.2"], **arguments)
    assert plain.table["layer"].unique().tolist() == ["2"]
    assert plain.table["score"].equals(module.table["score"])
    assert plain.labels()["feature"].notna().all()


def test_the_network_is_left_as_it_was(batches: DataLoader[Any]) -> None:
    net = network().train()
    net[1].eval()
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    dissect(net, batches, RATE, features=["rms"], metrics=["pearson"], progress=False)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_function_runs_a_lightning_module_in_place_of_its_validation_step(batches: DataLoader[Any]) -> None:
    class Module(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise AssertionError("this is for labelled clips")

    model = Module()
    arguments = {"features": ["rms"], "metrics": ["pearson"], "progress": False}
    scores = dissect(model, batches, RATE, layers=["net.2"], forward=lambda batch: model.net(batch[0]), **arguments)
    plain = dissect(network(), batches, RATE, layers=["2"], **arguments)
    assert scores.table["layer"].unique().tolist() == ["net.2"]
    assert scores.table["score"].equals(plain.table["score"])


def test_a_function_may_run_the_network(batches: DataLoader[Any]) -> None:
    net = nn.Sequential(nn.Linear(1, 3))
    scores = dissect(
        net, batches, RATE, forward=lambda batch: net(batch[0].square().mean(1, keepdim=True)), features=["rms"],
        metrics=["pearson"], progress=False,
    )  # fmt: skip
    assert scores.labels()["feature"].tolist() == ["rms"] * 3


def test_axes_are_named_as_the_network_names_its_layers(batches: DataLoader[Any]) -> None:
    class Transposed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mT

    net = nn.Sequential(network(), Transposed())
    scores = dissect(
        net, batches, RATE, layers=["1"], axes={"?": "batch time unit"}, features=["rms"], metrics=["pearson"],
        progress=False,
    )  # fmt: skip
    assert scores.table["unit"].nunique() == 4


def test_errors_raise(batches: DataLoader[Any]) -> None:
    with pytest.raises(ValueError, match="matches no submodule"):
        dissect(network(), batches, RATE, layers=["conv"], progress=False)
    with pytest.raises(ValueError, match="waveform='audio' is not in the batch"):
        dissect(network(), batches, RATE, waveform="audio", forward=lambda batch: None, progress=False)


@pytest.mark.parametrize("progress", [False, True])
def test_a_progress_bar_is_shown_if_asked_for(
    progress: bool, batches: DataLoader[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    dissect(network(), batches, RATE, features=["rms"], metrics=["pearson"], progress=progress)
    assert ("3/3" in "".join(capsys.readouterr())) == progress


@pytest.mark.filterwarnings("ignore:.*Total length")
@pytest.mark.parametrize("loader", [DataLoader(torch.zeros(0, 8_000)), []], ids=["DataLoader", "list"])
def test_a_loader_without_clips_is_named(loader):
    with pytest.raises(ValueError, match="dataloader: it gave no batch"):
        dissect(nn.Conv1d(1, 2, 8), loader, 8_000, layers=[""], progress=False)
