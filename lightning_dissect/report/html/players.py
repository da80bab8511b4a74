"""The players of the report: what drives a unit most, to be heard, with the feature that the unit follows."""

import base64
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence

from lightning_dissect.features import FeatureBank
from lightning_dissect.files.layout import TABLE
from lightning_dissect.report.html.history import History
from lightning_dissect.report.run_folder import may_be_read
from lightning_dissect.run.playlist_files import load_playlists
from lightning_dissect.scores import base_feature

_POINTS = 200
"""Of a curve, at most."""
_HEIGHT = 100
_CLIPS = 32
"""Excerpts that are analysed together."""
_SETTINGS = {"sample_rate": 0, "n_fft": 2048, "hop_length": 512}
"""Of the run's analysis, with what stands in where its files do not say; without a rate there are no curves."""
_LARGEST, _MOST_OVERLAP = 2**20, 64
"""Of the settings of a run that may come from elsewhere: more would ask for gigabytes."""


class Players(NamedTuple):
    """What the page plays.

    Attributes:
        units: By ``layer/unit`` (indices) the entries of its playlist, strongest first: ``words``, ``audio`` (an index)
            and, where the feature has a value a frame, its ``feature`` and ``curve`` from 0 to 100.
        audio: WAV files in base64.
    """

    units: dict[str, list[dict[str, Any]]]
    audio: list[str]


def load_players(folder: Path, history: History) -> Players:
    """Read the playlists beside the scores; without any, there is nothing to play."""
    if not may_be_read(folder / TABLE, folder):
        return Players({}, [])
    table = load_playlists(folder).dropna(subset="file")
    files = [str(file) for file in dict.fromkeys(table["file"]) if may_be_read(folder / str(file), folder)]
    table = table[table["file"].isin(files)].sort_values("rank", kind="stable")
    labels = history.labels.dropna(subset="feature")
    followed = {(row.layer, row.unit): str(row.feature) for row in labels.itertuples()}
    curves = _curves(folder, files, sorted(set(base_feature(labels["feature"]))), history.last.settings)
    layers = {layer.name: place for place, layer in enumerate(history.layers)}
    units: dict[str, list[dict[str, Any]]] = {}
    for row in table[table["layer"].isin(list(layers))].itertuples():
        feature = followed.get((row.layer, row.unit), "")
        entry: dict[str, Any] = {"words": _describe(row), "audio": files.index(str(row.file))}
        curve = curves.get((str(row.file), feature))
        if curve is not None:
            entry |= {"feature": feature, "curve": curve}
        units.setdefault(f"{layers[str(row.layer)]}/{row.unit}", []).append(entry)
    return Players(units, [base64.b64encode((folder / file).read_bytes()).decode() for file in files])


def _describe(row: Any) -> str:
    peak = "" if pd.isna(row.time) else f", strongest at {row.time:.2f} s"
    return f"{row.rank}. Clip {row.clip}, {row.start:.2f} to {row.end:.2f} s{peak} (activation {row.activation:.3g})"


def _curves(
    folder: Path, files: list[str], features: list[str], settings: Mapping[str, Any]
) -> dict[tuple[str, str], list[int]]:
    """Each row of the features over each excerpt, where all its values are known.

    Features of the user's own, which have no name here, and those that meet maps only are left out.
    """
    banks = list(_banks(features, settings))
    curves: dict[tuple[str, str], list[int]] = {}
    for start in range(0, len(files), _CLIPS):
        some = files[start : start + _CLIPS]
        clips = [_read(folder / file) for file in some]
        waveform, lengths = pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])
        for bank in banks:
            with torch.no_grad():
                found = bank(waveform, lengths)
            for values, level, rows, _ in found.values():
                if level == "clip" or not rows:
                    continue
                for file, clip, own in zip(some, values, lengths.tolist(), strict=True):
                    for row, line in zip(rows, clip[:, : bank.frames(own)], strict=True):
                        if line.isfinite().all():
                            curves[file, row] = _scale(line.numpy())
    return curves


def _banks(features: list[str], settings: Mapping[str, Any]) -> Iterator[FeatureBank]:
    numbers = {name: settings.get(name, usual) for name, usual in _SETTINGS.items()}
    if not all(isinstance(number, int) and 0 < number <= _LARGEST for number in numbers.values()):
        return
    if numbers["n_fft"] > _MOST_OVERLAP * numbers["hop_length"]:
        return
    for feature in features:
        try:
            yield FeatureBank([feature], **numbers)
        except ValueError:
            continue


def _scale(line: np.ndarray) -> list[int]:
    """A curve of few points from 0 (its least value) to 100 (its largest)."""
    line = line[:: max(1, -(-len(line) // _POINTS))]
    low, high = float(line.min()), float(line.max())
    return [round(value) for value in ((line - low) / max(high - low, 1e-12) * _HEIGHT).tolist()]


def _read(path: Path) -> torch.Tensor:
    try:
        with wave.open(str(path)) as file:
            kind, frames = (file.getnchannels(), file.getsampwidth()), file.getnframes()
            # What the header says may be more than there is memory for.
            content = file.readframes(frames) if 0 < 2 * frames <= path.stat().st_size else b""
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} cannot be read as WAV: {error or 'it ends too early'}.") from error
    if kind != (1, 2) or not frames or len(content) != 2 * frames:
        raise ValueError(f"{path} is no mono WAV file of 16 bits, or is empty or ends too early.")
    return torch.from_numpy(np.frombuffer(content, "<i2").astype(np.float32) / 32768)
