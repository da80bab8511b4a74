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
        self.front = nn.Conv1d(1, 6, 200, 100)
        self.maps = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Upsample((24, 40)), nn.Conv2d(1, 4, 3, padding=1))
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


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(clips: Callable[..., Tensor], tmp_path: Path) -> None:
    waveform = clips(24, seconds=1.0, sample_rate=RATE)
    data = TensorDataset(waveform, torch.arange(24) % 2)
    tables = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            max_epochs=1,
            logger=TensorBoardLogger(folder),
            callbacks=[DissectCallback(RATE, sift_clips=24, on_error="raise")],
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.validate(Module(), DataLoader(data, 4), verbose=False)
        tables.append(Scores.load(folder).table)
    one, two = tables
    keys = ["layer", "unit", "feature", "level", "metric"]
    both = one.merge(two, on=keys, suffixes=("", "_two"))
    assert len(both) == len(one) == len(two)
    pd.testing.assert_series_equal(both["n_clips"], both["n_clips_two"], check_names=False)
    clip = both[both["level"] == "clip"]
    # Clips are shared out differently, so sums run in another order: float32 rounding of 24 clips.
    for column in ("score", "null", "effect"):
        pd.testing.assert_series_equal(clip[column], clip[f"{column}_two"], check_names=False, rtol=1e-5, atol=1e-5)
    # Per-clip scores are the same clips' means; which clip is swapped with which differs.
    pd.testing.assert_series_equal(both["score"], both["score_two"], check_names=False, rtol=1e-5, atol=1e-5)
