"""A run over its epochs, as arrays: what the report draws."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_dissect.report.run_folder import find_score_files
from lightning_dissect.scores import Scores, base_feature, best_of_each, count_labels

Progress = Callable[[Sequence[Path]], Iterable[Path]]
"""Shows how far the reading of files is, like ``tqdm``."""

Values = npt.NDArray[np.float32]


class Column(NamedTuple):
    """What units are compared with: a feature (its rows taken together), by a metric at a level."""

    feature: str
    metric: str
    level: str


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
        effect: Score less what chance gives, at each moment, shape (moments, columns, units).
        score: At the last moment, shape (columns, units).
        q_value: At the last moment, shape (columns, units).
    """

    name: str
    columns: list[int]
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
        features: By name, without rows.
        columns: Everything that units were compared with.
        layers: In the network's order.
        counts: How many units carry each label, shape (moments, layers, features).
        last: The scores of the last moment.
        labels: One row a unit at the last moment, as :meth:`Scores.labels` gives them.
    """

    name: str
    q: float
    moments: list[Moment]
    features: list[str]
    columns: list[Column]
    layers: list[Layer]
    counts: npt.NDArray[np.int64]
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
    taken: dict[Moment, _Taken] = {}
    for scores in _load(progress(find_score_files(run))):
        first = scores.table.iloc[0]
        moment = Moment(int(first["epoch"]), int(first["step"]))
        if not taken or moment >= max(taken):
            last = scores
        labels = scores.labels(q)
        taken[moment] = _Taken(labels, _as_arrays(scores.table, "effect"))
    return _join(_name(Path(run)), q, dict(sorted(taken.items())), last)


class _Key(NamedTuple):
    layer: str
    feature: str
    metric: str
    level: str

    @property
    def column(self) -> Column:
        return Column(*self[1:])


class _Taken(NamedTuple):
    """What is kept of one moment, whose table is let go of when the next one comes."""

    labels: pd.DataFrame
    effect: dict[_Key, Values]


def _load(files: Iterable[Path]) -> Iterator[Scores]:
    """The scores of each epoch and step of each file."""
    for file in files:
        scores = Scores.load(file)
        if not len(scores):
            raise ValueError(f"{file} holds no scores.")
        groups = scores.table.groupby(["epoch", "step"])
        for _, rows in groups:
            yield scores if groups.ngroups == 1 else Scores(rows, scores.settings)


def _as_arrays(table: pd.DataFrame, field: str) -> dict[_Key, Values]:
    """A field of the table as an array over units for each layer and column; of a feature's rows, the best one's."""
    rows = table.dropna(subset="unit")
    rows = best_of_each(rows.assign(feature=base_feature(rows["feature"])), [*_Key._fields, "unit"])
    units, values = rows["unit"].to_numpy(np.int64), rows[field].to_numpy(np.float32)
    arrays = {}
    groups: Any = rows.groupby(list(_Key._fields), observed=True, sort=False).indices
    for key, places in sorted(groups.items(), key=lambda group: int(group[1][0])):  # in the order of the table
        unit = units[places]
        if unit.max() >= len(unit):  # a run writes rows of all units, and an array is as long as the last says
            raise ValueError(
                f"layer {key[0]!r} has a unit {unit.max()}, but no scores of some before it: a report needs all."
            )
        arrays[_Key(*key)] = np.full(unit.max() + 1, np.nan, np.float32)
        arrays[_Key(*key)][unit] = values[places]
    return arrays


def _join(name: str, q: float, taken: dict[Moment, _Taken], last: Scores) -> History:
    *_, latest = taken.values()
    keys = list(dict.fromkeys(key for moment in taken.values() for key in moment.effect))
    names = list(dict.fromkeys(key.layer for key in keys))
    columns = list(dict.fromkeys(key.column for key in keys))
    features = list(dict.fromkeys(column.feature for column in columns))
    effects = [moment.effect for moment in taken.values()]
    score, q_value = _as_arrays(last.table, "score"), _as_arrays(last.table, "q_value")
    layers = []
    for layer in names:
        own = [column for column in columns if _Key(layer, *column) in keys]
        units = max(len(arrays[key]) for arrays in effects for key in arrays if key.layer == layer)
        layers.append(
            Layer(
                name=layer,
                columns=[columns.index(column) for column in own],
                effect=np.stack([_stack(arrays, layer, own, units) for arrays in effects]),
                score=_stack(score, layer, own, units),
                q_value=_stack(q_value, layer, own, units),
            )
        )
    counts = [count_labels(moment.labels, features).reindex(names, fill_value=0) for moment in taken.values()]
    return History(name, q, list(taken), features, columns, layers, np.stack(counts), last, latest.labels)


def _stack(arrays: dict[_Key, Values], layer: str, columns: Sequence[Column], units: int) -> Values:
    stacked = np.full((len(columns), units), np.nan, np.float32)
    for row, column in zip(stacked, columns, strict=True):
        values = arrays.get(_Key(layer, *column), row)
        row[: len(values)] = values
    return stacked


def _name(run: Path) -> str:
    """The last two names of a run's path, without the folder that the scores lie in: ``instruments/version_0``."""
    folder = run.resolve()
    folder = folder.parent if folder.name.startswith("dissect") and folder.is_dir() else folder
    return os.fsencode(f"{folder.parent.name}/{folder.name}").decode(errors="replace")  # a page holds letters
