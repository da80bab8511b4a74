"""What the callback adds to a validation epoch, beside what people use instead, measured in the same run.

Prints seconds and the ratio to the same epoch without anything, the shortest of some rounds that go through all sides
in turn; the memory that the callback takes; and the same for a transformer of 12 layers.
"""

import argparse
import gc
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import essentia.standard as essentia
import librosa
import numpy as np
import pytorch_lightning as pl
import torch
from captum.attr import LayerActivation
from pytorch_lightning.loggers import TensorBoardLogger
from scipy.stats import pearsonr
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Wav2Vec2Config, Wav2Vec2Model

from lightning_dissect import DissectCallback
from lightning_dissect.networks import CNNAT

SECONDS = 10
BATCH = 8
POOLS_1_S = ((2, 2), (2, 2), (2, 2), (3, 2), (4, 2))
POOLS_10_S = ((2, 4), (2, 4), (2, 3), (3, 3), (4, 3))
LAYERS = [f"network.conv{n}" for n in range(1, 6)]
OF_CNN: dict[str, Any] = {
    "sample_rate": CNNAT.sample_rate,
    "frequency": CNNAT.frequency,
    "n_fft": CNNAT.n_fft,
    "hop_length": CNNAT.hop_length,
}


class Validated(pl.LightningModule):
    """A network that is run on the validation clips."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.network(batch[0])


class RawHistograms(pl.Callback):
    """Logs the histogram of all values of each layer's output in each batch, as bolts' ModuleDataMonitor does."""

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        self.handles = [
            pl_module.get_submodule(name).register_forward_hook(self.hook(trainer.logger.experiment, name))
            for name in LAYERS
        ]

    def hook(self, writer: Any, name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: writer.add_histogram(f"{name}/out", output.detach().cpu())

    def on_validation_end(self, trainer: Any, pl_module: nn.Module) -> None:
        for handle in self.handles:
            handle.remove()


class Captum(pl.Callback):
    """Gets the activations of each layer with captum's LayerActivation."""

    def on_validation_batch_start(self, trainer: Any, pl_module: nn.Module, batch: Any, *_: Any) -> None:
        for name in LAYERS:
            LayerActivation(pl_module.network, pl_module.get_submodule(name)).attribute(batch[0])


class PaperOne(pl.Callback):
    """Dumps the activations, then compares them with librosa's and Essentia's features, one clip after the other.

    Args:
        sift: also match the first layer's maps with the harmonic and percussive ones, with OpenCV.
    """

    def __init__(self, sift: bool = False) -> None:
        self.sift, self.folder = sift, Path(tempfile.mkdtemp())
        self.outputs: dict[str, Tensor] = {}
        self.clips: list[Any] = []

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        self.handles = [pl_module.get_submodule(name).register_forward_hook(self.hook(name)) for name in LAYERS]

    def hook(self, name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: self.outputs.update({name: output})

    def on_validation_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self.clips.extend(batch[0].numpy())
        for name, output in self.outputs.items():
            np.save(self.folder / f"{name}-{batch_idx}.npy", output.numpy())

    def on_validation_end(self, trainer: Any, pl_module: nn.Module) -> None:
        for handle in self.handles:
            handle.remove()
        features = [self.features(clip) for clip in self.clips]
        rows = np.array([row for row, _ in features])
        for name in LAYERS:
            files = sorted(self.folder.glob(f"{name}-*.npy"), key=lambda file: int(file.stem.rsplit("-", 1)[1]))
            units = np.concatenate([np.load(file).mean((2, 3)) for file in files])
            for row in rows.T:
                for unit in units.T:
                    pearsonr(unit, row)
                    np.linalg.norm(unit / np.linalg.norm(unit) - row / np.linalg.norm(row))
        if self.sift:
            maps = (unit for file in sorted(self.folder.glob(f"{LAYERS[0]}-*.npy")) for unit in np.load(file))
            for units, (_, parts) in zip(maps, features, strict=True):
                match_maps(units, parts)
        shutil.rmtree(self.folder)

    def features(self, clip: Any) -> tuple[list[float], list[Any]]:
        sr, n_fft, hop = CNNAT.sample_rate, CNNAT.n_fft, CNNAT.hop_length
        S = np.abs(librosa.stft(clip, n_fft=n_fft, hop_length=hop))
        mel = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=96)
        parts = [librosa.power_to_db(mel @ part**2) for part in librosa.decompose.hpss(S)]
        chroma = librosa.feature.chroma_stft(S=S**2, sr=sr, n_fft=n_fft, hop_length=hop)
        loudness = [essentia.Loudness()(frame) for frame in essentia.FrameGenerator(clip, n_fft, hop)]
        onset_rate = essentia.OnsetRate()(librosa.resample(clip, orig_sr=sr, target_sr=44_100))[1]
        return [*(part.mean() for part in parts), *chroma.mean(1), np.mean(loudness), onset_rate], parts


