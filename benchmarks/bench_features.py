"""Speed of each feature against librosa, and of the whole bank, measured in the same run.

Prints a table: milliseconds for a batch of 8 clips of 10 s at 22.05 kHz, and how many times as fast as librosa. Then
how time grows with the length of the clips, the memory that the default bank takes, and, on a GPU, how close it comes
to the limit that the memory's bandwidth sets.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any
from unittest import mock

import librosa
import numpy as np
import torch

from lightning_dissect.features import FeatureBank, functional

SR, CLIPS, SECONDS = 22_050, 8, 10
DEFAULT = ["harmonic", "percussive", "chroma", "loudness", "onset_rate", "harmonic_ratio"]
COMPARED = [
    "harmonic",
    "percussive",
    "chroma",
    "rms",
    "centroid",
    "bandwidth",
    "rolloff",
    "flatness",
    "contrast",
    "zcr",
    "mfcc",
    "input",
    "cqt",
    "tonnetz",
    "onset_strength",
    "tempo",
]
"""Features that librosa has too."""


def make_clips(seconds: float = SECONDS) -> torch.Tensor:
    """Notes with decaying harmonics, and a drum-like click each half second."""
    rng = np.random.default_rng(0)
    samples = int(seconds * SR)
    time_axis = np.arange(samples) / SR
    clips = 0.003 * rng.normal(size=(CLIPS, samples))
    for clip in clips:
        for start in np.arange(0, seconds, 0.5):
            after = np.clip(time_axis - start, 0, None)
            pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * after) / k for k in range(1, 6))
            clip += 0.2 * tone * np.exp(-5 * after) * (after > 0)
            clip += 0.2 * rng.normal(size=samples) * np.exp(-80 * after) * (after > 0)
    return torch.from_numpy(clips.astype(np.float32))


def best(run: Callable[[], Any], repeats: int) -> float:
    """Return the shortest time of some runs, in seconds, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def with_librosa(y: Any, names: list[str]) -> None:
    """Compute features of one clip with librosa, sharing one spectrum as a careful user would."""
    S = np.abs(librosa.stft(y))
    mel = librosa.feature.melspectrogram(S=S**2, sr=SR)
    if {"harmonic", "percussive"} & set(names):
        for part in librosa.decompose.hpss(S):
            librosa.power_to_db(librosa.feature.melspectrogram(S=part**2, sr=SR))
    single: dict[str, Callable[[], Any]] = {
        "chroma": lambda: librosa.feature.chroma_stft(S=S**2, sr=SR),
        "rms": lambda: librosa.feature.rms(y=y),
        "loudness": lambda: librosa.feature.rms(y=y),
        "onset_rate": lambda: librosa.onset.onset_detect(y=y, sr=SR),
        "centroid": lambda: librosa.feature.spectral_centroid(S=S, sr=SR),
        "bandwidth": lambda: librosa.feature.spectral_bandwidth(S=S, sr=SR),
        "rolloff": lambda: librosa.feature.spectral_rolloff(S=S, sr=SR),
        "flatness": lambda: librosa.feature.spectral_flatness(S=S),
        "contrast": lambda: librosa.feature.spectral_contrast(S=S, sr=SR),
        "zcr": lambda: librosa.feature.zero_crossing_rate(y),
        "mfcc": lambda: librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=SR),
        "input": lambda: librosa.power_to_db(mel),
        "cqt": lambda: librosa.amplitude_to_db(np.abs(librosa.cqt(y, sr=SR))),
        "tonnetz": lambda: librosa.feature.tonnetz(y=y, sr=SR),
        "onset_strength": lambda: librosa.onset.onset_strength(S=librosa.power_to_db(mel), sr=SR),
        "tempo": lambda: librosa.feature.tempo(y=y, sr=SR),
    }
    for name in names:
        single.get(name, lambda: None)()


def all_with_librosa(clips: list[Any], names: list[str]) -> None:
    """Compute features of several clips with librosa, one after the other."""
    for y in clips:
        with_librosa(y, names)


