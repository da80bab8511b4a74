"""Playlists as files: the excerpts as WAV, and the Parquet table that points at them."""

import wave
from typing import Any

import numpy as np
import pandas as pd

from lightning_dissect.files import Place, whole
from lightning_dissect.files.layout import AUDIO, TABLE, leads_out
from lightning_dissect.files.parquet import read_parquet, to_frame
from lightning_dissect.run.excerpts import Excerpt
from lightning_dissect.run.playlist import COLUMNS, Played

_COLUMNS = {"epoch": "int32", "step": "int64", **COLUMNS, "file": "string"}
_NEEDED = [*COLUMNS, "file"]


def write_wav(path: Place, samples: np.ndarray, sample_rate: int) -> None:
    """Write a mono WAV file of 16 bits, wholly or not at all.

    Args:
        path: The file; its folder is made if it is missing.
        samples: (samples,) in [-1, 1]; what lies outside is clipped.
        sample_rate: In Hz.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "tone.wav"
        >>> write_wav(path, np.sin(np.arange(800) / 4), 8_000)
        >>> with wave.open(str(path)) as file:
        ...     file.getnframes(), file.getframerate()
        (800, 8000)
    """
    numbers = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    with whole(path) as raw, wave.open(raw, "wb") as file:
        file.setparams((1, 2, sample_rate, len(numbers), "NONE", ""))
        file.writeframes(numbers.tobytes())


def save_playlists(played: Played, folder: Place, sample_rate: int, **constant: Any) -> pd.DataFrame:
    """Write ``playlist.parquet`` and ``audio/*.wav`` into a folder, in place of those of an earlier run.

    An excerpt that drives several units is written once. If one is louder than full scale, as it is where a data set is
    normalised to unit variance, all are made softer by the same factor: what is louder stays louder.

    Args:
        played: The playlists of a run.
        folder: The folder, which is made if it is missing.
        sample_rate: The rate of the audio, in Hz.
        constant: Columns with one value, such as ``epoch`` and ``step``.

    Returns:
        The table as it was written: that of ``played``, before it the constant columns, and after it ``file``, the path
        of the WAV file from the folder on, missing where the audio was not kept.
    """
    audio = {} if leads_out(folder / AUDIO, folder) else played.audio
    names = {excerpt: f"{AUDIO}/{_name(excerpt)}.wav" for excerpt in audio}
    loudest = max((float(np.abs(samples).max(initial=0)) for samples in audio.values()), default=0.0)
    for excerpt, samples in audio.items():
        write_wav(folder / names[excerpt], samples / max(loudest, 1.0), sample_rate)
    excerpts = map(Excerpt._make, played.table[list(Excerpt._fields)].itertuples(index=False, name=None))
    table = played.table.assign(file=pd.array([names.get(excerpt) for excerpt in excerpts], dtype="string"))
    for place, (name, value) in enumerate(constant.items()):
        table.insert(place, name, value)
    with whole(folder / TABLE) as raw:
        table.to_parquet(raw, index=False, compression="zstd")
    if not leads_out(folder / AUDIO, folder):
        for file in (folder / AUDIO).glob("*.wav"):
            if f"{AUDIO}/{file.name}" not in names.values():
                file.unlink()
    return table


def load_playlists(folder: Place) -> pd.DataFrame:
    """Read the table that :func:`save_playlists` wrote into a folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, or is none of ours.
    """
    path = folder / TABLE
    if not path.exists():
        raise FileNotFoundError(f"{folder}: no {TABLE} here. A run writes it beside its scores, unless playlist=0.")
    name = f"{path}: its table"
    table = to_frame(read_parquet(path, "playlists"), _COLUMNS, name)
    if missing := [column for column in _NEEDED if column not in table]:
        raise ValueError(f"{name} lacks the columns {missing}: playlists need {_NEEDED}.")
    return table


def _name(excerpt: Excerpt) -> str:
    """``clip00031-from1.50s``, after the data loader and the process where these are not the first."""
    parts = [f"clip{excerpt.clip:05d}", f"from{excerpt.start:.2f}s"]
    if excerpt.dataloader:
        parts.insert(0, f"loader{excerpt.dataloader}")
    if excerpt.process:
        parts.insert(0, f"process{excerpt.process}")
    return "-".join(parts)