def match_maps(units: Any, parts: Sequence[Any]) -> None:
    """Match the SIFT key points of each unit's map with those of each feature's map."""
    sift, matcher = cv2.SIFT.create(64), cv2.BFMatcher()

    def descriptors(values: Any) -> Any:
        image = cv2.normalize(values, np.empty_like(values), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        return sift.detectAndCompute(image, None)[1]

    of_parts = [descriptors(part.astype(np.float32)) for part in parts]
    for of_unit in map(descriptors, units):
        for of_part in of_parts:
            if of_unit is not None and of_part is not None and len(of_part) > 1:
                matches = matcher.knnMatch(of_unit, of_part, k=2)
                sum(first.distance < 0.9 * second.distance for first, second in matches)


def make_clips(count: int, sample_rate: int) -> Tensor:
    """Notes with decaying harmonics, and a drum-like click each half second."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(SECONDS * sample_rate) / sample_rate
    clips = 0.003 * rng.normal(size=(count, len(time_axis)))
    for clip in clips:
        for start in np.arange(0, SECONDS, 0.5):
            after = np.clip(time_axis - start, 0, None)
            pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * after) / k for k in range(1, 6))
            clip += rng.uniform(0.05, 0.3) * tone * np.exp(-5 * after) * (after > 0)
            clip += 0.2 * rng.normal(size=len(clip)) * np.exp(-80 * after) * (after > 0)
    return torch.from_numpy(clips.astype(np.float32))


def validate(network: nn.Module, clips: Tensor, callbacks: Sequence[Any]) -> float:
    """Run a validation epoch with TensorBoard and return its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=list(callbacks),
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        start = time.perf_counter()
        trainer.validate(Validated(network), DataLoader(TensorDataset(clips), BATCH), verbose=False)
        return time.perf_counter() - start


Sides = dict[str, tuple[Tensor, Callable[[], list[Any]]]]


def compare(network: nn.Module, sides: Sides, rounds: int) -> dict[str, float]:
    """Print each side's time a clip and the ratio to the first side's, the best of some rounds; return its seconds."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, (clips, callbacks) in sides.items():
            best[name] = min(best[name], validate(network, clips, callbacks()))
    a_clip = {name: seconds / len(sides[name][0]) for name, seconds in best.items()}
    plain = next(iter(a_clip.values()))
    for name, seconds in a_clip.items():
        count = len(sides[name][0])
        print(f"{name:52s} {1000 * seconds:8.1f} ms a clip {seconds / plain:7.2f}×  ({count} clips)", flush=True)
    return best


def bench_cnn(count: int, few: int, rounds: int) -> None:
    """CNN-AT, five layers, beside what people use instead."""
    network = CNNAT(n_classes=50, pools=POOLS_10_S).eval()
    clips = make_clips(count, CNNAT.sample_rate)
    some = clips[:few]

    def callback(**arguments: Any) -> DissectCallback:
        return DissectCallback(**{"layers": LAYERS, **OF_CNN, **arguments})

    def without_sift() -> DissectCallback:
        return callback(metrics=["pearson", "euclidean"])

    def first_layer_by_sift() -> DissectCallback:
        return callback(layers=LAYERS[:1], features=["harmonic", "percussive"], metrics=["sift"], map_clips=count)

    print(f"CNN-AT, clips of {SECONDS} s at {CNNAT.sample_rate} Hz, {torch.get_num_threads()} threads")
    ours, many = "callback without SIFT", f", {count} clips"
    best = compare(
        network,
        {
            f"nothing{many}": (clips, list),
            f"{ours}{many}": (clips, lambda: [without_sift()]),
            f"callback with its defaults{many}": (clips, lambda: [callback()]),
        },
        rounds,
    )
    best |= compare(
        network,
        {
            "nothing": (some, list),
            ours: (some, lambda: [without_sift()]),
            "callback, and SIFT on all maps of the first layer": (
                some,
                lambda: [without_sift(), first_layer_by_sift()],
            ),
            "histograms of raw activations": (some, lambda: [RawHistograms()]),
            "captum's LayerActivation": (some, lambda: [Captum()]),
            "the paper's way": (some, lambda: [PaperOne()]),
            "the paper's way, and OpenCV SIFT on these maps": (some, lambda: [PaperOne(sift=True)]),
        },
        rounds,
    )
    added, of_few = best[f"{ours}{many}"] - best[f"nothing{many}"], best[ours] - best["nothing"]
    a_clip = (added - of_few) / (count - few)
    print(f"the callback without SIFT takes {1000 * a_clip:.1f} ms a clip and {of_few - few * a_clip:.1f} s a run")
    theirs = best["the paper's way"] - best["nothing"]
    print(
        f"the paper's way adds {theirs / few / (added / count):.1f} times as much a clip as it does over {count} clips"
    )
    ours_sift = best["callback, and SIFT on all maps of the first layer"] - best[ours]
    theirs = best["the paper's way, and OpenCV SIFT on these maps"] - best["the paper's way"]
    print(
        f"SIFT on the first layer's maps: callback adds {1000 * ours_sift / few:.1f} ms a clip, "
        f"OpenCV {1000 * theirs / few:.1f} ms"
    )


class Transformer(nn.Module):
    """A wav2vec 2.0 of base size: 12 layers of 768 units, weights as initialised."""

    def __init__(self) -> None:
        super().__init__()
        self.wav2vec2 = Wav2Vec2Model(Wav2Vec2Config())

    def forward(self, waveform: Tensor) -> Tensor:
        hidden: Tensor = self.wav2vec2(waveform).last_hidden_state
        return hidden


def bench_transformer(count: int, rounds: int) -> None:
    """A transformer of 12 layers with the callback's defaults."""
    network, clips = Transformer().eval(), make_clips(count, 16_000)
    layers = ["network.wav2vec2.encoder.layers.*"]
    print(f"wav2vec 2.0 base, 12 layers, clips of {SECONDS} s at 16000 Hz, {torch.get_num_threads()} threads")
    sides: Sides = {
        "nothing": (clips, list),
        "callback on its 12 layers": (clips, lambda: [DissectCallback(16_000, layers)]),
    }
    compare(network, sides, rounds)


class Memory(pl.Callback):
    """Notes the memory of this process while some batches go by; stands first in the list of callbacks.

    Attributes:
        resident: MB after each of these batches.
        peak: MB that each of these batches took in between.
    """

    def __init__(self, batches: Sequence[int]) -> None:
        self.batches = batches
        self.resident: list[float] = []
        self.peak: list[float] = []

    def on_validation_batch_start(self, trainer: Any, pl_module: nn.Module, batch: Any, index: int, *_: Any) -> None:
        if index in self.batches:
            gc.collect()
            self.resident.append(memory("VmRSS"))
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew

    def on_validation_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, index: int, *_: Any
    ) -> None:
        if index in self.batches:
            self.peak.append(memory("VmHWM") - self.resident[-1])


