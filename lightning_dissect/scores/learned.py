"""What training has made: labels whose effect untrained copies of the network do not have."""

import numpy as np
import pandas as pd

from lightning_dissect.scores.columns import UNIT
from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.labels import label_units
from lightning_dissect.scores.significance import adjust_p_values
from lightning_dissect.scores.variance import CORRELATIONS

_KEY = ["layer", "family", "dataloader", "metric", "level"]
_LARGEST = 1 - 1e-7
"""Correlation beyond which Fisher's transform would only magnify rounding."""


class Untrained:
    """The units of untrained copies, and how far their own labels stand out among the units of the other copies.

    Args:
        table: The rows of the copies, ``epoch`` being a copy's number.
        q: See :meth:`Scores.labels`.
        least: See :meth:`Scores.labels`.
    """

    def __init__(self, table: pd.DataFrame, q: float, least: float) -> None:
        rows = table.dropna(subset="unit")
        copies: dict[int, pd.DataFrame] = dict(list(rows.groupby("epoch", sort=True)))  # type: ignore[arg-type]
        self._spread = _sum_up(rows)
        labels = {copy: label_units(part, q, least) for copy, part in copies.items()}
        self.units = sum(map(len, labels.values()))
        alone = len(copies) < 2
        found = [self._standing(part, None if alone else copy) for copy, part in labels.items()]
        self._standings = np.sort(np.concatenate([values[np.isfinite(values)] for values in found] or [np.empty(0)]))

    def p_values(self, labels: pd.DataFrame) -> np.ndarray:
        """p-value of each label that its effect is no larger than in untrained copies; NaN where there is nothing.

        A label's standing is its effect in standard deviations above the mean of the untrained units of its layer, for
        the same feature, metric and level. A unit's label is chosen for being large, and units of one network are
        alike: so a standing is compared with those that labels of untrained units, chosen alike, have among the units
        of the other copies. The p-value is the share of untrained units that stand out as much, the unit itself
        included.
        """
        standing = self._standing(labels, None)
        above = len(self._standings) - np.searchsorted(self._standings, standing, side="left")
        p_values: np.ndarray = np.where(np.isnan(standing), np.nan, (1 + above) / (1 + self.units))
        return p_values

    def _standing(self, labels: pd.DataFrame, left_out: int | None) -> np.ndarray:
        """How far each label stands out among the copies, without one of them."""
        spread = self._spread
        if left_out is not None:
            spread = spread[spread.index.get_level_values("epoch") != left_out]
        sums = spread.groupby(_KEY).sum()
        of_labels = labels.assign(family=base_feature(labels["feature"]))[_KEY].astype(object)
        n, total, squares = sums.reindex(pd.MultiIndex.from_frame(of_labels)).to_numpy().T
        mean = total / n
        deviation = np.sqrt(np.clip(squares / n - mean**2, 0, None) * n / np.where(n > 1, n - 1, np.nan))
        standing: np.ndarray = (_size(labels).to_numpy() - mean) / np.maximum(deviation, 1e-6)
        return standing


def mark_learned(labels: pd.DataFrame, untrained: Untrained, q: float) -> pd.DataFrame:
    """Give labels the columns ``learned`` and ``learned_q``, adjusted over units (Benjamini & Hochberg).

    Units without a label count as tests, as they do among the untrained units: they stand out least.
    """
    p_values = pd.Series(untrained.p_values(labels), index=labels.index)
    learned_q = adjust_p_values(p_values.mask(labels["feature"].isna(), 1.0)).where(p_values.notna())
    learned = (learned_q < q).astype("boolean").where(learned_q.notna())
    return labels.assign(learned=learned, learned_q=learned_q)


def _sum_up(rows: pd.DataFrame) -> pd.DataFrame:
    """Number, sum and sum of squares of the units' sizes in each copy, by what can be compared."""
    sizes = rows.assign(family=base_feature(rows["feature"]), size=_size(rows)).dropna(subset="size")
    sizes = sizes.astype(dict.fromkeys(["layer", "metric", "level"], object))
    of_units = sizes.groupby([*_KEY, "epoch", UNIT[1]], sort=False)["size"].max()
    copies = of_units.groupby([*_KEY, "epoch"], sort=False)
    return pd.DataFrame(
        {"n": copies.size(), "sum": copies.sum(), "squares": (of_units**2).groupby([*_KEY, "epoch"], sort=False).sum()}
    )


def _size(rows: pd.DataFrame) -> pd.Series:
    """The size of effects, on a scale on which they scatter alike: that of correlations by Fisher's transform."""
    size = rows["effect"].abs()
    correlation = rows["metric"].isin(CORRELATIONS)
    return size.where(~correlation, np.arctanh(size.where(correlation, 0).clip(upper=_LARGEST)))
