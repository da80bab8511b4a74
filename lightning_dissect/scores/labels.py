"""The labels of units: which feature sets each apart, and which it cannot be told from."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lightning_dissect.scores.columns import LABEL_COLUMNS, UNIT
from lightning_dissect.scores.features import base_feature
from lightning_dissect.scores.significance import adjust_in_groups, adjust_p_values, join_p_values, sort_groups
from lightning_dissect.scores.variance import explained_variance

CELL = [*UNIT, "dataloader", "metric", "level"]
"""What the rows of a unit have in common whose scores can be compared with each other."""

KINDS = ("distinct", "shared", "trivial")
"""Kinds of labels: one feature sets the unit apart; several do, which cannot be told apart; a control does as well."""


class _Cells(NamedTuple):
    """The best row of each cell, and what speaks for others; each of shape (cells,).

    Attributes:
        best: Position of the row that explains the unit best; it is supported only if ``supported``.
        supported: Whether there is a supported row at all.
        known: Whether the rows have been compared with this one.
        rival_p: Largest p-value of another feature, that it explains the unit less, adjusted for the unit's cells.
        control_p: The same of controls alone.
        factor: How many times larger the adjusted p-values are.
    """

    best: np.ndarray
    supported: np.ndarray
    known: np.ndarray
    rival_p: np.ndarray
    control_p: np.ndarray
    factor: np.ndarray


def label_units(rows: pd.DataFrame, q: float, least: float = 0.0) -> pd.DataFrame:
    """Label each unit, from the rows of one run that have a unit: see :meth:`Scores.labels`.

    Raises:
        ValueError: If ``q`` is not in (0, 1), or ``least`` is negative.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q} is not in (0, 1): it is the accepted false discovery rate, such as 0.05.")
    if not least >= 0:
        raise ValueError(f"least={least} is negative: it is the smallest effect, of either sign, that is called one.")
    rows = rows.reset_index(drop=True)
    order, begins = sort_groups(rows, UNIT)
    labels: pd.DataFrame = rows.loc[order[begins], UNIT].reset_index(drop=True)
    joined = join_p_values(rows["p_value"].to_numpy()[order], begins)
    labels["q_value"] = adjust_p_values(pd.Series(joined, dtype=float))
    number = np.empty(len(rows), dtype=int)  # of the unit that a row is of
    number[order] = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(rows)))
    cell = rows.groupby(CELL, observed=True, sort=False).ngroup().to_numpy()
    cells = _compare_features(rows, cell, number, q, least)
    chosen = _choose(rows, cells, number[cells.best], q)
    chosen = chosen[(labels["q_value"].to_numpy() < q)[number[cells.best[chosen]]]]
    rivals = _find_rivals(rows, cell, cells, chosen, q)
    found = rows.loc[cells.best[chosen]].assign(**rivals).set_index(number[cells.best[chosen]])
    labels = labels.join(found[[name for name in found if name not in labels]])
    labels["learned"], labels["learned_q"] = pd.array([pd.NA] * len(labels), dtype="boolean"), np.nan
    return labels[LABEL_COLUMNS]


def _compare_features(rows: pd.DataFrame, cell: np.ndarray, unit: np.ndarray, q: float, least: float) -> _Cells:
    """Find the best row of each cell: of those that are supported, the one that the others were compared with.

    A unit's label is chosen from its cells for having no rival, so that p-values are adjusted for their number.
    """
    p_value, lower = rows["p_value"].to_numpy(), rows["lower_p_value"].to_numpy()
    size = rows["effect"].abs().to_numpy()
    tests = np.bincount(cell, np.isfinite(p_value))[cell] if len(cell) else cell
    supported = (p_value * tests < q) & (size >= least)
    order = np.lexsort((-size, np.where(supported, -np.nan_to_num(lower), 1.0), cell))
    best = order[np.flatnonzero(np.diff(cell[order], prepend=-1))]
    family = pd.factorize(base_feature(rows["feature"]))[0]
    other = (family != family[best[cell]]) & np.isfinite(lower)
    largest = []
    for mask in (other, other & rows["control"].to_numpy()):
        largest.append(np.zeros(len(best)))
        np.maximum.at(largest[-1], cell[mask], lower[mask])
    rival_p, control_p = largest
    # Where the best row of the run is not among these rows, the others were compared with that.
    known = lower[best] == 1
    asked = supported[best] & known & ~rows["control"].to_numpy()[best]
    adjusted = adjust_in_groups(np.where(asked, rival_p, np.nan), unit[best])
    factor = np.divide(adjusted, rival_p, out=np.ones(len(best)), where=asked & (rival_p > 0))
    return _Cells(best, supported[best], known, rival_p * factor, control_p * factor, factor)


