"""Networks of many layers: what a run costs a layer."""

import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_dissect import DissectCallback

RATE = 8_000


class Deep(pl.LightningModule):
    def __init__(self, layers: int) -> None:
        super().__init__()
        inner = (nn.Conv1d(8, 8, 3, padding=1) for _ in range(layers - 1))
        self.network = nn.Sequential(nn.Conv1d(1, 8, 64, 32), *inner)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.network(batch[:, None])


def count_calls(layers: int, logger: Any) -> int:
    """Calls of Python and C functions while a validation run goes by, less those of one without the callback."""
    clips: Any = torch.randn(32, 4000, generator=torch.Generator().manual_seed(0))
    data, counts = DataLoader(clips, 16), []
    watched: list[pl.Callback] = [DissectCallback(RATE)]
    for callbacks in ([], watched):
        trainer = pl.Trainer(
            logger=logger,
            callbacks=callbacks,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        model, calls = Deep(layers), 0

        def count(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            trainer.validate(model, data, verbose=False)
        finally:
            sys.setprofile(None)
        counts.append(calls)
    return counts[1] - counts[0]


@pytest.mark.slow
def test_a_layer_takes_few_calls(tmp_path: Path) -> None:
    """Calls are counted, since time depends on the machine: most take a microsecond or less.

    With metrics of its own for each layer and feature, a layer took 60 000. About 3 000 are counted now, half of them
    for the 40 tags of a layer in TensorBoard; pictures are of up to 60 layers, and make some 100 000 more or less.
    """
    count_calls(8, TensorBoardLogger(tmp_path / "first"))  # compiles, and loads what is needed
    few, many = (count_calls(layers, TensorBoardLogger(tmp_path / str(layers))) for layers in (64, 256))
    assert (many - few) / (256 - 64) < 6_000
