"""Read a folder of recordings that holds one folder a class."""

from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from scipy.signal import resample_poly
from torch.utils.data import TensorDataset

SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")
SHORTEST = 0.25
"""Seconds; below that a recording has next to nothing to listen to."""
EVERY_NTH_VALIDATES = 5


class UnusableRecordingError(ValueError):
    """A recording that cannot be trained on; the message says why."""


def read_clip(path: Path, sample_rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """Read the centre of a recording as mono, resampled and padded with silence at its end.

    Returns:
        Waveform [shape=(round(seconds * sample_rate),)].

    Raises:
        UnusableRecordingError: the file cannot be read, is empty, shorter than `SHORTEST`, or holds NaN or infinity.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, n_wanted = file.samplerate, round(seconds * file.samplerate)
            file.seek(max(file.frames - n_wanted, 0) // 2)
            mono = file.read(n_wanted, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, OSError) as error:
        raise UnusableRecordingError(f"unreadable ({error})") from error
    if mono.size == 0:
        raise UnusableRecordingError("empty")
    if mono.size < SHORTEST * rate:
        raise UnusableRecordingError(f"too short ({mono.size / rate:.2f} s; at least {SHORTEST} s are needed)")
    if not np.isfinite(mono).all():
        raise UnusableRecordingError("holds samples that are NaN or infinite")
    common = gcd(rate, sample_rate)
    resampled = resample_poly(mono, sample_rate // common, rate // common)
    clip = np.zeros(round(seconds * sample_rate), np.float32)
    clip[: resampled.size] = resampled[: clip.size]
    return clip


@dataclass(frozen=True)
class Recordings:
    """The usable recordings of a folder.

    Attributes:
        waveforms: [shape=(clips, samples)]
        labels: index into `classes` [shape=(clips,)]
        validates: whether a clip is for validation [shape=(clips,)]
        classes: names of the folders.
        skipped: what was left out, and why.
    """

    waveforms: torch.Tensor
    labels: torch.Tensor
    validates: torch.Tensor
    classes: tuple[str, ...]
    skipped: tuple[tuple[Path, str], ...]

    def split(self, split: Literal["train", "validation"], at_most: int) -> TensorDataset:
        """Clips of one split, spread evenly over the classes' files where there are more than `at_most`."""
        chosen = torch.nonzero(self.validates == (split == "validation")).flatten()
        if len(chosen) > at_most:
            chosen = chosen[torch.linspace(0, len(chosen) - 1, at_most).long()]
        return TensorDataset(self.waveforms[chosen], self.labels[chosen])


def read_folder(folder: Path, sample_rate: int, seconds: float) -> Recordings:
    """Read every wav, flac, ogg and mp3 file below each folder of `folder`; the folder's name is the class.

    Of each class, every fifth usable file is for validation, the first one included. A class needs two usable files.

    Raises:
        ValueError: `folder` is no folder, or has fewer than two usable classes; what was skipped is in the message.
    """
    if not folder.is_dir():
        raise ValueError(f"audio: {folder} is not a folder; it has to hold one folder of recordings a class")
    clips: list[npt.NDArray[np.float32]] = []
    labels: list[int] = []
    validates: list[bool] = []
    classes: list[str] = []
    skipped: list[tuple[Path, str]] = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        usable = _read_class(class_folder, sample_rate, seconds, skipped)
        if len(usable) < 2:
            skipped.append(
                (class_folder, f"{len(usable)} usable recordings; it takes one to train and one to validate")
            )
            continue
        clips += usable
        labels += [len(classes)] * len(usable)
        validates += [n % EVERY_NTH_VALIDATES == 0 for n in range(len(usable))]
        classes.append(class_folder.name)
    if len(classes) < 2:
        reasons = "".join(f"\n  skipped {path}: {reason}" for path, reason in skipped)
        raise ValueError(
            f"audio: {folder} has {len(classes)} usable classes, at least two are needed: one folder each, "
            f"with {', '.join(SUFFIXES)} files in it{reasons}"
        )
    waveforms = torch.from_numpy(np.stack(clips))
    return Recordings(waveforms, torch.tensor(labels), torch.tensor(validates), tuple(classes), tuple(skipped))


def _read_class(
    folder: Path, sample_rate: int, seconds: float, skipped: list[tuple[Path, str]]
) -> list[npt.NDArray[np.float32]]:
    """Clips of all usable recordings below `folder`; the others are added to `skipped`."""
    usable = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            usable.append(read_clip(path, sample_rate, seconds))
        except UnusableRecordingError as error:
            skipped.append((path, str(error)))
    return usable
