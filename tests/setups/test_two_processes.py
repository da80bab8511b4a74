"""Trainings that two processes share: as without the callback, and the scores of one process on the same clips."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, Scores

RATE = 8_000
LAYERS = ["network.front", "network.maps", "network.wide", "network.narrow", "network.head"]
QUIET = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # Without a bias, beside which what tells clips apart could be no more than the last digits of float32.
        self.front = nn.Conv1d(1, 6, 200, 100, bias=False)
        self.maps = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.wide, self.narrow, self.head = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = nn.functional.interpolate(self.front(x[:, None]).relu()[:, None], (24, 40))
        hidden = self.maps(maps).relu().mean((2, 3))
        return self.head(hidden + self.narrow(self.wide(hidden).relu()))


def share_weights(module: Any) -> None:
    for part in (module.network.wide, module.network):
        fully_shard(part, mesh=module.device_mesh["data_parallel"])


def share_units(module: Any) -> None:
    plan = {"wide": ColwiseParallel(), "narrow": RowwiseParallel()}
    parallelize_module(module.network, module.device_mesh["tensor_parallel"], plan)


def wrap(original: bool) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        arguments = {"device_id": torch.device("cpu"), "use_orig_params": original}
        module.network.wide = FullyShardedDataParallel(module.network.wide, **arguments)
        module.network = FullyShardedDataParallel(module.network, **arguments)

    return change


class FSDPOnCPU(FSDPStrategy):
    """Lightning refuses its own class without a GPU; torch's FSDP runs on a CPU for modules wrapped by hand."""

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu")


STRATEGIES: dict[str, tuple[Callable[[], Strategy], Callable[[Any], None]]] = {
    "DDP, static graph": (lambda: DDPStrategy(static_graph=True), lambda module: None),
    "fully_shard": (lambda: ModelParallelStrategy(2, 1), share_weights),
    "FSDP, original parameters": (FSDPOnCPU, wrap(original=True)),
    "FSDP, flat parameters": (FSDPOnCPU, wrap(original=False)),
    "tensor parallel": (lambda: ModelParallelStrategy(1, 2), share_units),
}


class Module(pl.LightningModule):
    """Shares its network out when a Trainer has started the processes."""

    def __init__(self, change: Callable[[Any], None] = lambda module: None) -> None:
        super().__init__()
        self.network, self.change, self.weights = Network(), change, {}

    def configure_model(self) -> None:
        self.change(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.network(batch[0])

    def on_train_end(self) -> None:
        """Keep the whole weights, by the names that they have in a plain network."""
        with FullyShardedDataParallel.summon_full_params(self, writeback=False):
            for name, parameter in self.named_parameters():
                whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
                self.weights[name.replace("_fsdp_wrapped_module.", "")] = whole.detach().clone()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def work(rank: int, port: str, folder: Path, name: str) -> None:
    """Train in one of two processes, without the callback and with it, and leave what came of it in the folder."""
    torch.set_num_threads(1)
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.update(here)
    data = torch.load(folder / "data.pt", weights_only=False)
    strategy, change = STRATEGIES[name]
    watch = DissectCallback(RATE, LAYERS, map_clips=len(data), on_error="raise")
    hooks = []
    for callbacks in ([], [watch]):
        pl.seed_everything(7, verbose=False)
        module = Module(change)
        trainer = pl.Trainer(
            accelerator="cpu", devices=2, strategy=strategy(), max_epochs=2, callbacks=callbacks, **QUIET
        )
        trainer.fit(module, DataLoader(data, 4), DataLoader(data, 4))
        torch.save(module.weights, folder / f"{rank}-{len(callbacks)}.pt")
        hooks.append({name: len(layer._forward_hooks) for name, layer in module.named_modules()})
    assert hooks[0] == hooks[1]  # fully_shard has some of its own
    assert watch.scores is not None
    watch.scores.save(folder / f"{rank}.parquet")
    torch.distributed.destroy_process_group()


@pytest.fixture
def data(clips: Callable[..., Tensor], tmp_path: Path) -> TensorDataset:
    found = TensorDataset(clips(24, seconds=1.0, sample_rate=RATE), torch.arange(24) % 2)
    torch.save(found, tmp_path / "data.pt")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "tensor parallel"])
def test_two_processes_train_as_without_and_give_the_scores_of_one(
    name: str,
    data: TensorDataset,
    moved: Callable[[Tensor], list[Tensor]],
    run_processes: Callable[..., list[int]],
    assert_same_scores: Callable[..., None],
    tmp_path: Path,
) -> None:
    assert run_processes(__file__, tmp_path, name) == [0, 0]
    weights = [torch.load(tmp_path / f"{rank}-{watched}.pt") for rank in range(2) for watched in range(2)]
    alone = Module()
    assert all(other.keys() == dict(alone.named_parameters()).keys() for other in weights)
    for key, plain in weights[0].items():
        assert all(torch.equal(plain, other[key]) for other in weights), key
    alone.load_state_dict(weights[0])

    def scores(waveform: Tensor) -> pd.DataFrame:
        watch = DissectCallback(RATE, LAYERS, map_clips=len(waveform), on_error="raise")
        batches = DataLoader(TensorDataset(waveform), 4)
        pl.Trainer(accelerator="cpu", callbacks=watch, **QUIET).validate(alone, batches, verbose=False)
        assert watch.scores is not None
        return watch.scores.table

    two = [Scores.load(tmp_path / f"{rank}.parquet").table for rank in range(2)]
    waveform = data.tensors[0]
    assert_same_scores(scores(waveform), two, [scores(x) for x in moved(waveform)])


@pytest.mark.slow
def test_tensor_parallelism_is_refused(
    data: TensorDataset, run_processes: Callable[..., list[int]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_processes(__file__, tmp_path, "tensor parallel") == [1, 1]
    assert "ModelParallelStrategy gives 2 of 2 processes the same clips" in capfd.readouterr().err
    assert not list(tmp_path.glob("*-1.pt"))


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
