"""What the labels of a run say, in plain words, for people who know no statistics."""

from collections.abc import Sequence

import pandas as pd

from lightning_dissect.scores.features import base_feature, fold_features
from lightning_dissect.scores.summary import count_kinds, list_features
from lightning_dissect.scores.table import Scores

_MOST_NAMED, _MOST_GROUPS = 4, 3


def headline(scores: Scores, q: float = 0.05, least: float = 0.0, labels: pd.DataFrame | None = None) -> dict[str, str]:
    """Say what the labels of the last run are: :func:`tell_labels` of ``scores.labels(q, least)``, if not given."""
    labels = scores.labels(q, least) if labels is None else labels
    return tell_labels(labels, list_features(scores.last())[1], len(scores.dead_units()), q)


def tell_labels(labels: pd.DataFrame, controls: Sequence[str] = (), dead: int = 0, q: float = 0.05) -> dict[str, str]:
    """Say how many units follow one feature, several, something trivial, or nothing.

    Args:
        labels: One row a unit, like ``Scores.labels()``.
        controls: Names of the controls.
        dead: How many units never change their output.
        q: The false discovery rate that the labels accept.

    Returns:
        Sentences by the kind that they are about, in this order: ``distinct``; ``learned`` where some are distinct;
        ``shared``, ``trivial`` and ``untested`` where there are such labels; ``none``; and ``error``, what share of
        this may be false, where there are labels at all. Without units, nothing.
    """
    counts = count_kinds(labels).sum()
    units = int(counts.get("units", 0))
    if not units:
        return {}
    distinct, shared, trivial, untested, none = (
        int(counts[kind]) for kind in ("distinct", "shared", "trivial", "untested", "none")
    )
    said = {"distinct": _of_distinct(labels, distinct, units)}
    if distinct:
        said["learned"] = _of_learned(labels, distinct)
    if shared:
        groups = _name_shared(labels)
        share = _share(shared, units)
        said["shared"] = f"{share} several features that these clips cannot tell apart: {groups}."
    if trivial:
        names = " or ".join(fold_features(controls)) or "a control"
        said["trivial"] = f"{_share(trivial, units)} only what {names} explains as well."
    if untested:
        words = "a feature, but whether it sets them apart was not tested: an earlier version made these scores."
        said["untested"] = f"{_share(untested, units)} {words}"
    said["none"] = f"{_share(none, units)} none of the features more than chance explains"
    said["none"] += f"; {dead} of them never change their output." if dead else "."
    if units > none:
        said["error"] = (
            f"Of the units that are said to follow something, up to {q:.0%} are expected to be there by chance; the "
            "same holds of those with one feature that sets them apart, and of those whose label is learned."
        )
    return said


def _of_distinct(labels: pd.DataFrame, distinct: int, units: int) -> str:
    if not distinct:
        return f"None of {units} units follows one feature that sets it apart from all others that were compared."
    features = base_feature(labels.loc[labels["kind"] == "distinct", "feature"])
    named = _name_most(features.astype(str))
    share = f"{distinct} of {units} units ({distinct / units:.0%}) {_follow(distinct)} one feature that sets"
    return f"{share} {'it' if distinct == 1 else 'them'} apart from all others that were compared: {named}."


def _of_learned(labels: pd.DataFrame, distinct: int) -> str:
    known = labels["learned"].astype("boolean")
    if known.isna().all():
        return "Whether training made them so is not known: give untrained=4 to the callback."
    learned = int((known.fillna(False) & (labels["kind"] == "distinct")).sum())
    without = "in untrained copies of the network units do not follow that feature as strongly."
    if not learned:
        return f"None of these {distinct} is shown to be learned, to stand out from units of untrained copies."
    return f"{learned} of these {distinct} {'is' if learned == 1 else 'are'} learned: {without}"


def _name_shared(labels: pd.DataFrame) -> str:
    """Name the groups of features that share most units."""
    shared = labels[labels["kind"] == "shared"]
    groups = []
    for feature, rivals in zip(shared["feature"].astype(str), shared["rivals"], strict=True):
        *others, last = sorted({name.partition("[")[0] for name in (feature, *rivals)})
        groups.append(f"{', '.join(others)} or {last}" if others else last)
    return _name_most(pd.Series(groups), _MOST_GROUPS)


def _name_most(names: pd.Series, most: int = _MOST_NAMED) -> str:
    """Name the most frequent ones, with how many there are."""
    counts = names.value_counts()
    named = ", ".join(f"{count} {name}" for name, count in counts.head(most).items())
    rest = int(counts.iloc[most:].sum())
    return f"{named}, {rest} others" if rest else named


def _share(count: int, units: int) -> str:
    return f"{count} ({count / units:.0%}) {_follow(count)}"


def _follow(count: int) -> str:
    return "follows" if count == 1 else "follow"
