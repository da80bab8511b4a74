"""What a run leaves behind: files in the run's folder, and what the loggers are given."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from PIL import Image

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
from lightning_dissect.scores import Scores, base_feature

_MOST_EPOCHS_DRAWN = 60
_MOST_LAYERS_DRAWN = 8
"""A layer's pictures take about a second; of more layers, these are spread over the network's depth."""


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
    figures = _figures(scores, labels, run, values) | _history(folder, labels)
    pictures = {f"{name}{tag}": render(figure) for tag, figure in figures.items()}
    _save_pictures({tag.removeprefix(name)[1:]: picture for tag, picture in pictures.items()}, folder / PICTURES)
    scalars = summarise(scores, labels, name) | followed(scores, watch, name)
    loggers.write(trainer_loggers, loggers.Contents(name, step, scores, labels, scalars, pictures, players, files))


def _figures(scores: Scores, labels: pd.DataFrame, run: Dissection, values: ClipValues) -> dict[str, Figure]:
    table, layers = scores.last(), list(dict.fromkeys(labels["layer"].astype(str)))
    layers = layers[:: max(1, -(-len(layers) // _MOST_LAYERS_DRAWN))]
    units = {name: str(getattr(feature, "unit", "")) for name, feature in run.bank.features.items()}
    figures: dict[str, Figure | None] = {"/overview": overview(labels, list(run.bank.names))}
    for layer in layers:
        figures[f".{layer}/units"] = heat_map(table, layer)
        figures[f".{layer}/chance"] = against_chance(table, layer)
        figures[f".{layer}/clips"] = scatter(table, layer, values, units)
    for layer, figure in best_matches(table[table["layer"].isin(layers)], run.examples, run.metrics).items():
        figures[f".{layer}/sift"] = figure
    return {tag: figure for tag, figure in figures.items() if figure is not None}


def _history(folder: Path, labels: pd.DataFrame) -> dict[str, Figure]:
    """The picture of the best units over the epochs so far, read back from their files."""
    units = choose_followed(labels)
    files = sorted(folder.glob("epoch=*.parquet"))
    if units.empty or len(files) < 2:
        return {}
    every = -(-len(files) // _MOST_EPOCHS_DRAWN)
    filters = [("unit", "in", units["unit"].astype(int).unique().tolist())]
    parts = [pq.read_table(file, filters=filters).to_pandas() for file in files[::-every][::-1]]
    figure = trajectories(Scores(pd.concat(parts, ignore_index=True)), units)
    return {} if figure is None else {"/epochs": figure}


def _save_pictures(pictures: dict[str, np.ndarray], folder: Path) -> None:
    """Write each picture as ``<layer>/<picture>.png``, over that of the run before."""
    for tag, picture in pictures.items():
        path = folder / f"{tag}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        Image.fromarray(picture).save(partial, format="png")
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
