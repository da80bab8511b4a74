from collections.abc import Callable

import pandas as pd

from lightning_dissect.scores import tell_labels

Make = Callable[..., pd.DataFrame]


def test_what_sets_units_apart_comes_first_and_trivial_answers_are_none_of_it(make_labels: Make) -> None:
    kinds = ["distinct"] * 4 + ["shared"] * 3 + ["trivial"] * 12 + ["none"]
    labels = make_labels(kinds)
    labels["learned"] = pd.array([True, False, False, True] + [False] * 15 + [pd.NA], dtype="boolean")
    labels.loc[:3, "feature"] = ["chroma[A]", "chroma[B]", "loudness", "chroma[A]"]
    labels.loc[4:6, "feature"] = "chroma[A]"
    labels.at[4, "rivals"], labels.at[5, "rivals"] = ("chroma[B]", "loudness"), ("loudness",)
    labels.at[6, "rivals"] = ("loudness", "centroid")
    said = tell_labels(labels, ["rms_db", "input"], dead=1)
    assert list(said) == ["distinct", "learned", "shared", "trivial", "none", "error"]
    assert said["distinct"] == (
        "4 of 20 units (20%) follow one feature that sets them apart from all others that were compared: "
        "3 chroma, 1 loudness."
    )
    assert said["learned"].startswith("2 of these 4 are learned: in untrained copies")
    assert said["shared"] == (
        "3 (15%) follow several features that these clips cannot tell apart: "
        "2 chroma or loudness, 1 centroid, chroma or loudness."
    )
    assert said["trivial"] == "12 (60%) follow only what level or the input explains as well."
    assert said["none"] == (
        "1 (5%) follows none of the features more than chance explains; 1 of them never change their output."
    )
    assert "up to 5%" in said["error"]


def test_without_a_baseline_it_says_what_to_do(make_labels: Make) -> None:
    said = tell_labels(make_labels(["distinct", "none"], learned=None))
    assert said["distinct"].startswith("1 of 2 units (50%) follows one feature that sets it apart")
    assert said["learned"] == "Whether training made them so is not known: give untrained=4 to the callback."
    assert tell_labels(make_labels(["distinct"] * 9, learned=False))["learned"].startswith(
        "None of these 9 is shown to be learned"
    )


def test_nothing_that_sets_a_unit_apart_is_said_first_too(make_labels: Make) -> None:
    said = tell_labels(make_labels(["trivial"] * 30, learned=None), ["rms_db"])
    assert said["distinct"].startswith("None of 30 units follows one feature that sets it apart")
    assert "learned" not in said
    assert said["trivial"] == "30 (100%) follow only what level explains as well."
    assert list(tell_labels(make_labels(["none"] * 3, learned=None))) == ["distinct", "none"]
    assert tell_labels(make_labels([])) == {}


def test_labels_of_earlier_versions_are_not_called_distinct(make_labels: Make) -> None:
    said = tell_labels(make_labels(["untested"] * 8, learned=None))
    assert said["distinct"].startswith("None of 8")
    assert said["untested"].startswith("8 (100%) follow a feature, but whether it sets them apart was not tested")


def test_many_features_are_summed_up(make_labels: Make) -> None:
    labels = make_labels(["distinct"] * 12)
    labels["feature"] = ["a"] * 3 + ["b"] * 3 + ["c"] * 2 + ["d"] * 2 + ["e", "f"]
    assert tell_labels(labels)["distinct"].endswith(": 3 a, 3 b, 2 c, 2 d, 2 others.")
