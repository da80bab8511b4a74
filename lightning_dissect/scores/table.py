"""The table of scores, and the questions that it answers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from lightning_dissect.files import Place, RemotePath, find_place
from lightning_dissect.files.layout import Stage, check_one_run, list_scores
from lightning_dissect.scores.block import Block, join
from lightning_dissect.scores.columns import COLUMNS, LATER, UNIT, check_columns
from lightning_dissect.scores.duplicates import find_duplicates
from lightning_dissect.scores.features import base_feature, is_feature, matches
from lightning_dissect.scores.labels import compare_labels, count_labels, label_units
from lightning_dissect.scores.significance import adjust_p_values, best_first
from lightning_dissect.scores.storage import read_table, write_table

_RUN = ["stage", "epoch", "step"]


class Scores:
    """The similarity of every unit with every feature, by every metric, with what chance would give.

    Args:
        table: One row for each unit × feature × metric, with the columns of ``Scores.table`` below; ``q_value`` may be
            missing and is then computed; the interval may be missing and is then NaN; without ``stage``, it is a
            validation's.
        settings: What the run was made with, for citation: versions, sample rate, features, metrics.

    Attributes:
        table: A DataFrame with the columns ``epoch, step, dataloader, layer, unit, feature, level, metric, score, null,
            effect, p_value, q_value, n_clips, effect_low, effect_high, stage``. ``unit`` is missing for a metric of the
            whole layer. ``null`` is the score that chance gives, ``effect`` is ``score - null``, ``p_value`` tests the
            effect over clips, ``q_value`` is the Benjamini–Hochberg adjusted p-value over all rows of its run (one
            stage, epoch and step), ``effect_low`` and ``effect_high`` are the ends of the effect's 95 % interval,
            ``stage`` is ``"validate"`` or ``"test"``. Undefined scores are NaN.
        settings: As given.

    Raises:
        ValueError: If the table lacks a column.
    """

    def __init__(self, table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> None:
        check_columns(list(table), "table")
        if "stage" not in table:
            table = table.assign(stage="validate")
        if "q_value" not in table:
            groups = table.groupby(_RUN, observed=True)["p_value"]
            table = table.assign(q_value=groups.transform(adjust_p_values))
        missing: dict[str, Any] = {column: np.nan for column in LATER} | {"control": False}
        table = table.assign(**{column: value for column, value in missing.items() if column not in table})
        self.table = table[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)
        self.settings = dict(settings or {})

    @classmethod
    def from_blocks(cls, blocks: Sequence[Block], settings: Mapping[str, Any] | None = None) -> Self:
        """Make the table from computed metrics.

        Args:
            blocks: Their constant columns are ``epoch, step, dataloader, layer, level, metric``; ``stage``, unless it
                is a validation; and ``unit`` as ``None`` for a metric of the whole layer.
            settings: See the class.
        """
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
        Benjamini & Hochberg. The label is the row with the smallest p-value, and where p-values are equal (they end at
        about 1e-300), the one with the largest effect.

        Args:
            q: The false discovery rate that is accepted, in (0, 1).

        Returns:
            One row a unit, in the network's order, with ``layer, unit, feature, level, metric, score, null, effect``
            of the label and the unit's ``q_value``; where nothing is supported, only ``layer``, ``unit`` and
            ``q_value`` are given.

        Raises:
            ValueError: If ``q`` is not in (0, 1).
        """
        return label_units(self.last().dropna(subset="unit"), q)

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
            epoch: Number of an epoch; as ``step``, ``dataloader`` and ``unit``, an exact number.
            step: The trainer's global step.
            dataloader: Index of the data loader.
            layer: Name or glob (``"features.*"``); as ``level`` and ``metric``.
            unit: Index of the unit.
            feature: Name or glob; ``"chroma"`` means all its rows, ``"chroma[A]"`` one of them.
            level: ``clip``, ``frame`` or ``map``.
            metric: Name of the metric.
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
                keep &= matches(self.table[column], glob)
        if feature is not None:
            keep &= is_feature(self.table["feature"], feature)
        return type(self)(self.table[keep], self.settings)

    def best_units(self, feature: str, n: int = 10, metric: str | None = None) -> pd.DataFrame:
        """The units of the last run that a feature explains best.

        Args:
            feature: Name or glob; ``"chroma"`` means all its rows.
            n: How many units.
            metric: Only this one; ``None`` takes for each unit the metric that supports it best.

        Returns:
            One row a unit, with the columns of ``Scores.table``, the smallest p-value first and, where these are equal,
            the largest effect.

        Raises:
            ValueError: If the last run has no such feature.
        """
        last = self.last().dropna(subset=["unit", "p_value"])
        rows = last[is_feature(last["feature"], feature)]
        if rows.empty and not is_feature(self.last()["feature"], feature).any():
            known = ", ".join(dict.fromkeys(base_feature(self.last()["feature"])))
            raise ValueError(f"feature={feature!r} is not in this run, whose features are {known}.")
        rows = rows if metric is None else rows[rows["metric"] == metric]
        return best_first(rows).drop_duplicates(UNIT).head(n).reset_index(drop=True)

    def best_features(self, layer: str, unit: int, n: int = 10) -> pd.DataFrame:
        """The features that explain a unit of the last run best, one row a feature, as in :meth:`best_units`.

        Args:
            layer: The name of the layer.
            unit: Index of the unit.
            n: How many features.

        Raises:
            ValueError: If the last run has no such unit.
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
            other: What came after.
            q: See :meth:`labels`.

        Returns:
            One row for each unit of either: ``layer, unit, feature_before, feature_after, effect_before, effect_after,
            changed``. The rows of one feature (``chroma[A]``, …) are different labels.

        Example:
            ``scores.filter(epoch=0).compare(scores)`` tells which units changed since the first epoch.
        """
        return compare_labels(self.labels(q), other.labels(q))

    def detectors(self, q: float = 0.05) -> pd.DataFrame:
        """Sum up :meth:`labels` for each layer, as Network Dissection does (Bau et al. 2017, section 3.2).

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
        defined = last["score"].notna().groupby([last[name] for name in UNIT], observed=True, sort=False).any()
        return defined[~defined].reset_index()[UNIT]

    def duplicate_units(self, tolerance: float = 1e-5) -> pd.DataFrame:
        """The units of the last run whose scores all equal those of an earlier unit of their layer.

        Those that differ by no more than the tolerance are called equal. Scores do not change with a unit's scale, so a
        copy at another volume counts too.

        Returns:
            ``layer, unit, duplicate_of``, where ``duplicate_of`` is the first such unit.
        """
        return find_duplicates(self.last().dropna(subset=["unit", "score"]), tolerance)

    def save(self, path: str | os.PathLike[str] | RemotePath) -> Place:
        """Write the table to a Parquet file, wholly or not at all.

        Args:
            path: The file; its folder is made if it is missing, and an older file of that name is replaced. A path with
                a scheme (``s3://…``) is written to by fsspec.

        Returns:
            The path.
        """
        place = find_place(path)
        write_table(self.table, self.settings, place)
        return place

    @classmethod
    def load(cls, path: str | os.PathLike[str] | RemotePath, stage: Stage | None = None) -> Self:
        """Read a file that :meth:`save` wrote, or join all the epochs of a run.

        Args:
            path: A ``.parquet`` file, or a folder that holds those of one run at any depth, such as a logger's run
                folder. A path with a scheme (``s3://…``) is read by fsspec.
            stage: Of a folder, ``"validate"`` or ``"test"`` alone; ``None`` takes the runs of validation, and those of
                tests where there is nothing else.

        Raises:
            FileNotFoundError: If there is no such file, or none in the folder.
            ValueError: If a file was not written by :meth:`save`, or the folder holds several runs.
        """
        if stage not in (None, "validate", "test"):
            raise ValueError(f"stage={stage!r} is none of 'validate' and 'test'; None takes what there is.")
        place = find_place(path)
        files = list_scores(place, stage) if place.is_dir() else [place] if place.exists() else []
        check_one_run(files, place, stage)
        tables, settings = zip(*map(read_table, files), strict=True)
        joined: pd.DataFrame = pd.concat(tables, ignore_index=True).sort_values(["epoch", "step"], kind="stable")
        return cls(joined, settings[-1])

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        layers, epochs = self.table["layer"].nunique(), self.table["epoch"].nunique()
        return f"Scores({len(self)} rows, {layers} layers, {epochs} epochs)"
