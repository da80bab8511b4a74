"""What the callback adds to a validation run of a network with many layers: time and memory a layer.

Each number of layers is run in a process of its own, after a small run that compiles and loads what is needed. Prints
the processor time of the run beside that of the same run without the callback, what is added a layer, and how far the
process's memory rose above that of the small run.
"""

import argparse
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_dissect import DissectCallback

LAYERS = (20, 200, 2000)
RATE = 8_000
CLIPS, BATCH, SAMPLES, UNITS = 64, 16, 4_000, 8
LOGGERS = {"CSV": CSVLogger, "TensorBoard": TensorBoardLogger}
KINDS = ("linear", "conv")


class Deep(pl.LightningModule):
    """A chain of small layers, linear on one value a clip or convolutions along time."""

    def __init__(self, kind: str, layers: int) -> None:
        super().__init__()
        self.kind = kind
        chain: list[nn.Module]
        if kind == "linear":
            chain = [nn.Linear(SAMPLES, UNITS), *(nn.Linear(UNITS, UNITS) for _ in range(layers - 1))]
        else:
            chain = [nn.Conv1d(1, UNITS, 64, 32), *(nn.Conv1d(UNITS, UNITS, 3, padding=1) for _ in range(layers - 1))]
        self.network = nn.Sequential(*chain)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.network(batch if self.kind == "linear" else batch[:, None])


def validate(model: Deep, logger: str, callbacks: list[pl.Callback]) -> float:
    """Seconds of processor time, of all threads, that a validation run takes."""
    clips = torch.randn(CLIPS, SAMPLES, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            logger=LOGGERS[logger](folder),
            callbacks=callbacks,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        start = time.process_time()
        trainer.validate(model, DataLoader(cast(Any, clips), BATCH), verbose=False)
        return time.process_time() - start


def peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind: str, logger: str, layers: int) -> None:
    """Print a line about one size."""
    validate(Deep(kind, 12), logger, [DissectCallback(RATE)])
    model, before = Deep(kind, layers), peak()
    plain = validate(model, logger, [])
    watched = validate(model, logger, [DissectCallback(RATE)])
    added = 1e3 * (watched - plain) / layers
    print(
        f"{kind:>6} {logger:>11} {layers:6d} layers: {plain:6.2f} s plain, {watched:6.2f} s watched, "
        f"{added:6.1f} ms a layer, {peak() - before:6.0f} MB more",
        flush=True,
    )


def main() -> None:
    """Run every size, or the one that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", nargs="*", help="kind, logger and number of layers")
    one = parser.parse_args().one
    if one:
        logging.disable()
        warnings.simplefilter("ignore")
        measure(one[0], one[1], int(one[2]))
        return
    for kind in KINDS:
        for logger in LOGGERS:
            for layers in LAYERS:
                subprocess.run([sys.executable, __file__, kind, logger, str(layers)], check=True)


if __name__ == "__main__":
    main()
