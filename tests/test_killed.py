"""A training that is ended in the middle of a validation run, and resumed; and what a long run leaves in memory."""

import contextlib
import ctypes
import gc
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_dissect.publish
import lightning_dissect.scores.storage
from lightning_dissect import DissectCallback, Scores
from lightning_dissect.files import whole
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.run.playlist_files import load_playlists

RATE = 8_000
STATUS = Path("/proc/self/status")


EPOCH = 2
"""In which the signal comes."""


class Module(pl.LightningModule):
    def __init__(self, strike: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv1d(1, 4, 256, 128), nn.Linear(4, 2)
        self.strike = strike

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.layer(batch[0][:, None]).mean(-1)), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.layer(batch[0][:, None])
        if self.strike is not None and batch_idx == 1 and self.current_epoch == EPOCH:
            self.strike()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fit(folder: Path, place: str = "", name: str = "", checkpoint: str | None = None) -> None:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(12, RATE), torch.arange(12) % 2), 4)
    callback = DissectCallback(RATE, ["layer"], ["rms"], ["pearson"], on_error="raise")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        num_sanity_val_steps=0,
        logger=CSVLogger(folder, version=0),
        callbacks=[callback, ModelCheckpoint(folder, save_last=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    strike = (lambda: os.kill(os.getpid(), getattr(signal, name))) if name else None
    if strike and place != "batch":
        interrupt(place, lambda: trainer.current_epoch == EPOCH and strike())
    trainer.fit(Module(strike if place == "batch" else None), data, data, ckpt_path=checkpoint)


def interrupt(place: str, strike: Callable[[], object]) -> None:
    """Have something done in the middle of the comparison, of a table's file, or of a picture's."""
    if place == "compare":
        scores = Dissection.scores
        Dissection.scores = lambda *arguments: (strike(), scores(*arguments))[1]  # type: ignore[method-assign]
        return
    module = {"table": lightning_dissect.scores.storage, "picture": lightning_dissect.publish}[place]

    @contextlib.contextmanager
    def halting(path: Path, **named: Any) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        with whole(path, **named) as file:
            yield content
            half = len(content.getvalue()) // 2
            file.write(content.getvalue()[:half])
            file.flush()
            strike()
            file.write(content.getvalue()[half:])

    module.whole = halting  # type: ignore[attr-defined]


ENDS = {"SIGKILL": -signal.SIGKILL, "SIGHUP": -signal.SIGHUP, "SIGINT": 1, "SIGTERM": 0}
"""How a training ends by them: in order after the last two, and after TERM only when it comes to the next batch."""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["batch", "compare", "table", "picture"])
@pytest.mark.parametrize("name", ENDS)
def test_a_training_that_is_ended_leaves_whole_files_and_goes_on(name: str, place: str, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, __file__, str(tmp_path), place, name], timeout=250, check=False)
    assert ended.returncode == ENDS[name]
    in_order = name in ("SIGINT", "SIGTERM")
    # The table of the run in which the signal came. TERM ends a run at its next batch, and lets the rest of it finish.
    finished = place == "picture" or (name == "SIGTERM" and place != "batch")
    assert Scores.load(tmp_path).table["epoch"].unique().tolist() == ([0, 1, 2] if finished else [0, 1])
    folder = tmp_path / "lightning_logs" / "version_0" / "dissect"
    for file in folder.rglob("*.png"):
        with Image.open(file) as picture:
            picture.load()
    assert all((folder / file).is_file() for file in load_playlists(folder)["file"].dropna())
    left = [file.name for file in folder.rglob("*.partial")]
    assert not left if in_order else all(file.startswith(".") for file in left)
    fit(tmp_path, checkpoint=str(tmp_path / "last.ckpt"))
    after = Scores.load(tmp_path).table
    # The epoch in which it was ended is trained again, from the checkpoint of the one before.
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
            if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
                libc.malloc_trim(0)  # or what earlier tests have freed serves again, and no peak is seen
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
    for callbacks in ([], [DissectCallback(RATE, ["wide"], metrics=["pearson", "euclidean"], map_clips=8)]):
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
    "clips and frames": {"map_clips": 0},
    "maps by Pearson's correlation": {"metrics": ["pearson"]},
    "maps by SIFT": {"metrics": ["sift"], "features": ["harmonic"]},
    "maps by SIFT, without numba": {"metrics": ["sift"], "features": ["harmonic"], "map_clips": 4},
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


def resources(folder: Path) -> dict[str, float]:
    """What this process holds, and what lies in a folder beside the score files."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # what is free already, but still kept for later use
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return {
        "memory": memory("VmRSS"),
        "threads": threading.active_count(),
        "open files": len(os.listdir("/proc/self/fd")),
        "files": sum(1 for file in folder.rglob("*") if not file.match("epoch=*.parquet")),
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not can_measure(), reason="the system does not tell a process's peak of memory")
def test_two_hundred_runs_hold_no_more_than_fifty(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(12, RATE // 2), torch.arange(12) % 2), 6)
    found = {}

    def look(trainer: Any, _: Any) -> None:
        if trainer.current_epoch in (50, 200):
            found[trainer.current_epoch] = resources(Path(trainer.logger.log_dir))

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=201,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(tmp_path),
        callbacks=[
            DissectCallback(RATE, ["layer"], ["rms"], ["pearson"], n_fft=512, hop_length=256),
            pl.callbacks.LambdaCallback(on_train_epoch_end=look),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Module(), data, data)
    before, after = found[50], found[200]
    # To keep the pictures of 150 runs would take 30 MB, what is kept of their clips a gigabyte.
    assert after.pop("memory") < before.pop("memory") + 20
    assert after == before


if __name__ == "__main__":
    fit(Path(sys.argv[1]), *sys.argv[2:])
