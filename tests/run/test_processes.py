"""Several processes: one without a batch, and one in which something goes wrong."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, Scores
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.run.processes import check_clips_of_their_own, gather

RATE = 8_000


def network() -> nn.Module:
    torch.manual_seed(1)
    convolution = nn.Conv2d(1, 3, 3, padding=1)
    return nn.Sequential(nn.Conv1d(1, 16, 200, 100), nn.Unflatten(1, (1, 16)), convolution)


def scores_of(waveform: Tensor, layers: list[str]) -> Scores:
    net = network()
    bank = FeatureBank(["harmonic", "chroma", "rms"], RATE)
    with Dissection(
        {name: net.get_submodule(name) for name in layers}, bank, find_metrics(["pearson", "cka", "decodability"])
    ) as run:
        for batch in waveform.split(8) if len(waveform) else ():
            run.begin(batch)
            net(batch[:, None])
            run.end()
        scores = run.scores()
    assert not run.unseen()
    return scores


def work(rank: int, port: str, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    waveform = torch.load(folder / "clips.pt")
    scores_of(waveform[:0] if rank == 1 else waveform, ["0", "2"]).save(folder / f"{rank}.parquet")
    torch.distributed.destroy_process_group()


def test_a_process_without_a_batch_has_the_scores_of_all(
    clips: Callable[..., Tensor], run_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    waveform = clips(16, seconds=1.0, sample_rate=RATE)
    torch.save(waveform, tmp_path / "clips.pt")
    assert run_processes(__file__, tmp_path) == [0, 0]
    alone = scores_of(waveform, ["0", "2"]).table
    assert alone["score"].notna().any()
    for rank in range(2):
        # Merging the moments of no clips to those of all rounds them once more.
        pd.testing.assert_frame_equal(Scores.load(tmp_path / f"{rank}.parquet").table, alone, rtol=1e-4, atol=1e-6)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.head = network(), nn.Linear(3, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.network(batch[0][:, None]).mean((2, 3))), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.network(batch[0][:, None])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)


class FailsInOneProcess(DissectCallback):
    def __init__(self, folder: Path) -> None:
        super().__init__(RATE, ["network.0"], ["rms"], ["pearson"], on_error="warn")
        self.folder = folder

    def on_validation_batch_end(self, trainer: Any, *arguments: Any, **more: Any) -> None:
        if trainer.global_rank == 1 and trainer.current_epoch == 1:
            with self._guarded(trainer):
                raise RuntimeError("the disk is full")
        super().on_validation_batch_end(trainer, *arguments, **more)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        (self.folder / f"{trainer.current_epoch}-{trainer.global_rank}").touch()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        (self.folder / f"failure-{trainer.global_rank}").write_text(str(self._failure))


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_switches_all_off(clips: Callable[..., Tensor], tmp_path: Path) -> None:
    data = DataLoader(TensorDataset(clips(16, seconds=1.0, sample_rate=RATE), torch.arange(16) % 2), 4)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        max_epochs=3,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        callbacks=[FailsInOneProcess(tmp_path)],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), data, data)
    assert len(list(tmp_path.glob("2-*"))) == 2
    assert (tmp_path / "failure-1").read_text() == "the disk is full"
    assert (tmp_path / "failure-0").read_text() == "in another process: the disk is full"
    assert [path.name[:10] for path in tmp_path.rglob("epoch=*.parquet")] == ["epoch=0000"]


def test_a_process_alone_gathers_its_own_value() -> None:
    assert gather({"a": 1}) == [{"a": 1}]


@pytest.mark.parametrize("shared_out", [None, {"num_replicas": 4, "rank": 1}])
def test_processes_with_clips_of_their_own_are_let_pass(shared_out: dict[str, int] | None) -> None:
    check_clips_of_their_own(SimpleNamespace(distributed_sampler_kwargs=shared_out, world_size=4, strategy=None))


def test_processes_that_go_through_the_same_clips_are_refused() -> None:
    trainer = SimpleNamespace(
        distributed_sampler_kwargs={"num_replicas": 2, "rank": 1}, world_size=8, strategy=pl.strategies.DDPStrategy()
    )
    with pytest.raises(ValueError, match=r"strategy: DDPStrategy gives 4 of 8 processes the same clips.*dissect"):
        check_clips_of_their_own(trainer)


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
