from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from lightning_dissect.scores import count_controls, count_kinds, count_labels, explained_variance, list_features

KINDS = ("distinct", "shared", "trivial", "untested", "none")
Make = Callable[..., pd.DataFrame]


def draw_kinds(seed: int, units: int = 200) -> list[str]:
    return np.random.default_rng(seed).choice(KINDS, units).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_each_unit_is_counted_once_with_its_kind(seed: int, make_labels: Make) -> None:
    kinds = draw_kinds(seed)
    labels = make_labels(kinds, seed)
    counts = count_kinds(labels)
    assert counts.index.tolist() == labels["layer"].unique().tolist()
    assert (counts[list(KINDS)].sum(axis=1) == counts["units"]).all()
    for layer, units in labels.groupby("layer"):
        own = [kinds[unit] for unit in units["unit"]]
        assert counts.loc[layer, list(KINDS)].tolist() == [own.count(kind) for kind in KINDS]
        learned = units.set_index("unit")["learned"].fillna(False)
        assert counts.loc[layer, "learned"] == sum(learned[unit] for unit in units["unit"] if kinds[unit] == "distinct")


def test_learned_is_missing_without_a_baseline(make_labels: Make) -> None:
    assert count_kinds(make_labels(draw_kinds(0), learned=None))["learned"].isna().all()
    assert (count_kinds(make_labels(draw_kinds(0), learned=False))["learned"] == 0).all()


@pytest.mark.parametrize("kind", ["distinct", "shared", "trivial"])
def test_only_labels_of_one_kind_are_counted_by_feature(kind: str, make_labels: Make) -> None:
    labels = make_labels(draw_kinds(4), 4)
    counts = count_labels(labels, ["loudness", "chroma", "centroid", "flatness"], kind)
    for layer, units in labels.groupby("layer"):
        own = [str(unit.feature).partition("[")[0] for unit in units.itertuples() if unit.kind == kind]
        assert counts.loc[layer].tolist() == [own.count(name) for name in counts]
    assert (counts["flatness"] == 0).all()


def test_trivial_labels_are_counted_by_the_control_that_explains_them(make_labels: Make) -> None:
    labels = make_labels(draw_kinds(5), 5)
    counts = count_controls(labels, ["rms_db", "input"])
    trivial = labels[labels["kind"] == "trivial"]
    for control in ("rms_db", "input"):
        of_it = [control == row.feature or control in row.rivals for row in trivial.itertuples()]
        assert counts[control].sum() == sum(of_it)
    assert counts.to_numpy().sum() == len(trivial)


def test_nothing_labelled_is_counted_as_none(make_labels: Make) -> None:
    labels = make_labels(["none"] * 5, learned=None)
    assert count_kinds(labels)["none"].sum() == 5
    assert count_labels(labels, ["rms"]).to_numpy().sum() == 0
    assert count_controls(labels, ["rms_db"]).shape == (len(labels["layer"].unique()), 1)


def test_controls_are_listed_apart() -> None:
    features = pd.Series(["chroma[A]", "chroma[B]", "input", "loudness", "rms_db"] * 2, dtype="category")
    rows = pd.DataFrame({"feature": features, "control": features.isin(["input", "rms_db"])})
    assert list_features(rows) == (["chroma", "loudness"], ["input", "rms_db"])


def test_variance_is_explained_by_correlations_alone() -> None:
    rows = pd.DataFrame(
        {"metric": ["pearson", "spearman", "sift", "euclidean", "pearson"], "score": [-0.3, 1, 0.5, 0.9, np.nan]}
    )
    np.testing.assert_allclose(explained_variance(rows), [0.09, 1, np.nan, np.nan, np.nan])
