import pytest

from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.features.feature import make_feature
from lightning_dissect.metrics import EuclideanSimilarity, PearsonSimilarity
from lightning_dissect.run.choice import CONTROLS, check_levels, find_controls, find_metrics, with_controls


def test_a_name_and_an_instance_run_at_every_level_and_one_of_a_level_there() -> None:
    levels = [[metric.level for metric in find_metrics([given])] for given in ("pearson", PearsonSimilarity())]
    assert levels == [["clip", "frame", "map"]] * 2
    assert [metric.level for metric in find_metrics([PearsonSimilarity(level="clip")])] == ["clip"]
    scaled = find_metrics([EuclideanSimilarity("minmax")])
    assert [metric.normalization for metric in scaled if isinstance(metric, EuclideanSimilarity)] == ["minmax"]


def test_features_without_a_level_in_common_are_told() -> None:
    features = FeatureBank(["harmonic", "chroma", "onset_rate"], 16_000).levels
    check_levels(features, find_metrics(["pearson"]))
    with pytest.warns(UserWarning, match=r"No metric works at a level that these features have: harmonic\."):
        check_levels(features, find_metrics(["pearson"]), maps=False)
    with pytest.warns(UserWarning, match=r"these features have: onset_rate\."):
        check_levels(features, find_metrics(["sift"]))
    of_bins = FeatureBank(["harmonic", "input"], 16_000).levels
    with pytest.raises(ValueError, match=r"euclidean\.clip have no level in common .* harmonic, input\. Add 'pearson'"):
        check_levels(of_bins, find_metrics(["euclidean"]))
    with pytest.raises(ValueError, match=r"or compare maps: map_clips above 0\."):
        check_levels(of_bins, find_metrics(["pearson"]), maps=False)


@pytest.mark.parametrize(
    ("metrics", "maps", "found"),
    [
        (["pearson"], True, ["rms_db", "input"]),
        (["pearson"], False, ["rms_db"]),
        (["sift"], True, ["input"]),
        (["euclidean"], True, ["rms_db"]),
        (["sift"], False, []),
    ],
)
def test_controls_that_nothing_can_compare_are_not_computed(metrics: list[str], maps: bool, found: list[str]) -> None:
    assert [control.name for control in find_controls(CONTROLS, find_metrics(metrics), maps)] == found


def test_controls_of_the_users_own_are_taken_and_none_is_there_twice() -> None:
    controls = find_controls([make_feature("centroid"), "rms_db"], find_metrics(["pearson"]))
    assert [control.name for control in controls] == ["centroid", "rms_db"]
    assert with_controls(["rms_db", "chroma"], controls) == ["rms_db", "chroma", controls[0]]
    with pytest.raises(ValueError, match=r"controls must be a list .* use \['rms_db'\]"):
        find_controls("rms_db", find_metrics(["pearson"]))
    with pytest.raises(ValueError, match="unknown feature 'level'"):
        find_controls(["level"], find_metrics(["pearson"]))
