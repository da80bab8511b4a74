"""Clips to train on: rendered from sampled General MIDI instruments, or read from a folder of recordings.

Nothing is downloaded: the instruments are those of the soundfont that `pretty_midi` carries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pretty_midi
import pytorch_lightning as pl
import tinysoundfont
import torch
from recordings import read_folder
from scipy.signal import resample_poly
from torch.utils.data import DataLoader, Subset, TensorDataset

Split = Literal["train", "validation"]

RENDER_RATE = 48_000
"""Rendered at this rate and then decimated: the soundfont's player does not filter when it lowers the rate itself."""
DRUM_BANK = 128
HELD_OUT_PITCH = 4
"""Every so many-th MIDI key is for validation only, so that no network can get by on pitches it has heard."""


@dataclass(frozen=True)
class Instrument:
    """A General MIDI program and the keys (inclusive) in which it sounds like itself.

    >>> Instrument("flute", 73, 60, 67).keys("validation")
    [63, 67]
    """

    name: str
    program: int
    low: int
    high: int
    drums: bool = False

    def keys(self, split: Split) -> list[int]:
        """MIDI keys that this split's clips may use; the splits share none."""
        wanted = split == "validation"
        return [key for key in range(self.low, self.high + 1) if (key % HELD_OUT_PITCH == 3) == wanted]


INSTRUMENTS = (
    Instrument("piano", 0, 36, 84),
    Instrument("marimba", 12, 48, 84),
    Instrument("organ", 19, 40, 79),
    Instrument("guitar", 24, 40, 76),
    Instrument("bass", 32, 28, 55),
    Instrument("violin", 40, 55, 91),
    Instrument("trumpet", 56, 54, 82),
    Instrument("clarinet", 71, 50, 86),
    Instrument("flute", 73, 60, 91),
    Instrument("drums", 0, 35, 70, drums=True),
)


@cache
def _synthesizer() -> tuple[tinysoundfont.Synth, int]:
    synthesizer = tinysoundfont.Synth(samplerate=RENDER_RATE)
    return synthesizer, synthesizer.sfload(str(Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"))


def render_phrase(
    instrument: Instrument, keys: Sequence[int], velocities: Sequence[int], sample_rate: int, seconds: float
) -> npt.NDArray[np.float32]:
    """Play keys one after another, evenly over the clip, each held for most of its share.

    Args:
        instrument: what plays.
        keys: MIDI keys, one a note.
        velocities: 1 to 127, one a note.
        sample_rate: of the clip, in Hz.
        seconds: length of the clip.

    Returns:
        Mono waveform [shape=(round(seconds * sample_rate),)].

    >>> render_phrase(INSTRUMENTS[0], [60, 64], [100, 80], sample_rate=12_000, seconds=1.5).shape
    (18000,)
    """
    synthesizer, soundfont = _synthesizer()
    synthesizer.sounds_off()
    synthesizer.generate(RENDER_RATE // 10)  # the clip before fades out here
    bank = DRUM_BANK if instrument.drums else 0
    synthesizer.program_select(0, soundfont, bank, instrument.program, instrument.drums)
    bounds = np.linspace(0, round(seconds * RENDER_RATE), len(keys) + 1).astype(int)
    parts = []
    for key, velocity, share in zip(keys, velocities, np.diff(bounds), strict=True):
        held = int(0.85 * share)
        synthesizer.noteon(0, key, velocity)
        parts.append(np.frombuffer(synthesizer.generate(held), np.float32))
        synthesizer.noteoff(0, key)
        parts.append(np.frombuffer(synthesizer.generate(int(share) - held), np.float32))
    mono = np.concatenate(parts).reshape(-1, 2).mean(axis=1)
    common = np.gcd(RENDER_RATE, sample_rate)
    clip = resample_poly(mono, sample_rate // common, RENDER_RATE // common)[: round(seconds * sample_rate)]
    return np.asarray(clip, np.float32)


def render_clip(
    instrument: Instrument, split: Split, rng: np.random.Generator, sample_rate: int, seconds: float
) -> npt.NDArray[np.float32]:
    """Render a random clip: 1 to 6 notes of random pitch and velocity, at a random level (peak −24 to −1 dBFS).

    The number of notes makes the onset rate vary and the level makes the loudness vary, whatever the instrument:
    otherwise either would only tell which instrument plays.
    """
    n_notes = int(rng.integers(1, 7))
    keys = [int(key) for key in rng.choice(instrument.keys(split), n_notes)]
    velocities = [int(velocity) for velocity in rng.integers(50, 128, n_notes)]
    clip = render_phrase(instrument, keys, velocities, sample_rate, seconds)
    peak = np.abs(clip).max()
    if peak == 0:
        raise ValueError(f"{instrument.name} is silent at the MIDI keys {keys}: narrow its range of keys")
    return clip * np.float32(10 ** (rng.uniform(-24, -1) / 20) / peak)


def render_clips(n_clips: int, split: Split, sample_rate: int, seconds: float, seed: int = 0) -> TensorDataset:
    """Render clips of all instruments in turn; equal arguments give equal clips.

    Returns:
        Items `(waveform [shape=(samples,)], label [shape=()])`, the label an index into `INSTRUMENTS`.
    """
    labels = torch.arange(n_clips) % len(INSTRUMENTS)
    clips = [
        render_clip(INSTRUMENTS[label], split, np.random.default_rng([seed, split == "train", n]), sample_rate, seconds)
        for n, label in enumerate(labels.tolist())
    ]
    return TensorDataset(torch.from_numpy(np.stack(clips)), labels)


class InstrumentData(pl.LightningDataModule):
    """Training and validation clips, rendered or (with `audio`) read from a folder that holds one folder a class.

    Batches are `(waveform (B, samples), label (B,))`.

    Args:
        audio: folder of the user's own recordings; None renders instruments.
        sample_rate: in Hz; recordings at other rates are resampled.
        seconds: length of every clip; recordings are cut to their centre or padded.
        n_train: rendered clips to train on; with `audio`, at most so many recordings.
        n_validation: the same for validation.
        batch_size: clips a batch.
    """

    def __init__(
        self,
        audio: Path | None = None,
        sample_rate: int = 12_000,
        seconds: float = 3.0,
        n_train: int = 800,
        n_validation: int = 160,
        batch_size: int = 16,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        if audio is None:
            self.classes = tuple(instrument.name for instrument in INSTRUMENTS)
            self.train = render_clips(n_train, "train", sample_rate, seconds)
            self.validation = render_clips(n_validation, "validation", sample_rate, seconds)
        else:
            recordings = read_folder(audio, sample_rate, seconds)
            for path, reason in recordings.skipped:
                print(f"skipped {path}: {reason}")
            self.classes = recordings.classes
            self.train = recordings.split("train", n_train)
            self.validation = recordings.split("validation", n_validation)

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Shuffled training clips; an incomplete last batch is left out."""
        drop_last = len(self.train) >= self.batch_size
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Validation clips in a random order that never changes, so that neighbours in a batch differ in class."""
        order = torch.randperm(len(self.validation), generator=torch.Generator().manual_seed(0)).tolist()
        return DataLoader(Subset(self.validation, order), self.batch_size)
