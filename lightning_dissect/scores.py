"""Scores: the table of a run, its significance, its labels, its file."""

import fnmatch
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.spatial import cKDTree
from scipy.stats import false_discovery_control

from lightning_dissect.blocks import Block, join
from lightning_dissect.files import Place, RemotePath, find_place, whole
from lightning_dissect.files.layout import Stage, list_scores
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.tables import read_parquet, to_frame

COLUMNS = {
    "epoch": "int32",
    "step": "int64",
    "dataloader": "int32",
    "layer": "category",
    "unit": "Int32",
    "feature": "category",
    "level": "category",
    "metric": "category",
    "score": "float64",
    "null": "float64",
    "effect": "float64",
    "p_value": "float64",
    "q_value": "float64",
    "n_clips": "int64",
    "effect_low": "float64",
    "effect_high": "float64",
    "stage": "category",
}
LABEL_COLUMNS = ["layer", "unit", "feature", "level", "metric", "score", "null", "effect", "q_value"]
_INTERVAL = ["effect_low", "effect_high"]
_RUN = ["stage", "epoch", "step"]
_OPTIONAL = ["q_value", *_INTERVAL, "stage"]
"""Columns that a table may lack: what they hold can be computed, or was not known when it was written."""
_UNIT = ["layer", "unit"]
_KEY = b"lightning_dissect"
_UNDEFINED = 1e6
"""Stands for an undefined score where scores are compared: farther from any score than a tolerance reaches."""


