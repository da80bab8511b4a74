"""What is compared where nothing else is asked for, and how metrics and controls are found by their names."""

from collections.abc import Collection, Mapping, Sequence

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_dissect.features.feature import Feature, make_feature
from lightning_dissect.levels import Level
from lightning_dissect.metrics import METRICS, SimilarityMetric

DEFAULT_FEATURES = ("harmonic", "percussive", "chroma", "loudness", "onset_rate", "harmonic_ratio")
DEFAULT_METRICS = ("pearson", "euclidean", "sift")
CONTROLS = ("rms_db", "input")
"""The trivial explanations that are always compared: how loud a clip is, and the spectrogram itself."""


def find_controls(
    controls: Sequence[str | Feature], metrics: Sequence[SimilarityMetric], maps: bool = True
) -> list[Feature]:
    """Find the controls that some metric can compare; the others would be computed for nothing.

    Args:
        controls: Names or features.
        metrics: The metrics.
        maps: Whether maps are compared at all.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> [feature.name for feature in find_controls(CONTROLS, find_metrics(["euclidean"]))]
        ['rms_db']
    """
    if isinstance(controls, str):
        raise ValueError(
            f"controls must be a list of names or features, got the string {controls!r}: use [{controls!r}]."
        )
    found = [make_feature(control) if isinstance(control, str) else control for control in controls]
    reached = _reached(metrics, maps)
    return [feature for feature in found if not reached.isdisjoint(feature.levels)]


def with_controls(features: Sequence[str | Feature], controls: Sequence[Feature]) -> Sequence[str | Feature]:
    """Put those controls after the features that are not among them."""
    if isinstance(features, str) or not features:
        return features  # which is an error that the bank explains
    names = {feature if isinstance(feature, str) else feature.name for feature in features}
    return [*features, *(control for control in controls if control.name not in names)]


def check_levels(
    features: Mapping[str, Collection[Level]], metrics: Sequence[SimilarityMetric], maps: bool = True
) -> None:
    """Warn of features that no metric can compare, since they have no level that one works at.

    Args:
        features: The levels that each feature has.
        metrics: The metrics.
        maps: Whether maps are compared at all.

    Raises:
        ValueError: If that is so for every feature.
    """
    reached = _reached(metrics, maps)
    alone = [name for name, levels in features.items() if reached.isdisjoint(levels)]
    if len(alone) == len(features):
        advice = "Add 'pearson', which works at every level" + (
            "." if maps else ", or compare maps: map_clips above 0."
        )
        raise ValueError(
            f"metrics: {', '.join(f'{metric.name}.{metric.level}' for metric in metrics)} have no level in "
            f"common with the features {', '.join(alone)}. {advice}"
        )
    if alone:
        rank_zero_warn(f"No metric works at a level that these features have: {', '.join(alone)}.")


def find_metrics(metrics: Sequence[str | SimilarityMetric]) -> list[SimilarityMetric]:
    """Make metrics from their names, or from metrics: one for each level that it works at, or the one it was made for.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> [(metric.name, metric.level) for metric in find_metrics(["euclidean"])]
        [('euclidean', 'clip')]
    """
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a list of names or metrics, got the string {metrics!r}: use [{metrics!r}].")
    found: list[SimilarityMetric] = []
    for metric in metrics:
        if not isinstance(metric, SimilarityMetric) and metric not in METRICS:
            raise ValueError(
                f"metrics: {metric!r} is unknown. Known are {', '.join(METRICS)}, and any SimilarityMetric."
            )
        found += (metric if isinstance(metric, SimilarityMetric) else METRICS[metric]()).at_every_level()
    return found


def _reached(metrics: Sequence[SimilarityMetric], maps: bool) -> set[Level]:
    """The levels at which anything is compared."""
    return {metric.level for metric in metrics if maps or metric.level != "map"}
