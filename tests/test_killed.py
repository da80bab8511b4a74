"""A training that is killed in the middle of a validation run, and resumed; and what a long run leaves in memory."""

import gc
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, Scores

RATE = 8_000
STATUS = Path("/proc/self/status")


class Module(pl.LightningModule):
    def __init__(self, kill_in_epoch: int | None = None) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv1d(1, 4, 256, 128), nn.Linear(4, 2)
        self.kill_in_epoch = kill_in_epoch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.layer(batch[0][:, None]).mean(-1)), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.layer(batch[0][:, None])
        if batch_idx == 1 and self.current_epoch == self.kill_in_epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fit(folder: Path, kill: str = "", checkpoint: str | None = None) -> None:
    if kill == "write":
        kill_while_writing(times=3)
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(12, RATE), torch.arange(12) % 2), 4)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        num_sanity_val_steps=0,
        logger=CSVLogger(folder),
        callbacks=[
            DissectCallback(RATE, ["layer"], ["rms"], ["pearson"], on_error="raise"),
            ModelCheckpoint(folder, save_last=True),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(2 if kill == "batch" else None), data, data, ckpt_path=checkpoint)


def kill_while_writing(times: int) -> None:
    """Have this process killed in the middle of a table's file, the n-th that it writes."""
    write, written = pq.write_table, []

    def write_half(table: Any, path: Path, **options: Any) -> None:
        write(table, path, **options)
        written.append(path)
        if len(written) == times:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    pq.write_table = write_half


@pytest.mark.slow
@pytest.mark.parametrize("kill", ["batch", "write"])
def test_a_killed_training_leaves_whole_files_and_goes_on(kill: str, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, __file__, str(tmp_path), kill], timeout=250, check=False)
    assert killed.returncode == -signal.SIGKILL
    before = Scores.load(tmp_path).table["epoch"].unique().tolist()
    assert before == ([0, 1] if kill == "batch" else [0])
    fit(tmp_path, checkpoint=str(tmp_path / "last.ckpt"))
    after = Scores.load(tmp_path).table
    # The epoch in which it was killed is trained again, from the checkpoint of the one before.
    assert after["epoch"].unique().tolist() == [0, 1, 2, 3]
    assert after["score"].notna().all()


def test_the_callback_adds_nothing_to_a_checkpoint() -> None:
    assert DissectCallback(RATE).state_dict() == {}


def memory(field: str) -> float:
    """A field of this process's memory, in MB, without the pages of files that lie in it.

    The system takes these away and brings them back as other processes need memory.
    """
    lines = (line.split() for line in STATUS.read_text().splitlines())
    sizes = {name.rstrip(":"): int(rest[0]) / 1e3 for name, *rest in lines if rest[1:] == ["kB"]}
    return sizes[field] - sizes["RssFile"]


class Watched(pl.LightningModule):
    """A network whose layer puts out 64 maps a clip."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.wide = nn.Conv2d(1, 64, 3, padding=1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.wide(torch.nn.functional.interpolate(batch[0][:, None, None], (self.size, self.size)))


class Memory(pl.Callback):
    def __init__(self, batches: tuple[int, ...]) -> None:
        self.batches = batches
        self.resident: list[float] = []
        self.peak: list[float] = []

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, index: int, *_: Any) -> None:
        if index in self.batches:
            gc.collect()
            self.resident.append(memory("VmRSS"))
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, index: int, *_: Any
    ) -> None:
        if index in self.batches:
            self.peak.append(memory("VmHWM") - self.resident[-1])


def validate(clips: Tensor, map_size: int, callbacks: list[Any]) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False, enable_checkpointing=False
    )
    trainer.validate(Watched(map_size), DataLoader(TensorDataset(clips), 8), verbose=False)


def can_measure() -> bool:
    told = STATUS.read_text() if STATUS.exists() else ""
    return "VmHWM:" in told and "RssFile:" in told and os.access("/proc/self/clear_refs", os.W_OK)


@pytest.mark.skipif(not can_measure(), reason="the system does not tell a process's peak of memory")
def test_a_batch_takes_less_than_a_layers_output_more(clips: Callable[..., Tensor]) -> None:
    waveform, peaks = clips(32, seconds=1.0, sample_rate=RATE), []
    for callbacks in ([], [DissectCallback(RATE, ["wide"], metrics=["pearson", "euclidean"], sift_clips=8)]):
        watch = Memory((2, 3))
        validate(waveform, 256, [watch, *callbacks])
        peaks.append(max(watch.peak))
    output = 8 * 64 * 256 * 256 * 4 / 1e6
    print(f"\na layer's output {output:.0f} MB, peak without the callback {peaks[0]:.0f} and with it {peaks[1]:.0f}")
    assert peaks[0] > 0.9 * output  # or nothing was measured
    assert peaks[1] - peaks[0] < output


def tensor_peak(run: Callable[[], None]) -> float:
    """The most memory in MB that tensors take at a time while something runs, temporary ones too."""
    gc.collect()  # or what earlier runs left behind is freed meanwhile, and counts as less than nothing
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        run()
    assert profile.kineto_results is not None
    found = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    found.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in found)) / 1e6


LEVELS = {
    "clips and frames": {"sift_clips": 0},
    "maps by Pearson's correlation": {"metrics": ["pearson"]},
    "maps by SIFT": {"metrics": ["sift"], "features": ["harmonic"]},
    "maps by SIFT, without numba": {"metrics": ["sift"], "features": ["harmonic"], "sift_clips": 4},
    "defaults": {},
}


@pytest.mark.parametrize("levels", [pytest.param(name, marks=pytest.mark.slow) for name in LEVELS])
def test_tensors_take_less_than_a_layers_output_more(
    levels: str, clips: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every level, also where half of the clips of each batch are compared map by map, as they are here."""
    if "without numba" in levels:
        monkeypatch.setattr("lightning_dissect.metrics.functional.sift._compiled_code", lambda: None)
    waveform = clips(32, seconds=1.0, sample_rate=RATE)
    plain = tensor_peak(lambda: validate(waveform, 192, []))
    watched = tensor_peak(lambda: validate(waveform, 192, [DissectCallback(RATE, ["wide"], **LEVELS[levels])]))
    output = 8 * 64 * 192 * 192 * 4 / 1e6
    assert plain > 0.9 * output
    assert watched - plain < output


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="the system does not tell a process's peak of memory")
def test_memory_does_not_grow_with_the_clips(clips: Callable[..., Tensor]) -> None:
    waveform = clips(40, seconds=0.5, sample_rate=RATE).repeat(51, 1)
    watch = Memory((25, 250))
    validate(waveform, 32, [watch, DissectCallback(RATE, ["wide"])])
    after_200, after_2000 = watch.resident
    print(f"\n{after_200:.0f} MB after 200 clips, {after_2000:.0f} after 2000")
    # A number for each clip, unit and feature would be 1800 · 64 · 20 · 4 bytes, 9 MB; a heap varies by a few pages.
    assert after_2000 - after_200 < 6


if __name__ == "__main__":
    fit(Path(sys.argv[1]), sys.argv[2])
