"""Audio of many kinds, made when the tests run, and which of it a reference decides about with a margin."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pretty_midi
import pytest
import scipy.ndimage
import tinysoundfont
from numpy.typing import NDArray

SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"


class Clip(NamedTuple):
    kind: str
    sr: int
    hop_length: int
    y: NDArray[np.float32]


def render(
    notes: list[tuple[float, float, int, int]], seconds: float, sr: int = 22_050, program: int = 0, drums: bool = False
) -> NDArray[np.float32]:
    """Render notes (start, duration, key, velocity) with a sampled instrument, mono."""
    synth = tinysoundfont.Synth(samplerate=sr)
    soundfont = synth.sfload(str(SOUNDFONT))
    synth.program_select(0, soundfont, 128 if drums else 0, 0 if drums else program, drums)
    samples = round(seconds * sr)
    events = [(round(start * sr), key, velocity) for start, _, key, velocity in notes]
    events += [(round((start + duration) * sr), key, 0) for start, duration, key, _ in notes]
    audio, position = np.zeros(samples, dtype=np.float32), 0
    for at, key, velocity in sorted([*events, (samples, 0, 0)]):
        at = min(at, samples)
        if at > position:
            stereo = np.frombuffer(synth.generate(at - position), dtype=np.float32).reshape(-1, 2)
            audio[position:at] = stereo.mean(axis=1)
            position = at
        if velocity:
            synth.noteon(0, key, velocity)
        elif key:
            synth.noteoff(0, key)
    return audio


def render_phrase(
    rng: np.random.Generator, seconds: float, sr: int, program: int = 0, drums: bool = False
) -> NDArray[np.float32]:
    """Render a phrase of notes and chords of random length, pitch and loudness."""
    notes: list[tuple[float, float, int, int]] = []
    start = 0.0
    while start < seconds - 0.1:
        duration = float(rng.choice([0.125, 0.25, 0.33, 0.5]))
        keys = rng.integers(35, 60, 1) if drums else rng.integers(40, 85, rng.integers(1, 4))
        notes += [(start, 0.9 * duration, int(key), int(rng.integers(50, 127))) for key in keys]
        start += duration
    return render(notes, seconds, sr, program, drums)


def speech_like(rng: np.random.Generator, samples: int, sr: int) -> NDArray[np.float32]:
    """Pulses of a gliding voice through two formants, in syllables with pauses."""
    time = np.arange(samples) / sr
    pitch = rng.uniform(90, 220) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / sr
    voice = np.zeros(samples)
    for harmonic in range(1, 25):
        strength = sum(np.exp(-(((harmonic * pitch - f) / 150) ** 2)) for f in rng.uniform([300, 1000], [900, 2500]))
        voice += strength * np.sin(harmonic * phase) * (harmonic * pitch < sr / 2)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, None)
    return (0.1 * voice * syllables + 0.01 * rng.normal(size=samples) * (syllables == 0)).astype(np.float32)


def synthetic_clips(rng: np.random.Generator, sr: int, hop_length: int) -> list[Clip]:
    """Make one clip of each synthetic kind."""
    samples = int(rng.uniform(0.3, 0.6) * sr)
    time = np.arange(samples) / sr
    noise = rng.normal(size=samples)
    tones = sum(np.sin(2 * math.pi * rng.uniform(100, 0.2 * sr) * time) for _ in range(4)) / 4
    clicks = np.zeros(samples)
    clicks[rng.integers(0, samples, 5)] = rng.uniform(0.2, 1, 5)
    made = {
        "noise": 0.1 * noise,
        "pink noise": 0.01 * np.cumsum(noise) / np.sqrt(1 + np.arange(samples)),
        "sweep": 0.5 * np.sin(2 * math.pi * (50 * time + 0.2 * sr * time**2 / time[-1])),
        "chord": 0.5 * tones,
        "clicks": clicks,
        "speech-like": speech_like(rng, samples, sr),
        "near-silent": 1e-6 * noise,
        "clipped": np.clip(4 * tones, -1, 1),
        "offset": 0.3 + 0.1 * tones,
        "short": 0.1 * noise[: int(rng.integers(1, 1500))],
    }
    return [Clip(kind, sr, hop_length, y.astype(np.float32)) for kind, y in made.items()]


@pytest.fixture(scope="session")
def many_clips() -> list[Clip]:
    """More than 200 clips of many kinds, rates and hop sizes."""
    rng = np.random.default_rng(2024)
    formats = [(22_050, 512), (22_050, 512), (16_000, 256), (44_100, 512), (8_000, 200), (48_000, 480), (11_025, 128)]
    clips: list[Clip] = []
    for number in range(120):
        sr, hop_length = formats[number % len(formats)]
        drums = number % 5 == 4
        y = render_phrase(rng, rng.uniform(0.35, 0.75), sr, program=number % 112, drums=drums)
        clips.append(Clip("drums" if drums else "instrument", sr, hop_length, y))
    for number in range(9):
        clips += synthetic_clips(rng, *[*formats, (96_000, 1024), (32_000, 320)][number])
    clips.append(Clip("silent", 22_050, 512, np.zeros(9_000, dtype=np.float32)))
    clips.append(Clip("constant", 22_050, 512, np.full(9_000, 0.5, dtype=np.float32)))
    return clips


@pytest.fixture(scope="session")
def phrases() -> Callable[..., NDArray[np.float32]]:
    """Rendered phrases: ``phrases(count, seconds, sr)`` gives an array of shape (count, samples)."""

    def make(count: int, seconds: float = 1.0, sr: int = 22_050, seed: int = 0) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        made = [render_phrase(rng, seconds, sr, program=(7 * i) % 112, drums=i % 4 == 3) for i in range(count)]
        return np.stack(made)

    return make


def nudged(x: NDArray[Any], around: int = 33) -> list[NDArray[Any]]:
    """Change an input by what must not matter: its precision, its level by 1e-6, and noise of 1e-6.

    The noise is relative to the largest of the values around, so that a click's flat spectrum has some, and silence has
    none. Around a magnitude there is only itself.
    """
    level = scipy.ndimage.maximum_filter1d(np.abs(x), min(around, x.shape[-1]), mode="constant")
    noises = (np.random.default_rng(seed).normal(size=x.shape) for seed in range(4))
    changed = [x * (1 + 1e-6), x * (1 - 1e-6), *(x + 1e-6 * level * noise for noise in noises)]
    return [x.astype(np.float64), *(other.astype(x.dtype) for other in changed)]


Reference = Callable[[Any], Any]
Same = Callable[[Any, Any], Any]


def same_decisions(found: Any, expected: Any) -> Any:
    """Which answers are the same, be they in float32 or float64."""
    return np.isclose(found, expected, rtol=1e-6, atol=0, equal_nan=True)


class Margin:
    """Asks a reference for its answers, and leaves out those that rounding could change.

    Where a reference does not keep its own answer when an input is `nudged`, nothing can be held to it.
    """

    def __init__(self, left_out: Callable[[int, int, str], None]) -> None:
        self._note = left_out
        self.left, self.number = 0, 0

    def keeps(self, reference: Reference, x: NDArray[Any], same: Same = same_decisions, around: int = 33) -> bool:
        """Return whether the reference gives the same answer for an input and for all that is near it."""
        kept = all(np.all(alike) for alike in self._alike(reference, x, same, around))
        self.left, self.number = self.left + (not kept), self.number + 1
        return kept

    def where(
        self, reference: Reference, x: NDArray[Any], same: Same = same_decisions, around: int = 33
    ) -> NDArray[np.bool_]:
        """Return which of the reference's answers are the same for an input and for all that is near it."""
        kept: NDArray[np.bool_] = np.logical_and.reduce(list(self._alike(reference, x, same, around)))
        self.left, self.number = self.left + int(np.sum(~kept)), self.number + kept.size
        return kept

    @staticmethod
    def _alike(reference: Reference, x: NDArray[Any], same: Same, around: int) -> Iterator[Any]:
        answer = np.asarray(reference(x))
        for other in nudged(x, around):
            found = np.asarray(reference(other))
            yield same(found, answer) if found.shape == answer.shape else False

    def check(self, what: str = "clips", share: float = 0.1) -> None:
        """Note how much was left out, and hold it to be at most a share of all, rounded up.

        One in ten is twice what any reference but HPCP leaves undecided, whatever the CPU, so that what is compared
        stays nearly all.
        """
        self._note(self.left, self.number, what)
        assert self.left <= math.ceil(share * self.number), f"{self.left} of {self.number} {what} have no margin"


@pytest.fixture
def margin(left_out: Callable[[int, int, str], None]) -> Margin:
    return Margin(left_out)
