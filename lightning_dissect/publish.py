"""What a run leaves behind: files in the run's folder, and what the loggers are given."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightning_utilities.core.rank_zero import rank_zero_warn
from matplotlib.figure import Figure

from lightning_dissect import loggers
from lightning_dissect.files import Place, is_inside, whole
from lightning_dissect.files.earlier import Earlier
from lightning_dissect.files.layout import TABLE, UNTRAINED, Stage, leads_out, list_scores, picture_file, score_file
from lightning_dissect.loggers.folder import run_folder
from lightning_dissect.loggers.scalars import summarise
from lightning_dissect.loggers.watch import Watch, watched_scores
from lightning_dissect.report import (
    against_chance,
    best_matches,
    choose_followed,
    correlations,
    detectors,
    heat_map,
    overview,
    render,
    scatter,
    trajectories,
)
from lightning_dissect.report.style import encode_png
from lightning_dissect.run.clip_values import ClipValues
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.run.playlist import Played
from lightning_dissect.run.playlist_files import save_playlists
from lightning_dissect.run.processes import gather
from lightning_dissect.scores import Scores, base_feature, list_features, order_of_kind
from lightning_dissect.scores.storage import read_table, write_table

_MOST_EPOCHS_DRAWN = 60
_MOST_LAYERS_DRAWN = 8
"""Of more layers, these are spread over the network's depth."""


class Findings(NamedTuple):
    """What a run has found, for people to see; ``values`` are those of some clips, ``played`` the playlists, if any."""

    run: Dissection
    scores: Scores
    labels: pd.DataFrame
    values: ClipValues
    played: Played | None


def score_folders(trainer: Any, index: int) -> tuple[Place, Place]:
    """The folders for a callback's files in that of the logger's run: of fits and validations, and of tests.

    The index is that of the callback among those of its kind: the second writes beside the first, so that neither
    overwrites the other.
    """
    logs = run_folder(trainer.loggers[0], trainer.default_root_dir)
    name = f"dissect{index + 1 if index else ''}"
    return logs / name, logs / f"{name}-test"


def publish_baseline(baseline: Scores, trainer: Any, index: int, earlier: Earlier) -> None:
    """Write the scores of untrained copies, where a fit writes its own; of several processes, one does this.

    Raises:
        OSError: If they cannot be written.
        ValueError: As :func:`publish` does.
    """
    if trainer.is_global_zero and trainer.loggers:
        folders = score_folders(trainer, index)
        earlier.make_way(folders[0] / UNTRAINED, folders, fitting=True)
        _check_folder(folders[0])
        write_table(baseline.table, baseline.settings, folders[0] / UNTRAINED)


def find_baseline(trainer: Any, index: int, settings: Mapping[str, Any]) -> Scores | None:
    """The scores of untrained copies that a fit which goes on has written, if they were made with these settings.

    Processes that find none get those that the first has found.
    """
    found: Scores | None = None
    if trainer.is_global_zero and trainer.loggers and trainer.global_step:
        file = score_folders(trainer, index)[0] / UNTRAINED
        with suppress(ValueError, OSError):  # one that cannot be read is made again
            known = Scores(*read_table(file))
            if all(known.settings.get(name) == value for name, value in json.loads(json.dumps(settings)).items()):
                found = known
    first: Scores | None = gather(found)[0]
    return first


def publish(findings: Findings, trainer: Any, index: int, earlier: Earlier, watch: Watch) -> None:
    """Write the files of a run and give the loggers what they can show of it; of several processes, one does this.

    Raises:
        OSError: If something cannot be written.
        ValueError: If the folder is a link that leads out of the folder of the logger's run.
    """
    if not trainer.is_global_zero:
        return
    run, scores, labels, _, played = findings
    folders = score_folders(trainer, index)
    folder = folders[trainer.testing]
    stage: Stage = "test" if trainer.testing else "validate"
    file = folder / score_file(stage, trainer.current_epoch, trainer.global_step)
    earlier.make_way(file, folders, fitting=trainer.state.fn == "fit")
    _check_folder(folder)
    name, epoch, step = folder.name, trainer.current_epoch, trainer.global_step
    write_table(scores.table, scores.settings, file)
    files = [file]
    players: list[loggers.Player] = []
    if played is not None:
        playlists = save_playlists(played, folder, run.bank.analysis.sample_rate, epoch=epoch, step=step)
        players = list(_players(labels, playlists, folder))
        files.append(folder / TABLE)
    controls = list_features(scores.last())[1]
    found = labels[~base_feature(labels["feature"]).isin(controls)]
    figures = chain(_figures(findings), _history(folder, found))
    pictures = {drawn: encode_png(render(figure)) for drawn, figure in figures if figure is not None}
    _save_pictures(pictures, folder)
    shown = {f"{name}{drawn.tag}": png for drawn, png in pictures.items()}
    scalars = summarise(scores, labels, name) | watched_scores(scores, watch, name)
    loggers.write(trainer.loggers, loggers.Contents(name, step, scores, labels, scalars, shown, players, files))