def row(name: str, ours: float, theirs: float) -> None:
    """Print one line of the table."""
    print(f"{name:28s} {1000 * ours:10.1f} {1000 * theirs:12.1f} {theirs / ours:8.1f}×", flush=True)


def bench_banks(clips: torch.Tensor, repeats: int) -> None:
    """Each feature by itself, then the default bank and all features at once."""
    arrays = list(clips.numpy())
    groups = {**{name: [name] for name in COMPARED}, "default bank": DEFAULT, "all of these at once": COMPARED}
    for label, names in groups.items():
        bank = FeatureBank(names, SR)
        row(label, best(partial(bank, clips), repeats), best(partial(all_with_librosa, arrays, names), 1))


def bench_hpss(clips: torch.Tensor, repeats: int) -> None:
    """The decomposition alone, on given spectrograms: as installed, and without compiled code."""
    S = functional.stft(clips).abs()
    arrays = [np.ascontiguousarray(s) for s in S.numpy()]
    theirs = best(lambda: list(map(librosa.decompose.hpss, arrays)), 2)
    row("hpss", best(lambda: functional.hpss(S), repeats), theirs)
    with mock.patch.object(
        import_module("lightning_dissect.features.functional.hpss"), "_compiled_code", return_value=None
    ):
        row("hpss without numba", best(lambda: functional.hpss(S), repeats), theirs)


def bench_growth(repeats: int) -> None:
    """Print how time grows with the length of the clips, from 5 to 40 s: 1 is linear."""
    bank = FeatureBank(DEFAULT, SR)
    lengths = [5, 10, 20, 40]
    times = [best(partial(bank, make_clips(seconds)), repeats) for seconds in lengths]
    exponent = np.polyfit(np.log(lengths), np.log(times), 1)[0]
    listed = ", ".join(f"{1000 * t:.0f} ms for {n} s" for n, t in zip(lengths, times, strict=True))
    print(f"growth in samples, default bank: exponent {exponent:.2f} ({listed})")


def bench_memory(clips: torch.Tensor) -> None:
    """Print the most memory that tensors take at a time, results included, over that of the largest result."""
    bank = FeatureBank(DEFAULT, SR)
    bank(clips)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        results = bank(clips)
    # What each allocation adds and each release takes away, in order of time.
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    largest = max(feature.values.nbytes for feature in results.values())
    print(
        f"peak memory, default bank: {taken.max() / largest:.2f} times its largest output (goal: at most 4), "
        f"{taken.max() / 1e6:.1f} MB, {taken.max() / clips.nbytes:.1f} times the audio"
    )


def bench_gpu(repeats: int) -> None:
    """Clips a second on a GPU, and the share of its memory bandwidth that the least possible traffic takes."""
    bank, clips = FeatureBank(DEFAULT, SR).cuda(), make_clips().repeat(8, 1).cuda()
    large = torch.empty(1 << 28, device="cuda")

    def timed(work: Callable[[], Any]) -> float:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return best(run, repeats)

    seconds, bandwidth = timed(partial(bank, clips)), 2 * large.nbytes / timed(large.clone)
    # The audio, the spectrum, its two medians and the two parts, each written and read once.
    least = clips.nbytes + 2 * 5 * 4 * len(clips) * 1025 * bank.frames(clips.shape[1])
    print(
        f"GPU {torch.cuda.get_device_name()}: {len(clips) / seconds:.0f} clips of {SECONDS} s a second, default bank,"
    )
    print(f"{least / bandwidth / seconds:.1%} of the memory-bandwidth limit ({bandwidth / 1e9:.0f} GB/s)")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    clips = make_clips()
    print(f"{CLIPS} clips of {SECONDS} s at {SR} Hz, {torch.get_num_threads()} threads")
    print(f"{'':28s} {'ours, ms':>10s} {'librosa, ms':>12s} {'ratio':>9s}")
    bench_hpss(clips, repeats)
    bench_banks(clips, repeats)
    bench_growth(repeats)
    bench_memory(clips)
    if torch.cuda.is_available():
        bench_gpu(repeats)


if __name__ == "__main__":
    main()
