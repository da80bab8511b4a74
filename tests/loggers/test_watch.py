"""Single units that are watched."""

import numpy as np
import pandas as pd
import pytest

from lightning_dissect.loggers.watch import check_layers, check_units, watched_scores
from lightning_dissect.scores import Scores


@pytest.fixture
def scores() -> Scores:
    rows = [
        (layer, unit, feature, metric, 0.1 * unit + place, 0.01 * (place + 1), dataloader)
        for dataloader in (0, 1)
        for layer in ("conv", "embedding")
        for unit in range(4)
        for place, (feature, metric) in enumerate(
            [("chroma[A]", "pearson"), ("chroma[B]", "pearson"), ("rms", "pearson"), ("rms", "euclidean")]
        )
    ]
    names = ["layer", "unit", "feature", "metric", "score", "p_value", "dataloader"]
    table = pd.DataFrame(rows, columns=names).assign(epoch=0, step=3, level="clip", null=0.0, n_clips=9)
    return Scores(table.assign(effect=table["score"]))


def one_loader(scores: Scores) -> Scores:
    return Scores(scores.table[scores.table["dataloader"] == 0])


def test_a_unit_has_a_scalar_for_each_feature_and_metric(scores: Scores) -> None:
    assert watched_scores(one_loader(scores), {"embedding": [3], "conv": [0]}) == pytest.approx(
        {
            "dissect.conv/unit0/chroma/pearson.clip": 0.0,
            "dissect.conv/unit0/rms/pearson.clip": 2.0,
            "dissect.conv/unit0/rms/euclidean.clip": 3.0,
            "dissect.embedding/unit3/chroma/pearson.clip": 0.3,
            "dissect.embedding/unit3/rms/pearson.clip": 2.3,
            "dissect.embedding/unit3/rms/euclidean.clip": 3.3,
        }
    )


def test_loaders_are_told_apart_and_undefined_scores_stay(scores: Scores) -> None:
    scores.table.loc[scores.table["feature"] == "rms", ["score", "p_value"]] = np.nan
    found = watched_scores(scores, {"conv": [1]}, "dissect2")
    assert len(found) == 6
    assert np.isnan(found["dissect2.conv/unit1/rms/pearson.clip.dataloader1"])


def test_nothing_to_follow_is_nothing(scores: Scores) -> None:
    assert watched_scores(scores, {}) == {}
    assert watched_scores(scores, {"conv": []}) == {}


def test_names_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(
        ValueError, match=r"watch: 'embeding' is none of the layers that are dissected, conv, embedding"
    ):
        check_layers({"conv": [0], "embeding": [1]}, ["conv", "embedding"])
    with pytest.raises(ValueError, match=r"watch: 'conv' has no units \[-1, 4\]; its units are 0 to 3"):
        check_units({"conv": [-1, 0, 4]}, {"conv": 4})
    check_units({"conv": [0, 3], "has not run": [99]}, {"conv": 4})
