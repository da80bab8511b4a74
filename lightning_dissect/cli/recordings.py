"""Recordings in a folder as clips of one length."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor
from torch.utils.data import default_collate

from lightning_dissect.cli.terminal import complain

SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav")


def read_clip(path: Path, sample_rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """Read the middle of a recording as mono, at another rate.

    Args:
        path: The recording.
        sample_rate: The rate of the clip, in Hz.
        seconds: The longest that the clip may be.

    Returns:
        The clip, shape ``(samples,)``, shorter than asked for if the recording is.

    Raises:
        ModuleNotFoundError: If soundfile is missing.
        ValueError: If the file cannot be read, is empty, ends before its middle has, or holds values that are not
            finite.
    """
    soundfile = _soundfile()
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no regular file")
        with soundfile.SoundFile(path) as file:
            wanted = min(round(seconds * file.samplerate), file.frames)
            file.seek((file.frames - wanted) // 2)
            mono = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
            rate = file.samplerate
        if not mono.size:
            raise ValueError("it is empty")
        if len(mono) < wanted:
            raise ValueError("it ends before its middle does")
        if not np.isfinite(mono).all():
            raise ValueError("it holds samples that are not finite")
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as audio: {error}") from error
    clip: npt.NDArray[np.float32] = soxr.resample(mono, rate, sample_rate).astype(np.float32)
    return clip


class Recordings:
    """All the recordings below a folder in batches, each cut to its middle or padded with silence.

    A batch is ``{"waveform": (clips, samples), "lengths": (clips,)}``; lengths count the samples that are no padding.
    Each recording is read once, when its turn comes: what cannot be read then is named on stderr and left out.

    Args:
        folder: Is searched at any depth for wav, flac, mp3, ogg, opus and aiff files.
        sample_rate: In Hz.
        seconds: Length of a clip.
        batch_size: Clips at a time.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no recording in it, or, when all have had their turn, none that can be read.
    """

    def __init__(self, folder: Path, sample_rate: int, seconds: float, batch_size: int) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"--data {folder}: no such folder; a folder of recordings is needed.")
        self.folder = folder
        self.files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.files:
            raise self._nothing()
        self.sample_rate, self.seconds, self.batch_size = sample_rate, seconds, batch_size

    def __len__(self) -> int:
        """Batches, at most."""
        return -(-len(self.files) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        clips, found = self._clips(), False
        while batch := list(islice(clips, self.batch_size)):
            found = True
            yield default_collate(batch)
        if not found:
            raise self._nothing()

    def _clips(self) -> Iterator[dict[str, Any]]:
        for file in self.files:
            try:
                clip = read_clip(file, self.sample_rate, self.seconds)
            except ValueError as error:
                complain(f"left out: {error}")
                continue
            whole = np.zeros(round(self.seconds * self.sample_rate), np.float32)
            whole[: len(clip)] = clip[: len(whole)]
            yield {"waveform": torch.from_numpy(whole), "lengths": min(len(clip), len(whole))}

    def _nothing(self) -> ValueError:
        kinds = ", ".join(SUFFIXES)
        return ValueError(f"--data {self.folder}: none of {len(self.files)} recordings can be read ({kinds}).")


def _soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        message = "Recordings are read by the package soundfile: pip install 'lightning-dissect[audio]'."
        raise ModuleNotFoundError(message, name="soundfile") from error
    return soundfile
