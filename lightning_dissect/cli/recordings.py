"""Recordings in a folder as clips of one length."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch.utils.data import Dataset

SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav")


def read_clip(path: Path, sample_rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """Read the middle of a recording as mono, at another rate.

    Args:
        path: of the recording.
        sample_rate: wanted, in Hz.
        seconds: at most so long.

    Returns:
        (samples,), shorter than asked for if the recording is.

    Raises:
        ModuleNotFoundError: if soundfile is missing.
        ValueError: if the file cannot be read, is empty, or holds values that are not finite.
    """
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            wanted = round(seconds * file.samplerate)
            file.seek(max(file.frames - wanted, 0) // 2)
            mono = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
            rate = file.samplerate
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path} cannot be read as audio: {error}") from error
    if not mono.size or not np.isfinite(mono).all():
        raise ValueError(f"{path} is empty, or holds samples that are not finite.")
    clip: npt.NDArray[np.float32] = soxr.resample(mono, rate, sample_rate).astype(np.float32)
    return clip


class Recordings(Dataset[dict[str, Any]]):
    """All the recordings below a folder, each cut to its middle or padded with silence.

    Items are ``{"waveform": (samples,), "lengths": samples that are no padding}``. What cannot be read is named on
    stderr and left out.

    Args:
        folder: is searched at any depth for wav, flac, mp3, ogg, opus and aiff files.
        sample_rate: in Hz.
        seconds: length of a clip.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if no file in it can be read.
    """

    def __init__(self, folder: Path, sample_rate: int, seconds: float) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"--data {folder}: no such folder; a folder of recordings is needed.")
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.files = [path for path in found if _can_be_read(path)]
        if not self.files:
            raise ValueError(f"--data {folder}: none of {len(found)} recordings can be read ({', '.join(SUFFIXES)}).")
        self.sample_rate, self.seconds = sample_rate, seconds

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = read_clip(self.files[index], self.sample_rate, self.seconds)
        whole = np.zeros(round(self.seconds * self.sample_rate), np.float32)
        whole[: len(clip)] = clip[: len(whole)]
        return {"waveform": torch.from_numpy(whole), "lengths": min(len(clip), len(whole))}


def _can_be_read(path: Path) -> bool:
    soundfile = _soundfile()
    try:
        readable = bool(soundfile.info(path).frames)
    except soundfile.SoundFileError:
        readable = False
    if not readable:
        print(f"left out, since it cannot be read: {path}", file=sys.stderr)
    return readable


def _soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        message = "Recordings are read by the package soundfile: pip install 'lightning-dissect[audio]'."
        raise ModuleNotFoundError(message, name="soundfile") from error
    return soundfile
