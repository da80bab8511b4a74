"""Train a small network on made-up sounds, dissect it, and write its report.

Like this::

  lightning-dissect demo
  lightning-dissect demo --out my_demo --clips 96 --epochs 1

Nothing is downloaded: plucked and bowed notes, hits and hisses of random pitch, number and level are synthesised. The
network (CNN-AT) learns to tell the four apart; meanwhile its units are compared with audio features.
"""

import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect.callback import DissectCallback
from lightning_dissect.cli.found import say_found
from lightning_dissect.cli.options import count, show_progress
from lightning_dissect.cli.terminal import say
from lightning_dissect.networks import CNNAT, POOLS_3_S
from lightning_dissect.report.html import write_report

KINDS = ("pluck", "bow", "hit", "hiss")
SECONDS = 3.0
FEWEST = 48
"""Clips that are enough to train on, and to compare."""


class _Classifier(pl.LightningModule):
    """Trains a network to tell kinds of sounds apart."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        waveform, label = batch
        return nn.functional.cross_entropy(self.network(waveform), label)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        waveform, label = batch
        self.log("accuracy", (self.network(waveform).argmax(1) == label).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 2e-3)


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--out", type=Path, default=Path("lightning_logs"), metavar="FOLDER", help="holds the runs")
    words = f"to train on, {FEWEST} or more (default: 160)"
    parser.add_argument("--clips", type=partial(count, least=FEWEST), default=160, metavar="N", help=words)
    parser.add_argument("--epochs", type=count, default=3, metavar="N", help="default: 3")


def call(options: Namespace) -> int:
    """Train, dissect, and write the report."""
    pl.seed_everything(0, verbose=False)
    network = CNNAT(len(KINDS), pools=POOLS_3_S, n_embedding=32)
    layers = [f"network.{name}" for name in network.layers]
    callback = DissectCallback(layers=layers, analysis=network.analysis, untrained=4)
    logger = TensorBoardLogger(options.out, name="demo")
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        callbacks=[callback],
        logger=logger,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        enable_progress_bar=sys.stderr.isatty(),
    )
    train, validation = (
        DataLoader(synthesise_clips(count, network.sample_rate, seed), 16, shuffle=not seed)
        for seed, count in enumerate((options.clips, max(options.clips // 2, FEWEST)))
    )
    trainer.fit(_Classifier(network), train, validation)
    assert callback.scores is not None
    say_found(callback.scores)
    page = write_report(logger.log_dir, progress=show_progress)
    say("", f"The report: {page}", f"All of it in TensorBoard: tensorboard --logdir {logger.log_dir}")
    return 0


def synthesise_clips(count: int, sample_rate: int, seed: int) -> TensorDataset:
    """Synthesise clips of all kinds in turn; equal arguments give equal clips.

    Returns:
        Items ``(waveform (samples,), label ())``, the label an index into ``KINDS``.

    Example:
        >>> waveform, label = synthesise_clips(3, 8_000, seed=0)[2]
        >>> waveform.shape, KINDS[label]
        (torch.Size([24000]), 'hit')
    """
    kinds = [KINDS[n % len(KINDS)] for n in range(count)]
    clips = [_synthesise(kind, sample_rate, np.random.default_rng([seed, n])) for n, kind in enumerate(kinds)]
    return TensorDataset(torch.from_numpy(np.stack(clips)), torch.arange(count) % len(KINDS))


def _synthesise(kind: str, sample_rate: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """1 to 6 notes at random times and pitches, at a random level (−24 to −1 dB)."""
    time = np.arange(round(SECONDS * sample_rate)) / sample_rate
    clip = np.zeros_like(time)
    for start in rng.uniform(0, 0.9 * SECONDS, rng.integers(1, 7)):
        after = np.maximum(time - start, 0)
        clip += (time >= start) * _SOUNDS[kind](after, rng)
    loudest = max(float(np.abs(clip).max()), 1e-6)
    return (clip * 10 ** (rng.uniform(-24, -1) / 20) / loudest).astype(np.float32)


def _tone(time: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    pitch = 110 * 2 ** (rng.integers(0, 30) / 12)
    partials = [np.sin(2 * np.pi * pitch * n * time + rng.uniform(0, 6)) / n for n in range(1, 7)]
    return np.asarray(np.sum(partials, axis=0))


_SOUNDS: dict[str, Any] = {
    "pluck": lambda time, rng: _tone(time, rng) * np.exp(-rng.uniform(3, 8) * time),
    "bow": lambda time, rng: _tone(time, rng) * np.minimum(5 * time, 1) * (time < rng.uniform(0.5, 1.5)),
    "hit": lambda time, rng: rng.normal(size=len(time)) * np.exp(-rng.uniform(25, 60) * time),
    "hiss": lambda time, rng: np.diff(rng.normal(size=len(time)), prepend=0) * (time < rng.uniform(0.3, 1.0)),
}
