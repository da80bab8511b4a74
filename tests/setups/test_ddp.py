"""The callback under DDP: the same scores as one process, and training as without it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, Scores

RATE = 8_000


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        # Without a bias, beside which what tells clips apart could be no more than the last digits of float32.
        self.front = nn.Sequential(nn.Conv1d(1, 6, 200, 100, bias=False), nn.ReLU())
        convolution = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.maps = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Upsample((24, 40)), convolution)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.maps(self.front(x[:, None]))).relu().mean((2, 3)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)


def scores(waveform: Tensor, folder: Path, devices: int = 1) -> pd.DataFrame:
    data = TensorDataset(waveform, torch.arange(len(waveform)) % 2)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        max_epochs=1,
        logger=TensorBoardLogger(folder),
        callbacks=[DissectCallback(RATE, map_clips=24, on_error="raise")],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.validate(Module(), DataLoader(data, 4), verbose=False)
    return Scores.load(folder).table


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(
    clips: Callable[..., Tensor],
    moved: Callable[[Tensor], list[Tensor]],
    assert_same_scores: Callable[..., None],
    tmp_path: Path,
) -> None:
    waveform = clips(24, seconds=1.0, sample_rate=RATE)
    one, two = scores(waveform, tmp_path / "one"), scores(waveform, tmp_path / "two", devices=2)
    assert_same_scores(one, [two], [scores(x, tmp_path / f"moved {k}") for k, x in enumerate(moved(waveform))])