def _choose(rows: pd.DataFrame, cells: _Cells, unit: np.ndarray, q: float) -> np.ndarray:
    """Of each unit's cells, take the one that says most: a distinct feature, else one that no control explains.

    Where that leaves several, it is that of the finest level, since what holds at each frequency and time says more
    than what holds in the mean; and of these, the one with the smallest p-value.
    """
    best = rows.iloc[cells.best]
    level = best["level"].astype(str).map({"map": 0, "frame": 1, "clip": 2}).to_numpy()
    control = best["control"].to_numpy()
    apart = cells.known & ~control & (cells.rival_p < q)
    trivial = control | (cells.control_p >= q)
    order = np.lexsort(
        (
            -best["effect"].abs().to_numpy(),
            best["p_value"].to_numpy(),
            level,
            np.select([apart, ~trivial], [0, 1], 2),
            unit,
        )
    )
    order = order[cells.supported[order]]
    first: np.ndarray = order[np.flatnonzero(np.diff(unit[order], prepend=-1))]
    return first


def _find_rivals(
    rows: pd.DataFrame, cell: np.ndarray, cells: _Cells, chosen: np.ndarray, q: float
) -> dict[str, pd.Series]:
    """The columns that tell the labels' rivals.

    A label is distinct if the test against its closest rival stays significant when it is adjusted for all labels
    (Benjamini & Hochberg), so that of the distinct ones at most a share of q is expected to be wrong. The largest
    p-value that does is the limit by which the rivals of the others are named.
    """
    control = rows["control"].to_numpy()[cells.best[chosen]]
    known, closest = cells.known[chosen], cells.rival_p[chosen]
    asked = known & ~control
    distinct = (adjust_p_values(pd.Series(np.where(asked, closest, np.nan))) < q).to_numpy()
    limit = closest[distinct].max(initial=q / max(asked.sum(), 1))
    trivial = control | (known & (cells.control_p[chosen] > limit))
    kind = np.select([trivial, ~known, distinct], ["trivial", "", "distinct"], "shared")
    is_rival = np.isin(cell, chosen) & (rows["lower_p_value"].to_numpy() * cells.factor[cell] > limit)
    is_rival[cells.best] = False
    named: dict[int, list[str]] = {}
    for place, name in zip(cell[is_rival], rows["feature"][is_rival].astype(str), strict=True):
        named.setdefault(place, []).append(name)
    index = cells.best[chosen]
    return {
        "rivals": pd.Series([tuple(named.get(place, ())) for place in chosen], index, dtype=object),
        "distinct": pd.Series(kind == "distinct", index, dtype="boolean").where(known),
        "kind": pd.Series(kind, index, dtype=object).where(kind != ""),
    }


def flatten_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """Labels as files of text and numbers can hold them: rivals as one text, with ``;`` between them, and ``r2``."""
    rivals = [";".join(names) if isinstance(names, tuple) else None for names in labels["rivals"]]
    return labels.assign(rivals=pd.Series(rivals, labels.index, dtype=object), r2=explained_variance(labels))


def compare_labels(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Set the labels of two runs beside each other: see :meth:`Scores.compare`."""
    # Names as objects: the two sides have other categories.
    sides = [
        labels[[*UNIT, "feature", "kind", "effect"]].astype({"layer": object, "feature": object})
        for labels in (before, after)
    ]
    both = sides[0].merge(sides[1], on=UNIT, how="outer", suffixes=("_before", "_after"), sort=False)
    both["changed"] = False
    for name in ("feature", "kind"):
        both["changed"] |= both[f"{name}_before"].fillna("") != both[f"{name}_after"].fillna("")
    shown = ["feature_before", "feature_after", "kind_before", "kind_after", "effect_before", "effect_after", "changed"]
    return both[[*UNIT, *shown]]
