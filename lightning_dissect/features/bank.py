"""Several features of a batch at once, from one analysis of its audio."""

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lightning_dissect.features.analysis import Analysis, as_analysis
from lightning_dissect.features.clips import Clips, as_clips
from lightning_dissect.features.feature import Feature, feature_names, make_feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.lengths import frame_mask, without_empty
from lightning_dissect.levels import Level


class FeatureValues(NamedTuple):
    """A feature of each clip of a batch.

    Attributes:
        values: float32, shape ``(clips, rows)`` at clip level, ``(clips, rows, frames)`` at frame and map level.
            Frame-level values past a clip's end are 0; maps show there what silence looks like.
        level: ``clip``, ``frame`` or ``map``.
        rows: Names of the rows, as used in tables; empty where the rows are bins of the frequency axis.
        mask: True where a frame belongs to its clip, shape ``(clips, frames)``; None where all frames do.
    """

    values: Tensor
    level: Level
    rows: tuple[str, ...]
    mask: Tensor | None


class FeatureBank(nn.Module):
    """Computes features of batches of audio; each clip's spectrum and decomposition are computed once.

    All frame- and map-level features share one grid of ``1 + samples // hop_length`` frames. Computation is in float32,
    whatever the precision around it. A clip with a sample that is not finite gets NaN, and changes no other clip.

    Args:
        features: Names, or `Feature` objects (which are copied).
        sample_rate: Samples per second; or an `Analysis`, which says this and what follows.
        n_fft: Samples of a frame, even.
        hop_length: Samples between frames.
        frequency: The frequency axis of the network's input, for map features; 128 mel bands if None.

    Raises:
        ValueError: If a name is unknown or occurs twice, no feature is given, or an argument is out of range.

    Example:
        >>> bank = FeatureBank(["chroma", "loudness"], sample_rate=22050)
        >>> features = bank(torch.randn(2, 22050))
        >>> features["chroma"].values.shape, features["loudness"].rows
        (torch.Size([2, 12, 44]), ('loudness',))
    """

    projection: Tensor

    def __init__(
        self,
        features: Sequence[str | Feature],
        sample_rate: int | Analysis,
        n_fft: int = 2048,
        hop_length: int = 512,
        frequency: FrequencyAxis | None = None,
    ) -> None:
        super().__init__()
        if isinstance(features, str) or not features:
            raise ValueError(
                f"features must be a list of names or Feature objects, at least one; found {features!r}. The known "
                f"names are {', '.join(feature_names())}."
            )
        self.analysis = as_analysis(sample_rate, n_fft, hop_length, frequency)
        projection = self.analysis.frequency.projection(self.analysis.sample_rate, self.analysis.n_fft)
        self.register_buffer("projection", projection, persistent=False)
        self.features = nn.ModuleDict()
        for item in features:
            made = copy.deepcopy(item) if isinstance(item, Feature) else make_feature(item)
            if made.name in self.features:
                raise ValueError(f"features: {made.name!r} is given twice.")
            made.setup(self.analysis)
            self.features[made.name] = made

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(self.features)

    @property
    def rows(self) -> dict[str, tuple[str, ...]]:
        """Names of each feature's rows; bins of the frequency axis count as one row, with the feature's name."""
        return {feature.name: feature.rows or (feature.name,) for feature in self._features()}

    @property
    def levels(self) -> dict[str, tuple[Level, ...]]:
        """The levels at which each feature can be compared."""
        return {feature.name: feature.levels for feature in self._features()}

    def frames(self, samples: int) -> int:
        """Return how many frames a batch of this many samples has."""
        return self.analysis.n_frames(samples)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> dict[str, FeatureValues]:
        """Compute the features.

        Args:
            waveform: Audio, shape ``(clips, samples)``, floating point.
            lengths: Valid samples of each clip, shape ``(clips,)``, integers. What lies beyond changes nothing; a clip
                of length 0 gets NaN.

        Returns:
            The values of each feature, by name.

        Raises:
            ValueError: If ``waveform`` or ``lengths`` is malformed, or a feature returns another shape than it
                declares.
        """
        given = lengths
        waveform, lengths = as_clips(waveform, lengths)
        if given is not None:
            waveform = without_empty(waveform, given)
        with torch.autocast(waveform.device.type, enabled=False):
            values = self._in_turn(waveform, lengths)
        mask = None
        if lengths is not None:
            mask = frame_mask(1 + lengths // self.analysis.hop_length, self.frames(waveform.shape[1]))
        return self._described(values, mask)

    def _described(self, values: dict[str, Tensor], mask: Tensor | None) -> dict[str, FeatureValues]:
        """Say of each feature's values what they are."""
        return {
            feature.name: FeatureValues(
                values[feature.name], feature.level, feature.rows, None if feature.level == "clip" else mask
            )
            for feature in self._features()
        }

    def _in_turn(self, waveform: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        """Compute the features, a few clips at a time.

        What lies between audio and features then stays in a CPU's cache, and takes little memory.
        """
        at_once = max(2 * chunk_size(waveform.device) // waveform.shape[1], 1)
        if len(waveform) <= at_once:
            return dict(self._some(waveform, lengths))
        whole: dict[str, Tensor] = {}
        for first in range(0, len(waveform), at_once):
            clips = slice(first, first + at_once)
            for name, some in self._some(waveform[clips], None if lengths is None else lengths[clips]):
                if name not in whole:
                    whole[name] = some.new_empty(len(waveform), *some.shape[1:])
                whole[name][clips] = some
        return whole

    def _some(self, waveform: Tensor, lengths: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        """Compute the features of some clips."""
        clips = Clips(waveform, self.analysis, lengths, self.projection)
        finite = _finite(clips.waveform)
        if finite is not None:
            clips.waveform = torch.where(finite[:, None], clips.waveform, 0.0)
        return self._compute(clips, finite)

    def _compute(self, clips: Clips, finite: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        """Compute the features of clips that are analysed already, one by one; those that are not finite get NaN."""
        # Those of the audio alone come first: the spectrum is not there yet to take memory beside theirs.
        for feature in sorted(self._features(), key=lambda feature: feature.needs_spectrum):
            yield feature.name, _values(feature, clips, finite)

    def _features(self) -> list[Feature]:
        return [cast(Feature, feature) for feature in self.features.values()]


def _finite(waveform: Tensor) -> Tensor | None:
    """Return which clips are finite, or None where all are and the device can be asked without waiting for it."""
    # Ten times as fast as a look at each sample, or as aminmax; both ends of what holds NaN are NaN.
    finite = waveform.amin(dim=1).isfinite() & waveform.amax(dim=1).isfinite()
    return None if finite.device.type == "cpu" and finite.all() else finite


def _values(feature: Feature, clips: Clips, finite: Tensor | None) -> Tensor:
    """Compute one feature of some clips, and bring it to the shape that all share."""
    values: Tensor = feature(clips).float()
    n_rows = max(len(feature.row_names), 1)
    shape = {"clip": (clips.n_clips, n_rows), "frame": (clips.n_clips, n_rows, clips.n_frames)}.get(feature.level)
    if shape is not None and n_rows == 1 and values.dim() == len(shape) - 1:
        values = values.unsqueeze(1)
    expected = shape or (clips.n_clips, n_rows if feature.row_names else values.shape[1 % values.dim()], clips.n_frames)
    if values.shape != expected:
        raise ValueError(
            f"features: {feature.name!r} is declared as {feature.level}-level and must return shape {expected}, "
            f"found {tuple(values.shape)}."
        )
    if feature.level == "frame":
        values = clips.trimmed(values)
    if finite is None:
        return values
    return torch.where(finite.view(-1, *[1] * (values.dim() - 1)), values, torch.nan)
