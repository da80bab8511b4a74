from lightning_dissect.features import feature_names
from lightning_dissect.metrics import METRICS
from lightning_dissect.report.words import FEATURE_WORDS, METRIC_WORDS, describe_comparison


def test_everything_registered_has_words() -> None:
    assert set(feature_names()) <= set(FEATURE_WORDS)
    assert set(METRICS) <= set(METRIC_WORDS)


def test_what_is_unknown_goes_by_its_name() -> None:
    assert describe_comparison("mine", "map") == "mine, frequency × time"
