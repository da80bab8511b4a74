"""The table of scores, and the questions that it answers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pandas as pd

from lightning_dissect.files import Place, RemotePath, find_place
from lightning_dissect.files.layout import Stage, untrained_file
from lightning_dissect.scores.block import Block, join
from lightning_dissect.scores.columns import COLUMNS, UNIT, complete_table
from lightning_dissect.scores.duplicates import find_dead, find_duplicates
from lightning_dissect.scores.labels import compare_labels, label_units
from lightning_dissect.scores.learned import Untrained, mark_learned
from lightning_dissect.scores.selection import last_run, rows_of_feature, rows_of_unit, select_rows
from lightning_dissect.scores.significance import best_first
from lightning_dissect.scores.storage import read_run, read_table, write_table
from lightning_dissect.scores.summary import sum_up, sum_up_layers


class Scores:
    """The similarity of every unit with every feature, by every metric, with what chance would give.

    Args:
        table: One row for each unit × feature × metric, with the columns of ``Scores.table`` below; ``q_value`` may be
            missing and is then computed; the interval may be missing and is then NaN; without ``stage``, it is a
            validation's.
        settings: What the run was made with, for citation: versions, sample rate, features, metrics.
        baseline: The scores of untrained copies of the network on the same clips, ``epoch`` being a copy's number.

    Attributes:
        table: A DataFrame with the columns ``epoch, step, dataloader, layer, unit, feature, level, metric, score, null,
            effect, p_value, q_value, n_clips, effect_low, effect_high, stage, unique, unique_p_value, lower_p_value,
            control``. ``unit`` is missing for a metric of the whole layer. ``null`` is the score that chance gives,
            ``effect`` is ``score - null``, ``p_value`` tests the effect over clips, ``q_value`` is the
            Benjamini–Hochberg adjusted p-value over all rows of its run (one stage, epoch and step), ``effect_low`` and
            ``effect_high`` are the ends of the effect's 95 % interval, ``stage`` is ``"validate"`` or ``"test"``.
            ``unique`` is the correlation that is left when all other features are held fixed (of Pearson's and
            Spearman's over clips and Pearson's over frames), with its own p-value. ``lower_p_value`` tests whether the
            feature explains the unit less than the one that explains it best by this metric at this level.
            ``control`` marks trivial explanations. Undefined scores are NaN.
        settings: As given.

    Raises:
        ValueError: If the table lacks a column.
    """

    def __init__(
        self, table: pd.DataFrame, settings: Mapping[str, Any] | None = None, baseline: "Scores | None" = None
    ) -> None:
        self.table = complete_table(table)
        self.settings = dict(settings or {})
        self._baseline: Scores | Place | None = baseline
        self._untrained: dict[tuple[float, float], Untrained] = {}

    @property
    def baseline(self) -> "Scores | None":
        """The scores of untrained copies, see the class; ``None`` if there are none.

        Those beside a file that was loaded are read when they are asked for.

        Raises:
            ValueError: If their file cannot be read.
        """
        if not isinstance(self._baseline, Scores | None):
            self._baseline = Scores(*read_table(self._baseline))
        return self._baseline

    @baseline.setter
    def baseline(self, baseline: "Scores | None") -> None:
        self._baseline = baseline

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
        return last_run(self.table)

    def labels(self, q: float = 0.05, least: float = 0.0) -> pd.DataFrame:
        """Label each unit of the last run with the feature that sets it apart.

        Whether a unit has a label is decided unit by unit, so that of the labelled units at most a share of ``q`` is
        expected to be false: its rows are joined to one p-value by Simes' test, and these are adjusted over units by
        Benjamini & Hochberg.

        Which label is decided within a metric and level, where scores can be compared: the supported row with the
        largest effect. Its rivals are the rows whose effect is not significantly lower. Of several metrics and levels,
        that one is taken where a feature has no rival among other features; else one where no control explains the unit
        as well; else any; and of equals, the finest level, and then the smallest p-value.

        Args:
            q: The false discovery rate that is accepted, in (0, 1): of units with a label, of labels that are called
                distinct, and of those that are called learned.
            least: The smallest effect, of either sign, that is called one.

        Returns:
            One row a unit, in the network's order:

            - ``layer, unit``, and the unit's ``q_value``; where nothing is supported, that is all.
            - ``feature, level, metric, score, null, effect, unique, unique_p_value, dataloader`` of the label.
            - ``rivals``: the rows that the label cannot be told apart from, as a tuple of names. Rows of the label's
              own feature (``chroma[A#]`` beside ``chroma[A]``) are named, too.
            - ``kind``: ``"trivial"`` if a control is the label or a rival, ``"distinct"`` if no other feature is a
              rival, else ``"shared"``; missing where rivals are not known, as in files of earlier versions, or where
              :meth:`filter` has taken away the row that the others were compared with.
            - ``distinct``: whether the kind is that.
            - ``learned, learned_q``: whether the effect is larger than those of untrained copies (their labels for
              the same feature, metric, level and layer), and the q-value of that; missing without a baseline.

        Raises:
            ValueError: If ``q`` is not in (0, 1), or ``least`` is negative.
        """
        labels = label_units(self.last().dropna(subset="unit"), q, least)
        if self.baseline is None:
            return labels
        if (q, least) not in self.baseline._untrained:  # epochs that share a baseline label its copies once
            self.baseline._untrained[q, least] = Untrained(self.baseline.table, q, least)
        return mark_learned(labels, self.baseline._untrained[q, least], q)

    def summary(self, q: float = 0.05) -> pd.DataFrame:
        """Sum up the units of each layer for each feature and metric in the last run.

        The rows of one feature (``chroma[A]``, …) are taken together.

        Returns:
            One row for each ``dataloader, layer, feature, metric, level``, with ``best`` (the score with the smallest
            p-value), ``mean`` (of the scores) and ``supported`` (the number of units with ``q_value < q``).
        """
        return sum_up(self.last(), q)

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
            Scores with these rows, none if nothing fits. Its :meth:`labels` are decided among these rows alone. Of
            its baseline, too, only the rows are kept that have these values, whatever their copy.
        """
        of_unit = {"dataloader": dataloader, "layer": layer, "unit": unit}
        values = of_unit | {"feature": feature, "level": level, "metric": metric}
        baseline = self.baseline
        if baseline is not None:
            baseline = Scores(select_rows(baseline.table, values), baseline.settings)
        rows = select_rows(self.table, values | {"epoch": epoch, "step": step, "stage": stage})
        return type(self)(rows, self.settings, baseline)

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
        rows = rows_of_feature(self.last(), feature).dropna(subset=["unit", "p_value"])
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
        rows = rows_of_unit(self.last(), layer, unit)
        return best_first(rows.dropna(subset="p_value")).drop_duplicates("feature").head(n).reset_index(drop=True)

    def compare(self, other: "Scores", q: float = 0.05) -> pd.DataFrame:
        """Set the labels of the last run beside those of another, of another epoch or of another network.

        Args:
            other: What came after.
            q: See :meth:`labels`.

        Returns:
            One row for each unit of either: ``layer, unit, feature_before, feature_after, kind_before, kind_after,
            effect_before, effect_after, changed``, the last if the feature or the kind is another. The rows of one
            feature (``chroma[A]``, …) are different labels.

        Example:
            ``scores.filter(epoch=0).compare(scores)`` tells which units changed since the first epoch.
        """
        return compare_labels(self.labels(q), other.labels(q))

    def detectors(self, q: float = 0.05, least: float = 0.0) -> pd.DataFrame:
        """Sum up :meth:`labels` for each layer, as Network Dissection does (Bau et al. 2017, section 3.2).

        Returns:
            One row a layer, in the network's order: ``units``; how many are ``distinct``, of these ``learned``
            (missing without a baseline), ``shared``, ``trivial``, where there are some ``untested`` (their rivals are
            not known), ``none``, of these ``dead``; and for each feature, controls aside, the units that it sets apart.
        """
        return sum_up_layers(self.labels(q, least), self.last(), self.dead_units())

    def dead_units(self) -> pd.DataFrame:
        """The units of the last run without any defined score, ``layer, unit``: their output never changed."""
        return find_dead(self.last().dropna(subset="unit"))

    def duplicate_units(self, tolerance: float = 1e-5) -> pd.DataFrame:
        """The units of the last run whose scores all equal those of an earlier unit of their layer.

        Those that differ by no more than the tolerance are called equal. Scores do not change with a unit's scale, so a
        copy at another volume counts too.

        Returns:
            ``layer, unit, duplicate_of``, where ``duplicate_of`` is the first such unit.
        """
        return find_duplicates(self.last().dropna(subset=["unit", "score"]), tolerance)

    def save(self, path: str | os.PathLike[str] | RemotePath) -> Place:
        """Write the table to a Parquet file, wholly or not at all, and the baseline to one beside it.

        Args:
            path: The file; its folder is made if it is missing, and an older file of that name is replaced. A path with
                a scheme (``s3://…``) is written to by fsspec. The baseline of ``scores.parquet`` goes into
                ``scores.untrained.parquet``, or there is none.

        Returns:
            The path.
        """
        place, baseline = find_place(path), self.baseline
        beside = untrained_file(place)
        if beside.exists():  # never beside a table that it does not belong to, whatever happens on the way
            beside.unlink()
        write_table(self.table, self.settings, place)
        if baseline is not None:
            write_table(baseline.table, baseline.settings, beside)
        return place

    @classmethod
    def load(cls, path: str | os.PathLike[str] | RemotePath, stage: Stage | None = None) -> Self:
        """Read a file that :meth:`save` wrote, or join all the epochs of a run, with the baseline beside, if any.

        Args:
            path: A ``.parquet`` file, or a folder that holds those of one run at any depth, such as a logger's run
                folder. A path with a scheme (``s3://…``) is read by fsspec.
            stage: Of a folder, ``"validate"`` or ``"test"`` alone; ``None`` takes the runs of validation, and those of
                tests where there is nothing else.

        Raises:
            FileNotFoundError: If there is no such file, or none in the folder.
            ValueError: If a file was not written by :meth:`save`, or the folder holds several runs.
        """
        table, settings, baseline = read_run(find_place(path), stage)
        scores = cls(table, settings)
        scores._baseline = baseline
        return scores

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        layers, epochs = self.table["layer"].nunique(), self.table["epoch"].nunique()
        return f"Scores({len(self)} rows, {layers} layers, {epochs} epochs)"