class Scores:
    """The similarity of every unit with every feature, by every metric, with what chance would give.

    Args:
        table: one row for each unit × feature × metric, with the columns of ``Scores.table`` below; ``q_value`` may be
            missing and is then computed; the interval may be missing and is then NaN; without ``stage``, it is a
            validation's.
        settings: what the run was made with, for citation: versions, sample rate, features, metrics.

    Attributes:
        table: a DataFrame with the columns ``epoch, step, dataloader, layer, unit, feature, level, metric, score, null,
            effect, p_value, q_value, n_clips, effect_low, effect_high, stage``. ``unit`` is missing for a metric of the
            whole layer. ``null`` is the score that chance gives, ``effect`` is ``score - null``, ``p_value`` tests the
            effect over clips, ``q_value`` is the Benjamini–Hochberg adjusted p-value over all rows of its run (one
            stage, epoch and step), ``effect_low`` and ``effect_high`` are the ends of the effect's 95 % interval,
            ``stage`` is ``"validate"`` or ``"test"``. Undefined scores are NaN.
        settings: as given.

    Raises:
        ValueError: if the table lacks a column.
    """

    def __init__(self, table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> None:
        _check_columns(list(table), "table")
        if "stage" not in table:
            table = table.assign(stage="validate")
        if "q_value" not in table:
            groups = table.groupby(_RUN, observed=True)["p_value"]
            table = table.assign(q_value=groups.transform(adjust_p_values))
        table = table.assign(**{end: np.nan for end in _INTERVAL if end not in table})
        self.table = table[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)
        self.settings = dict(settings or {})

    @classmethod
    def from_similarities(
        cls,
        similarities: Iterable[tuple[Mapping[str, Any], Sequence[str], Similarity]],
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make the table from computed metrics.

        Args:
            similarities: for each metric the constant columns (``epoch, step, dataloader, layer, level, metric``;
                ``stage``, unless it is a validation; and ``unit`` as ``None`` for a metric of the whole layer), the
                names of its feature rows, and its result, each field of shape (units, rows).
            settings: see the class.
        """
        blocks = [Block(constant, rows, similarity) for constant, rows, similarity in similarities]
        if not blocks:
            return cls(pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()}), settings)
        return cls(pd.DataFrame(join(blocks)), settings)

    def last(self) -> pd.DataFrame:
        """The rows of the last run, the latest step of the latest epoch; of a validation and a test, the one below."""
        in_last = self.table["epoch"] == self.table["epoch"].max()
        table: pd.DataFrame = self.table.loc[in_last & (self.table["step"] == self.table.loc[in_last, "step"].max())]
        return table if table["stage"].nunique() < 2 else table[table["stage"] == table["stage"].iloc[-1]]

    def labels(self, q: float = 0.05) -> pd.DataFrame:
        """Label each unit of the last run with the feature that is best supported.

        Whether a unit has a label is decided unit by unit, so that of the labelled units at most a share of ``q`` is
        expected to be false: its rows are joined to one p-value by Simes' test, and these are adjusted over units by
        Benjamini & Hochberg. (The ``q_value`` of ``Scores.table`` bounds the share of false *rows*: one true unit
        resembles many features, and so would let in several false units.) The label is the row with the smallest
        p-value, and where p-values are equal (they end at about 1e-300), the one with the largest effect.

        Args:
            q: the false discovery rate that is accepted, in (0, 1).

        Returns:
            One row a unit, in the network's order, with ``layer, unit, feature, level, metric, score, null, effect``
            of the label and the unit's ``q_value``; where nothing is supported, only ``layer``, ``unit`` and
            ``q_value`` are given.

        Raises:
            ValueError: if ``q`` is not in (0, 1).
        """
        if not 0 < q < 1:
            raise ValueError(f"q={q} is not in (0, 1): it is the accepted false discovery rate, such as 0.05.")
        rows = self.last().dropna(subset="unit")
        unit = rows.groupby(_UNIT, observed=True, sort=False).ngroup().to_numpy()  # numbered as they come
        p_value = rows["p_value"].to_numpy()
        order = np.lexsort((-rows["effect"].abs().to_numpy(), p_value, unit))  # the best row of each unit first
        first = np.flatnonzero(np.diff(unit[order], prepend=-1))
        tested = np.bincount(unit, weights=~np.isnan(p_value))
        place = np.arange(len(order)) - np.repeat(first, np.bincount(unit)) + 1
        simes = np.fmin.reduceat(p_value[order] * tested[unit[order]] / place, first) if len(first) else first
        labels = rows.iloc[order[first]][LABEL_COLUMNS].reset_index(drop=True)
        labels["q_value"] = adjust_p_values(pd.Series(simes, dtype=float))
        supported = labels["q_value"] < q
        named = [column for column in LABEL_COLUMNS if column not in [*_UNIT, "q_value"]]
        labels[named] = labels[named].where(supported)
        return labels

    def summary(self, q: float = 0.05) -> pd.DataFrame:
        """Sum up the units of each layer for each feature and metric in the last run.

        The rows of one feature (``chroma[A]``, …) are taken together.

        Returns:
            One row for each ``dataloader, layer, feature, metric, level``, with ``best`` (the score with the smallest
            p-value), ``mean`` (of the scores) and ``supported`` (the number of units with ``q_value < q``).
        """
        last = self.last()
        keys = ["dataloader", "layer", "feature", "metric", "level"]
        last = last[[*keys, "unit", "score", "effect", "p_value", "q_value"]]
        last = last.assign(feature=base_feature(last["feature"]), unit=last["unit"].where(last["q_value"] < q))
        groups = best_first(last).groupby(keys, observed=True)
        named = {"best": groups["score"].first(), "mean": groups["score"].mean(), "supported": groups["unit"].nunique()}
        return pd.DataFrame(named).reset_index()

    def filter(
        self,
        *,
        epoch: int | None = None,
        step: int | None = None,
        dataloader: int | None = None,
        layer: str | None = None,
        unit: int | None = None,
        feature: str | None = None,
        level: str | None = None,
        metric: str | None = None,
        stage: Stage | None = None,
    ) -> Self:
        """Keep the rows that have all the given values; the q-values stay those of the whole run.

        Args:
            epoch: number of an epoch; as ``step``, ``dataloader`` and ``unit``, an exact number.
            step: the trainer's global step.
            dataloader: index of the data loader.
            layer: name or glob (``"features.*"``); as ``level`` and ``metric``.
            unit: index of the unit.
            feature: name or glob; ``"chroma"`` means all its rows, ``"chroma[A]"`` one of them.
            level: ``clip``, ``frame`` or ``map``.
            metric: name of the metric.
            stage: ``"validate"`` or ``"test"``.

        Returns:
            Scores with these rows, none if nothing fits. Its :meth:`labels` are decided among these rows alone.
        """
        numbers = {"epoch": epoch, "step": step, "dataloader": dataloader, "unit": unit}
        globs = {"layer": layer, "level": level, "metric": metric, "stage": stage}
        keep = pd.Series(True, index=self.table.index)
        for column, number in numbers.items():
            if number is not None:
                keep &= (self.table[column] == number).fillna(False).astype(bool)
        for column, glob in globs.items():
            if glob is not None:
                keep &= _matches(self.table[column], glob)
        if feature is not None:
            keep &= _is_feature(self.table["feature"], feature)
        return type(self)(self.table[keep], self.settings)

    def best_units(self, feature: str, n: int = 10, metric: str | None = None) -> pd.DataFrame:
        """The units of the last run that a feature explains best.

        Args:
            feature: name or glob; ``"chroma"`` means all its rows.
            n: how many units.
            metric: only this one; ``None`` takes for each unit the metric that supports it best.

        Returns:
            One row a unit, with the columns of ``Scores.table``, the smallest p-value first and, where these are equal,
            the largest effect.

        Raises:
            ValueError: if the last run has no such feature.
        """
        last = self.last().dropna(subset=["unit", "p_value"])
        rows = last[_is_feature(last["feature"], feature)]
        if rows.empty and not _is_feature(self.last()["feature"], feature).any():
            known = ", ".join(dict.fromkeys(base_feature(self.last()["feature"])))
            raise ValueError(f"feature={feature!r} is not in this run, whose features are {known}.")
        rows = rows if metric is None else rows[rows["metric"] == metric]
        return best_first(rows).drop_duplicates(_UNIT).head(n).reset_index(drop=True)

    def best_features(self, layer: str, unit: int, n: int = 10) -> pd.DataFrame:
        """The features that explain a unit of the last run best, one row a feature, as in :meth:`best_units`.

        Args:
            layer: name of the layer.
            unit: index of the unit.
            n: how many features.

        Raises:
            ValueError: if the last run has no such unit.
        """
        last = self.last()
        rows = last[((last["layer"] == layer) & (last["unit"] == unit)).fillna(False).astype(bool)]
        if rows.empty:
            layers = ", ".join(dict.fromkeys(last["layer"].astype(str)))
            raise ValueError(f"layer={layer!r}, unit={unit}: not in this run, whose layers are {layers}.")
        return best_first(rows.dropna(subset="p_value")).drop_duplicates("feature").head(n).reset_index(drop=True)

    def compare(self, other: "Scores", q: float = 0.05) -> pd.DataFrame:
        """Set the labels of the last run beside those of another, of another epoch or of another network.

        Args:
            other: what came after.
            q: see :meth:`labels`.

        Returns:
            One row for each unit of either: ``layer, unit, feature_before, feature_after, effect_before, effect_after,
            changed``. The rows of one feature (``chroma[A]``, …) are different labels.

        Example:
            ``scores.filter(epoch=0).compare(scores)`` tells which units changed since the first epoch.
        """
        before, after = (side.labels(q)[[*_UNIT, "feature", "effect"]] for side in (self, other))
        for side in (before, after):
            side[["layer", "feature"]] = side[["layer", "feature"]].astype(object)
        both = before.merge(after, on=_UNIT, how="outer", suffixes=("_before", "_after"), sort=False)
        was, now = both["feature_before"], both["feature_after"]
        both["changed"] = ((was != now) & ~(was.isna() & now.isna())).astype(bool)
        columns = [*_UNIT, "feature_before", "feature_after", "effect_before", "effect_after", "changed"]
        return both[columns]

    def detectors(self, q: float = 0.05) -> pd.DataFrame:
        """Sum up each layer of the last run, as Network Dissection does (Bau et al. 2017, section 3.2).

        Args:
            q: see :meth:`labels`.

        Returns:
            One row a layer, in the network's order: ``units``, ``dead``, ``labelled`` units, ``unique`` features among
            their labels, and for each feature the number of units that it labels.
        """
        labels = self.labels(q)
        features = list(dict.fromkeys(base_feature(self.last()["feature"])))
        counts = count_labels(labels, features)
        sizes, dead = (
            rows["layer"].astype(str).value_counts().reindex(counts.index, fill_value=0)
            for rows in (labels, self.dead_units())
        )
        front = {"units": sizes, "dead": dead, "labelled": counts.sum(axis=1), "unique": (counts > 0).sum(axis=1)}
        return pd.concat([pd.DataFrame(front), counts], axis=1).rename_axis("layer").reset_index()

    def dead_units(self) -> pd.DataFrame:
        """The units of the last run without any defined score, ``layer, unit``: their output never changed."""
        last = self.last().dropna(subset="unit")
        defined = last["score"].notna().groupby([last[name] for name in _UNIT], observed=True, sort=False).any()
        return defined[~defined].reset_index()[_UNIT]

    def duplicate_units(self, tolerance: float = 1e-5) -> pd.DataFrame:
        """The units of the last run whose scores all equal those of an earlier unit of their layer.

        Scores do not change with a unit's scale, so a copy at another volume counts too.

        Args:
            tolerance: the largest difference between scores that are called equal.

        Returns:
            ``layer, unit, duplicate_of``, where ``duplicate_of`` is the first such unit.
        """
        last = self.last().dropna(subset=["unit", "score"])
        found = []
        for layer, rows in last.groupby("layer", observed=True, sort=False):
            keys = ["dataloader", "feature", "level", "metric"]
            scores = rows.pivot_table(values="score", index="unit", columns=keys, observed=True)
            near = cKDTree(scores.fillna(_UNDEFINED).to_numpy()).query_pairs(tolerance, np.inf, output_type="ndarray")
            pairs = pd.DataFrame(np.sort(near, axis=1), columns=["first", "second"]).groupby("second")["first"].min()
            units = scores.index.to_numpy()
            found.append(
                pd.DataFrame({"layer": layer, "unit": units[pairs.index], "duplicate_of": units[pairs.to_numpy()]})
            )
        columns = [*_UNIT, "duplicate_of"]
        return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)

    def save(self, path: str | os.PathLike[str] | RemotePath) -> Place:
        """Write the table to a Parquet file, wholly or not at all.

        Args:
            path: the file; its folder is made if it is missing, and an older file of that name is replaced. A path with
                a scheme (``s3://…``) is written to by fsspec.

        Returns:
            The path.
        """
        place = find_place(path)
        arrow = pa.Table.from_pandas(self.table, preserve_index=False)
        metadata = {**(arrow.schema.metadata or {}), _KEY: json.dumps(self.settings).encode()}
        with whole(place, durable=True) as file:
            pq.write_table(arrow.replace_schema_metadata(metadata), file, compression="zstd")
        return place

    @classmethod
    def load(cls, path: str | os.PathLike[str] | RemotePath, stage: Stage | None = None) -> Self:
        """Read a file that :meth:`save` wrote, or join all the epochs in a folder of such files.

        Args:
            path: a ``.parquet`` file, or a folder that holds such files at any depth, such as a logger's run folder.
                A path with a scheme (``s3://…``) is read by fsspec.
            stage: of a folder, ``"validate"`` or ``"test"`` alone; ``None`` takes the runs of validation, and those of
                tests where there is nothing else.

        Raises:
            FileNotFoundError: if there is no such file, or none in the folder.
            ValueError: if a file was not written by :meth:`save`.
        """
        if stage not in (None, "validate", "test"):
            raise ValueError(f"stage={stage!r} is none of 'validate' and 'test'; None takes what there is.")
        place = find_place(path)
        files = list_scores(place, stage) if place.is_dir() else [place]
        if not files or not all(file.exists() for file in files):
            kind = "" if stage is None else f" of stage={stage!r}"
            raise FileNotFoundError(
                f"{path}: no scores{kind} here. A run writes them as .parquet files into its log folder."
            )
        parts = [read_table(file) for file in files]
        tables, settings = zip(*parts, strict=True)
        joined: pd.DataFrame = pd.concat(tables, ignore_index=True).sort_values(["epoch", "step"], kind="stable")
        return cls(joined, settings[-1])

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        layers, epochs = self.table["layer"].nunique(), self.table["epoch"].nunique()
        return f"Scores({len(self)} rows, {layers} layers, {epochs} epochs)"


def count_labels(labels: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """Count the units of each layer (row) that are labelled with each feature (column), in the orders given."""
    layers = labels["layer"].astype(str).unique().tolist()
    named = labels.dropna(subset="feature")
    counts = pd.crosstab(named["layer"].astype(str), base_feature(named["feature"]))
    return counts.reindex(index=layers, columns=list(features), fill_value=0)


def best_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows of a table by their p-value, and by the size of their effect where p-values are equal."""
    return rows.iloc[np.lexsort((-rows["effect"].abs().to_numpy(), rows["p_value"].to_numpy()))]


def base_feature(features: pd.Series) -> pd.Series:
    """The feature that a row belongs to: ``chroma`` for ``chroma[A]``."""
    codes, names = pd.factorize(features, use_na_sentinel=False)  # a few names, on many rows
    bases = pd.Series(names).astype(str).str.replace(r"\[.*\]$", "", regex=True)
    return pd.Series(bases.array.take(codes), index=features.index, name=features.name)


def _matches(names: pd.Series, glob: str) -> pd.Series:
    """Which names are a name, or match a glob in which ``[`` means itself, as it does in the names of features."""
    pattern = re.compile(fnmatch.translate(glob.replace("[", "[[]")))
    known = {name for name in names.astype(str).unique() if pattern.match(name)}
    return names.astype(str).isin(known)


def _is_feature(features: pd.Series, glob: str) -> pd.Series:
    return _matches(features, glob) | _matches(base_feature(features), glob)


def adjust_p_values(p_values: pd.Series) -> pd.Series:
    """Adjust p-values for the number of tests, by Benjamini & Hochberg (1995); undefined ones are no tests.

    Example:
        >>> adjust_p_values(pd.Series([0.01, 0.04, np.nan])).tolist()
        [0.02, 0.04, nan]
    """
    tested = p_values.notna()
    adjusted = pd.Series(np.nan, index=p_values.index)
    if tested.any():
        adjusted[tested] = false_discovery_control(p_values[tested].clip(0.0, 1.0), method="bh")
    return adjusted


def read_table(path: Place, units: Sequence[int] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the table and the settings of a file that :meth:`Scores.save` wrote.

    Args:
        path: the file.
        units: keep the rows of the units with these indices, of any layer, which takes less time than to read all.

    Raises:
        ValueError: if the file cannot be read, was not written by :meth:`Scores.save`, or holds what no run writes.
    """
    arrow = read_parquet(path, "scores")
    metadata = arrow.schema.metadata or {}
    if _KEY not in metadata:
        raise ValueError(f"{path} is a Parquet file, but its scores were not written by lightning_dissect.")
    _check_columns(arrow.column_names, f"{path}: its table")
    if units is not None and pa.types.is_integer(arrow.field("unit").type):
        arrow = arrow.filter(pc.is_in(arrow["unit"], pa.array(units, arrow["unit"].type)))
    if "stage" not in arrow.column_names:
        arrow = arrow.append_column("stage", pa.repeat("validate", len(arrow)))
    table = to_frame(arrow, COLUMNS, f"{path}: its table")
    if (table["unit"] < 0).any():
        raise ValueError(f"{path}: its table has a unit {table['unit'].min():.0f}; units count from 0.")
    return table, _read_settings(metadata[_KEY], path)


def _read_settings(text: bytes, path: Place) -> dict[str, Any]:
    try:
        settings = json.loads(text)
        json.dumps(settings, ensure_ascii=False).encode()  # JSON can hold halves of letters, which nothing can write
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its settings cannot be read: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("versions", {}), dict) or not _is_flat(settings):
        raise ValueError(f"{path}: its settings are no names with values, as lightning_dissect writes them.")
    return settings


def _is_flat(settings: Any, depth: int = 8) -> bool:
    """Whether settings are nested no deeper than that; a run's are not."""
    inner = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ()
    return all(depth > 0 and _is_flat(value, depth - 1) for value in inner)


def _check_columns(columns: Iterable[Any], table: str) -> None:
    missing = [column for column in COLUMNS if column not in [*columns, *_OPTIONAL]]
    if missing:
        raise ValueError(f"{table} lacks the columns {missing}: scores need {list(COLUMNS)}.")