def bench_memory() -> None:
    """Print what a batch takes at its peak with the callback and without, and what an epoch leaves behind."""
    clips = make_clips(4 * BATCH, CNNAT.sample_rate)
    network = CNNAT(n_classes=50, pools=POOLS_10_S).eval()
    peaks = []
    for callbacks in ([], [DissectCallback(layers=LAYERS, **OF_CNN)]):
        watch = Memory([2, 3])
        validate(network, clips, [watch, *callbacks])
        peaks.append(max(watch.peak))
    largest = BATCH * 64 * 96 * (1 + clips.shape[1] // CNNAT.hop_length) * 4 / 1e6
    print(f"peak memory of a batch of {BATCH}: {peaks[0]:.0f} MB, with the callback {peaks[1]:.0f} MB", end="; ")
    print(f"the largest layer puts out {largest:.0f} MB", flush=True)

    network = CNNAT(n_classes=50, pools=POOLS_1_S).eval()
    short = clips[:, : CNNAT.sample_rate].repeat(63, 1)[:2008]
    watch = Memory([200 // BATCH, 2000 // BATCH])
    validate(network, short, [watch, DissectCallback(layers=LAYERS, **OF_CNN)])
    before, after = watch.resident
    print(
        f"resident memory: {before:.0f} MB after 200 clips, {after:.0f} MB after 2000 ({after / before - 1:+.1%})",
        flush=True,
    )


def memory(field: str) -> float:
    """A field of this process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1e3


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1024, help="clips of an epoch")
    parser.add_argument("--few", type=int, default=32, help="clips of an epoch of the slow peers")
    parser.add_argument("--transformer-clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)
    bench_memory()
    bench_cnn(arguments.clips, arguments.few, arguments.rounds)
    bench_transformer(arguments.transformer_clips, arguments.rounds)


if __name__ == "__main__":
    main()
