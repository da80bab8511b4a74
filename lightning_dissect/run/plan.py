"""What each run of a callback compares, and how: all that is known before the network is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from lightning_dissect.activations.layers import find_kinds, find_layers
from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.features.feature import Feature
from lightning_dissect.features.spectrograms import AmplitudeScale, SpectrogramBank
from lightning_dissect.inputs import Inputs, Where
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.run.choice import CONTROLS, check_levels, find_controls, find_metrics, with_controls
from lightning_dissect.run.dissection import Dissection, Keeper


@dataclass(frozen=True)
class Plan:
    """Begins runs that all compare the same.

    Args:
        layers: Names or globs, see :func:`~lightning_dissect.activations.layers.find_layers`.
        bank: The features.
        metrics: A prototype of each metric.
        inputs: Finds the audio in a batch.
        axes: By name or glob of a layer, the axes of its output in words.
        max_clips: How many clips of each data loader are compared; None for all.
        map_clips: How many of these are compared at map level.
        controls: Names of the features that are trivial explanations.

    Example:
        >>> plan = Plan.of(Analysis(8_000), ["0"], ["centroid"], ["pearson"], None, None, None, None, None, 16)
        >>> plan.bank.names, plan.controls
        (('centroid', 'rms_db', 'input'), ('rms_db', 'input'))
        >>> list(plan.begin(nn.Sequential(nn.Linear(3, 2)), [4]).layers)
        ['0']
    """

    layers: Sequence[str] | None
    bank: FeatureBank
    metrics: Sequence[SimilarityMetric]
    inputs: Inputs
    axes: Mapping[str, str]
    max_clips: int | None
    map_clips: int
    controls: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        analysis: Analysis,
        layers: Sequence[str] | None,
        features: Sequence[str | Feature],
        metrics: Sequence[str | SimilarityMetric],
        waveform: Where | None,
        spectrogram: AmplitudeScale | None,
        lengths: Where | None,
        axes: Mapping[str, str] | None,
        max_clips: int | None,
        map_clips: int,
        controls: Sequence[str | Feature] = CONTROLS,
    ) -> Self:
        """Make the plan that the arguments of :class:`~lightning_dissect.DissectCallback` with these names tell.

        Raises:
            ValueError: If one of them cannot work.
        """
        for argument, count, least in (("max_clips", max_clips, 1), ("map_clips", map_clips, 0)):
            if count is not None and count < least:
                raise ValueError(f"{argument}={count}: it is a number from {least} on.")
        found = find_metrics(metrics)
        trivial = find_controls(controls, found, maps=map_clips > 0)
        names = tuple(control.name for control in trivial)
        features = with_controls(features, trivial)
        bank = (
            FeatureBank(features, analysis) if spectrogram is None else SpectrogramBank(spectrogram, features, analysis)
        )
        asked = {name: levels for name, levels in bank.levels.items() if name not in names}
        check_levels(asked or bank.levels, found, maps=map_clips > 0)
        inputs = Inputs(analysis.sample_rate, waveform, spectrogram, lengths, analysis.frequency.n_bins)
        return cls(layers, bank, found, inputs, dict(axes or {}), max_clips, map_clips, names)

    def begin(
        self,
        network: nn.Module,
        batches: Sequence[int | float],
        keepers: Sequence[Keeper] = (),
        map_clips: int | None = None,
    ) -> Dissection:
        """Begin a run, without its hooks yet.

        Args:
            network: The module whose submodules are dissected.
            batches: How many are to come, of each data loader; infinite where that is not known.
            keepers: Look on.
            map_clips: Instead of the plan's.

        Raises:
            ValueError: If the network lacks a layer.
        """
        layers = find_layers(network, self.layers)
        self.inputs.begin()
        return Dissection(
            layers,
            self.bank,
            self.metrics,
            max_clips=self.max_clips,
            map_clips=self.map_clips if map_clips is None else map_clips,
            batches=known_number(batches),
            axes={name: words for glob, words in self.axes.items() for name in find_layers(network, [glob])},
            kinds=find_kinds(network, layers),
            strict=self.layers is not None,
            keepers=keepers,
            controls=self.controls,
        )

    def settings(self, run: Dissection) -> dict[str, Any]:
        """What a run has compared and how, for citation."""
        return run.settings | {"spectrogram": self.inputs.spectrogram}


def known_number(batches: Sequence[int | float]) -> int | None:
    """The number of batches of the shortest data loader, if it is known.

    Example:
        >>> known_number([4, 7]), known_number([float("inf")]), known_number([])
        (4, None, None)
    """
    fewest = min(batches, default=0)
    return int(fewest) if 0 < fewest < float("inf") else None
