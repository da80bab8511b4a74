"""What a run leaves behind: files in the run's folder, and what the loggers are given."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning_utilities.core.rank_zero import rank_zero_warn
from matplotlib.figure import Figure

from lightning_dissect import loggers
from lightning_dissect.audio import save_playlists
from lightning_dissect.clip_values import ClipValues
from lightning_dissect.dissection import Dissection
from lightning_dissect.loggers.scalars import summarise
from lightning_dissect.loggers.watch import Watch, followed
from lightning_dissect.playlist import Played
from lightning_dissect.report import (
    against_chance,
    best_matches,
    choose_followed,
    heat_map,
    overview,
    render,
    scatter,
    trajectories,
)
from lightning_dissect.report.run_folder import PICTURES
from lightning_dissect.report.style import encode_png, style
from lightning_dissect.scores import Scores, base_feature, read_table

_MOST_EPOCHS_DRAWN = 60
_MOST_LAYERS_DRAWN = 8
"""Of more layers, these are spread over the network's depth."""


def publish(
    trainer_loggers: Sequence[Any],
    folder: Path,
    scores: Scores,
    labels: pd.DataFrame,
    run: Dissection,
    values: ClipValues,
    played: Played | None,
    watch: Watch,
) -> None:
    """Write the files of a run and give the loggers what they can show of it; of several processes, one does this.

    Args:
        trainer_loggers: the trainer's.
        folder: of this callback's files; its name is what all tags begin with.
        scores: the scores of the run.
        labels: of its units.
        run: the run.
        values: some of its clips.
        played: its playlists.
        watch: single units to follow.
    """
    name, table = folder.name, scores.last()
    epoch, step = (int(table[column].iloc[0]) for column in ("epoch", "step")) if len(table) else (0, 0)
    files = [scores.save(folder / f"epoch={epoch:04d}-step={step:08d}.parquet")]
    players: list[loggers.Player] = []
    if played is not None:
        playlists = save_playlists(played, folder, run.bank.analysis.sample_rate, epoch=epoch, step=step)
        players = list(_players(labels, playlists, folder))
        files.append(folder / "playlist.parquet")
    figures = chain(_figures(scores, labels, run, values), _history(folder, labels))
    with style():
        pictures = {tag: _as_picture(figure) for tag, figure in figures if figure is not None}
    _save_pictures(pictures, folder / PICTURES)
    shown = {f"{name}{tag}": picture for tag, picture in pictures.items()}
    scalars = summarise(scores, labels, name) | followed(scores, watch, name)
    loggers.write(trainer_loggers, loggers.Contents(name, step, scores, labels, scalars, shown, players, files))


def _figures(
    scores: Scores, labels: pd.DataFrame, run: Dissection, values: ClipValues
) -> Iterator[tuple[str, Figure | None]]:
    table, layers = scores.last(), labels["layer"].astype(str).unique().tolist()
    layers = layers[:: max(1, -(-len(layers) // _MOST_LAYERS_DRAWN))]
    units = {name: str(getattr(feature, "unit", "")) for name, feature in run.bank.features.items()}
    yield "/overview", overview(labels, list(run.bank.names))
    for layer in layers:
        rows = table[table["layer"] == layer]
        yield f".{layer}/units", heat_map(rows, layer)
        yield f".{layer}/chance", against_chance(rows, layer)
        yield f".{layer}/clips", scatter(rows, layer, values, units)
        for _, figure in best_matches(rows, run.examples, run.metrics).items():
            yield f".{layer}/sift", figure


def _as_picture(figure: Figure) -> loggers.Picture:
    pixels = render(figure)
    return loggers.Picture(pixels, encode_png(pixels))


def _history(folder: Path, labels: pd.DataFrame) -> Iterator[tuple[str, Figure | None]]:
    """The picture of the best units over the epochs so far, read back from their files."""
    units = choose_followed(labels)
    files = sorted(folder.glob("epoch=*.parquet"))
    if units.empty or len(files) < 2:
        return
    every = -(-len(files) // _MOST_EPOCHS_DRAWN)
    chosen = tuple(units["unit"].astype(int).unique().tolist())
    parts = [part for file in files[::-every][::-1] if len(part := _read_units(file, chosen))]
    yield "/epochs", trajectories(Scores(pd.concat(parts, ignore_index=True)), units)


def _read_units(file: Path, units: Sequence[int]) -> pd.DataFrame:
    """Some units' scores of one epoch; none, and a warning, if its file cannot be read."""
    try:
        return read_table(file, units)[0]
    except ValueError as error:
        _warn_of(file, str(error))
        return pd.DataFrame()


@cache
def _warn_of(file: Path, error: str) -> None:
    """Say it once, not in every epoch that follows."""
    rank_zero_warn(f"lightning_dissect leaves {file} out of the picture of all epochs: {error}")


def _save_pictures(pictures: Mapping[str, loggers.Picture], folder: Path) -> None:
    """Write each picture as ``<layer>/<picture>.png``, over that of the run before."""
    for tag, picture in pictures.items():
        path = folder / f"{tag[1:]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(picture.png)
        partial.replace(path)


def _players(labels: pd.DataFrame, playlists: pd.DataFrame, folder: Path) -> Iterator[loggers.Player]:
    """Excerpts of the unit that follows each feature best: one with audio, and that rises with it, if there is one."""
    named = labels.dropna(subset="feature")
    named = named.assign(feature=base_feature(named["feature"]), size=-named["effect"].abs(), falls=named["effect"] < 0)
    heard = playlists.dropna(subset="file").astype({"layer": object})
    best = named.sort_values(["falls", "q_value", "size"], kind="stable").astype({"layer": object, "unit": int})
    best = best.merge(heard[["layer", "unit"]].drop_duplicates()).drop_duplicates("feature")
    for unit in best.to_dict("records"):
        rows = heard[(heard["layer"] == unit["layer"]) & (heard["unit"] == unit["unit"])]
        way = f"{'falls' if unit['falls'] else 'rises'} with {unit['feature']}"
        for row in rows.to_dict("records"):
            moment = "" if np.isnan(row["time"]) else f" at {row['time']:.2f} s"
            caption = f"{row['layer']}, unit {row['unit']}, {way}: clip {row['clip']}{moment}"
            tag = f"{folder.name}/playlist/{unit['feature']}/{row['rank']}"
            yield loggers.Player(tag, caption, folder / row["file"])