def _check_folder(folder: Place) -> None:
    if not is_inside(folder, folder.parent):
        raise ValueError(f"{folder} is a link that leads out of the run's folder: nothing is written there. Remove it.")


class _Drawn(NamedTuple):
    """A picture's name, and the layer that it is of; ``None`` for the network."""

    name: str
    layer: str | None = None

    @property
    def tag(self) -> str:
        return f"/{self.name}" if self.layer is None else f".{self.layer}/{self.name}"


def _figures(findings: Findings) -> Iterator[tuple[_Drawn, Figure | None]]:
    run, scores, labels, values, _ = findings
    table, layers = scores.last(), labels["layer"].astype(str).unique().tolist()
    layers = layers[:: max(1, -(-len(layers) // _MOST_LAYERS_DRAWN))]
    units = {name: str(getattr(feature, "unit", "")) for name, feature in run.bank.features.items()}
    yield _Drawn("overview"), overview(labels)
    yield _Drawn("detectors"), detectors(labels, *list_features(table))
    yield _Drawn("correlations"), correlations(values.features())
    for layer in layers:
        rows = table[table["layer"] == layer]
        yield _Drawn("units", layer), heat_map(rows, layer)
        yield _Drawn("chance", layer), against_chance(rows, layer)
        yield _Drawn("clips", layer), scatter(rows, layer, values, units)
        for _, figure in best_matches(rows, run.drawn, run.metrics).items():
            yield _Drawn("sift", layer), figure


def _history(folder: Place, labels: pd.DataFrame) -> Iterator[tuple[_Drawn, Figure | None]]:
    """The picture of the best units over the epochs so far, read back from their files."""
    units = choose_followed(labels)
    files = list_scores(folder)
    if units.empty or len(files) < 2:
        return
    every = -(-len(files) // _MOST_EPOCHS_DRAWN)
    chosen = tuple(units["unit"].astype(int).unique().tolist())
    parts = [part for file in files[::-every][::-1] if len(part := _read_units(file, chosen))]
    yield _Drawn("epochs"), trajectories(Scores(pd.concat(parts, ignore_index=True)), units)


def _read_units(file: Place, units: Sequence[int]) -> pd.DataFrame:
    """Some units' scores of one epoch; none, and a warning, if its file cannot be read."""
    try:
        return read_table(file, units)[0]
    except ValueError as error:
        _warn_of(file, str(error))
        return pd.DataFrame()


@cache
def _warn_of(file: Place, error: str) -> None:
    """Say it once, not in every epoch that follows."""
    rank_zero_warn(f"lightning_dissect leaves {file} out of the picture of all epochs: {error}")


def _save_pictures(pictures: Mapping[_Drawn, bytes], folder: Place) -> None:
    """Write each picture over that of the run before."""
    for drawn, png in pictures.items():
        path = folder / picture_file(*drawn)
        if not leads_out(path.parent, folder):
            with whole(path) as file:
                file.write(png)


def _players(labels: pd.DataFrame, playlists: pd.DataFrame, folder: Place) -> Iterator[loggers.Player]:
    """Excerpts of the unit that follows each feature best: distinct and rising with it if there is one."""
    named = labels.dropna(subset="feature")
    named = named.assign(
        feature=base_feature(named["feature"]),
        size=-named["effect"].abs(),
        falls=named["effect"] < 0,
        order=order_of_kind(named),
        kind=named["kind"].fillna("untested"),
    )
    heard = playlists.dropna(subset="file").astype({"layer": object})
    best = named.sort_values(["order", "falls", "q_value", "size"], kind="stable").astype(
        {"layer": object, "unit": int}
    )
    best = best.merge(heard[["layer", "unit"]].drop_duplicates()).drop_duplicates("feature")
    for unit in best.to_dict("records"):
        rows = heard[(heard["layer"] == unit["layer"]) & (heard["unit"] == unit["unit"])]
        way = f"{'falls' if unit['falls'] else 'rises'} with {unit['feature']} ({unit['kind']})"
        for row in rows.to_dict("records"):
            moment = "" if np.isnan(row["time"]) else f" at {row['time']:.2f} s"
            caption = f"{row['layer']}, unit {row['unit']}, {way}: clip {row['clip']}{moment}"
            tag = f"{folder.name}/playlist/{unit['feature']}/{row['rank']}"
            yield loggers.Player(tag, caption, folder / row["file"])
