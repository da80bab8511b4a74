"""A run over its epochs, as arrays: what the report draws."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_dissect.files import Place
from lightning_dissect.files.layout import untrained_file
from lightning_dissect.report.kinds import KINDS, count_parts
from lightning_dissect.report.run_folder import find_score_files, load_baseline
from lightning_dissect.scores import Scores, base_feature, best_of_each, count_controls, count_labels, list_features

Progress = Callable[[Sequence[Path]], Iterable[Path]]
"""Shows how far the reading of files is, like ``tqdm``."""

Values = npt.NDArray[np.float32]


class Column(NamedTuple):
    """What units are compared with: a feature (its rows taken together), by a metric at a level."""

    feature: str
    metric: str
    level: str


_Arrays = dict[tuple[str, Column], Values]
"""The values of the units, for each layer and column."""


class Moment(NamedTuple):
    """When scores were taken."""

    epoch: int
    step: int


@dataclass(frozen=True)
class Layer:
    """The scores of a layer's units, NaN where they are undefined.

    Attributes:
        name: The name of the layer.
        columns: What the layer is compared with, as indices into ``History.columns``.
        dead: How many units never changed their output, at the last moment.
        effect: Score less what chance gives, at each moment, shape (moments, columns, units).
        score: At the last moment, shape (columns, units).
        q_value: At the last moment, shape (columns, units).
    """

    name: str
    columns: list[int]
    dead: int
    effect: Values
    score: Values
    q_value: Values

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.effect.shape[-1])


@dataclass(frozen=True)
class History:
    """A run over its epochs.

    Attributes:
        name: The name of the run's folder.
        q: The false discovery rate that labels accept.
        moments: When scores were taken, in order.
        features: By name, without rows and without controls.
        controls: By name.
        columns: Everything that units were compared with.
        comparisons: Every metric and level among the columns, in their order.
        layers: In the network's order.
        kinds: The kinds of units that there are, of :data:`~lightning_dissect.report.kinds.KINDS`.
        parts: How many units are of each kind, shape (moments, layers, kinds).
        counts: How many units each feature sets apart, shape (moments, layers, features).
        explained: How many trivial units each control explains, shape (moments, layers, controls).
        last: The scores of the last moment.
        labels: One row a unit at the last moment, as :meth:`Scores.labels` gives them.
    """

    name: str
    q: float
    moments: list[Moment]
    features: list[str]
    controls: list[str]
    columns: list[Column]
    comparisons: list[tuple[str, str]]
    layers: list[Layer]
    kinds: list[str]
    parts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    explained: npt.NDArray[np.int64]
    last: Scores
    labels: pd.DataFrame


def read_history(run: str | os.PathLike[str], q: float = 0.05, progress: Progress = iter) -> History:
    """Read the score files of a run, one after another: only one epoch's table is in memory at a time.

    Args:
        run: Folder or file, see :func:`~lightning_dissect.report.run_folder.find_score_files`.
        q: The false discovery rate that labels accept.
        progress: Wraps the list of files.

    Raises:
        FileNotFoundError: If there are no scores.
        ValueError: If a file holds no scores of units, or is not one of ours.
    """
    taken: dict[Moment, tuple[pd.DataFrame, _Arrays]] = {}
    controls: dict[str, None] = {}
    for scores in _load(progress(find_score_files(run))):
        first = scores.table.iloc[0]
        moment = Moment(int(first["epoch"]), int(first["step"]))
        if not taken or moment >= max(taken):
            last = scores
        taken[moment] = scores.labels(q), _as_arrays(scores.table, "effect")
        controls |= dict.fromkeys(list_features(scores.table.dropna(subset="unit"))[1])
    moments = sorted(taken)
    labels, effects = zip(*(taken[moment] for moment in moments), strict=True)
    columns = list(dict.fromkeys(column for arrays in effects for _, column in arrays))
    features = list(dict.fromkeys(column.feature for column in columns if column.feature not in controls))
    layers = list(_join(effects, columns, last))
    names = [layer.name for layer in layers]
    parts = [count_parts(found) for found in labels]
    kinds = [kind for kind in KINDS if any(kind in counts for counts in parts)]
    return History(
        name=_name(Path(run)),
        q=q,
        moments=moments,
        features=features,
        controls=list(controls),
        columns=columns,
        comparisons=list(dict.fromkeys((column.metric, column.level) for column in columns)),
        layers=layers,
        kinds=kinds,
        parts=np.stack([counts.reindex(index=names, columns=kinds, fill_value=0) for counts in parts]),
        counts=np.stack([count_labels(found, features).reindex(names, fill_value=0) for found in labels]),
        explained=np.stack([count_controls(found, list(controls)).reindex(names, fill_value=0) for found in labels]),
        last=last,
        labels=labels[-1],
    )


def _load(files: Iterable[Path]) -> Iterator[Scores]:
    """The scores of each epoch and step of each file; those of one folder share its baseline."""
    baselines: dict[Place, Scores | None] = {}
    for file in files:
        scores, beside = Scores.load(file), untrained_file(file)
        if beside not in baselines:
            baselines[beside] = load_baseline(file)
        scores.baseline = baselines[beside]
        if not len(scores):
            raise ValueError(f"{file} holds no scores.")
        groups = scores.table.groupby(["epoch", "step"])
        for _, rows in groups:
            yield scores if groups.ngroups == 1 else Scores(rows, scores.settings, scores.baseline)


def _as_arrays(table: pd.DataFrame, field: str) -> _Arrays:
    """A field of the table; of a feature's rows, the best one's."""
    keys = ["layer", *Column._fields]
    rows = table.dropna(subset="unit")
    rows = best_of_each(rows.assign(feature=base_feature(rows["feature"])), [*keys, "unit"])
    units, values = rows["unit"].to_numpy(np.int64), rows[field].to_numpy(np.float32)
    arrays = {}
    groups: Any = rows.groupby(keys, observed=True, sort=False).indices
    for (layer, *column), places in sorted(groups.items(), key=lambda group: int(group[1][0])):  # as in the table
        unit = units[places]
        if unit.max() >= len(unit):  # a run writes rows of all units, and an array is as long as the last says
            raise ValueError(
                f"layer {layer!r} has a unit {unit.max()}, but no scores of some before it: a report needs all."
            )
        array = arrays[layer, Column(*column)] = np.full(unit.max() + 1, np.nan, np.float32)
        array[unit] = values[places]
    return arrays


def _join(effects: Sequence[_Arrays], columns: Sequence[Column], last: Scores) -> Iterator[Layer]:
    """The layers of all moments, each with the units and the columns that it has at any of them."""
    fields = [*effects, _as_arrays(last.table, "score"), _as_arrays(last.table, "q_value")]
    dead = last.dead_units()["layer"].astype(str).value_counts()
    for layer in dict.fromkeys(name for arrays in effects for name, _ in arrays):
        own = [column for column in columns if any((layer, column) in arrays for arrays in effects)]
        units = max(len(values) for arrays in effects for (name, _), values in arrays.items() if name == layer)
        joined = np.full((len(fields), len(own), units), np.nan, np.float32)
        for rows, arrays in zip(joined, fields, strict=True):
            for row, column in zip(rows, own, strict=True):
                values = arrays.get((layer, column), row)
                row[: len(values)] = values
        indices = [columns.index(column) for column in own]
        yield Layer(layer, indices, int(dead.get(layer, 0)), joined[:-2], joined[-2], joined[-1])


def _name(run: Path) -> str:
    """The last two names of a run's path, without the folder that the scores lie in: ``instruments/version_0``."""
    folder = run.resolve()
    folder = folder.parent if folder.name.startswith("dissect") and folder.is_dir() else folder
    return os.fsencode(f"{folder.parent.name}/{folder.name}").decode(errors="replace")  # a page holds letters
