"""Features of spectrograms, where a batch holds no audio."""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, get_args

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.bank import FeatureBank, FeatureValues
from lightning_dissect.features.clips import Clips, Parts
from lightning_dissect.features.feature import Feature, feature_names, make_feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.functional.hpss import hpss
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask, without_empty
from lightning_dissect.features.functional.loudness import rms

AmplitudeScale = Literal["magnitude", "power", "db"]
"""What a spectrogram's values are: magnitudes, powers, or decibels, 10 log10 of a power."""

_NARROW = 15.0
"""Decibels; the values of a batch of music or speech differ by more."""


class NotInSpectrogramError(ValueError):
    """A feature asked for what a spectrogram does not hold: ``audio`` or the whole ``spectrum``."""


class SpectrogramClips(Clips):
    """A batch of spectrograms, for features that need no more of clips.

    Args:
        magnitude: On the frequency axis of ``analysis``, shape ``(clips, n_bins, frames)``, finite, not negative.
        analysis: Sampling rate, frames and frequency axis.
        whole: Whether the axis holds each bin of the spectrum; else what reads the spectrum raises.
        frame_lengths: Valid frames of each clip, shape ``(clips,)``; what lies beyond is zeroed.

    Raises:
        NotInSpectrogramError: From what needs the audio (``waveform``, ``lengths``, ``stft``), or the whole spectrum
            (``magnitude``, ``power``, ``hpss``).

    Example:
        >>> clips = SpectrogramClips(torch.rand(2, 128, 44), Analysis(22050), whole=False)
        >>> clips.parts.harmonic.shape
        torch.Size([2, 128, 44])
        >>> clips.waveform
        Traceback (most recent call last):
        lightning_dissect.features.spectrograms.NotInSpectrogramError: audio
    """

    def __init__(self, magnitude: Tensor, analysis: Analysis, whole: bool, frame_lengths: Tensor | None = None) -> None:
        self.analysis = analysis
        self._whole, self._frame_lengths, self._frames = whole, frame_lengths, magnitude.shape[-1]
        self._given = self.trimmed(magnitude)

    def __getattr__(self, name: str) -> Tensor:
        # Only what the parent sets when it is made of audio is looked for here.
        raise NotInSpectrogramError("audio") if name in ("waveform", "lengths") else AttributeError(name)

    @property
    def n_clips(self) -> int:
        """Clips of the batch."""
        return self._given.shape[0]

    @property
    def n_frames(self) -> int:
        """Frames of the padded batch."""
        return self._frames

    @cached_property
    def valid_frames(self) -> Tensor | None:
        """Frames of each clip, shape ``(clips,)``, or None where all clips fill the batch."""
        return self._frame_lengths

    @cached_property
    def magnitude(self) -> Tensor:
        """Magnitudes of the spectra, shape ``(clips, 1 + n_fft // 2, frames)``."""
        if not self._whole:
            raise NotInSpectrogramError("spectrum")
        return self._given

    @cached_property
    def rms(self) -> Tensor:
        """Level of each frame, shape ``(clips, frames)``.

        Of the whole spectrum that of `librosa.feature.rms`, weighted by the window; on another axis, whose bins may
        overlap, the root of the power summed over them.
        """
        if self._whole:
            return rms(S=self._given, frame_length=self.n_fft)
        return self.spectrogram.sum(dim=1).sqrt()

    @property
    def spectrogram(self) -> Tensor:
        """Power on the frequency axis, shape ``(clips, n_bins, frames)``."""
        return self._given.square()

    @cached_property
    def parts(self) -> Parts:
        """The harmonic and the percussive part, split on the frequency axis, and their energy summed over it."""
        harmonic, percussive = (part.square() for part in hpss(self._given, lengths=self.valid_frames))
        return Parts(harmonic, percussive, harmonic.sum(dim=1), percussive.sum(dim=1))


class SpectrogramBank(FeatureBank):
    """Computes features of batches of spectrograms, as `FeatureBank` does of batches of audio.

    Harmonic and percussive parts are split on the spectrogram's own axis: medians over 31 frames and 31 of its bins. On
    an axis with each bin of the spectrum, all features of the spectrum (`chroma`, `centroid`, …) are those of the
    audio. `rms` and `rms_db` are those of such a spectrum, weighted by the window (some 4 dB less for Hann's); on
    another axis, of the power summed over its bins, on which also `harmonic_ratio` is taken. Other features of the
    audio itself are refused.

    Args:
        scale: What the spectrograms' values are: ``magnitude``, ``power`` or ``db`` (10 log10 of a power).
        features: Names, or `Feature` objects (which are copied).
        sample_rate: Samples per second of the audio that the spectrograms were made of; or an `Analysis`, which says
            this and what follows.
        n_fft: Samples of their frames, even.
        hop_length: Samples between their frames.
        frequency: Their frequency axis; ``FrequencyAxis("linear", n_bins=1 + n_fft // 2)`` is the whole spectrum.

    Raises:
        ValueError: As `FeatureBank`; if ``scale`` is unknown; or if a feature cannot be computed from spectrograms. The
            message says which can.

    Example:
        >>> bank = SpectrogramBank("db", ["harmonic", "percussive"], 16_000, frequency=FrequencyAxis("mel", 64))
        >>> bank(20 * torch.randn(2, 64, 100) - 40)["harmonic"].values.shape
        torch.Size([2, 64, 100])
        >>> SpectrogramBank("db", ["loudness", "chroma"], 16_000)
        Traceback (most recent call last):
        ValueError: features: loudness cannot be computed from spectrograms, only from audio; chroma needs the whole
        spectrum, frequency=FrequencyAxis("linear", n_bins=1025). These spectrograms give harmonic, harmonic_ratio,
        input, mel, percussive, rms, rms_db.
    """

    def __init__(
        self,
        scale: AmplitudeScale,
        features: Sequence[str | Feature],
        sample_rate: int | Analysis,
        n_fft: int = 2048,
        hop_length: int = 512,
        frequency: FrequencyAxis | None = None,
    ) -> None:
        if scale not in get_args(AmplitudeScale):
            raise ValueError(f"spectrogram={scale!r} is none of {', '.join(map(repr, get_args(AmplitudeScale)))}.")
        super().__init__(features, sample_rate, n_fft, hop_length, frequency)
        self.scale = scale
        self.whole = torch.equal(self.projection, torch.eye(1 + self.analysis.n_fft // 2))
        self._check(self._features())

    def frames(self, samples: int) -> int:
        """Return how many frames a batch of this many frames has."""
        return samples

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> dict[str, FeatureValues]:
        """Compute the features.

        Args:
            waveform: Here the spectrograms, shape ``(clips, n_bins, frames)``, floating point. One that holds what
                cannot be a magnitude (NaN, what is below 0) gets NaN, and changes no other.
            lengths: Valid frames of each clip, shape ``(clips,)``, integers. What lies beyond changes nothing; a clip
                of length 0 gets NaN.

        Returns:
            The values of each feature, by name.

        Raises:
            ValueError: If ``waveform`` or ``lengths`` is malformed, or a feature returns another shape than it
                declares.
        """
        bins = self.analysis.frequency.n_bins
        if waveform.dim() != 3 or waveform.shape[1] != bins or not waveform.is_floating_point():
            raise ValueError(f"spectrograms must have shape (clips, {bins}, frames), found {tuple(waveform.shape)}.")
        frames, mask = waveform.shape[2], None
        if lengths is not None:
            given = lengths.to(waveform.device)
            lengths = check_lengths(given, waveform.shape[:1], frames, "spectrogram")
            mask = frame_mask(lengths, frames)
            waveform = without_empty(waveform.where(mask[:, None], 0.0), given)
        with torch.autocast(waveform.device.type, enabled=False):
            S = _as_magnitude(waveform.float(), self.scale)
            finite = S.isfinite().flatten(1).all(dim=1)
            S = S.where(finite[:, None, None], 0.0)
            values = dict(self._compute(SpectrogramClips(S, self.analysis, self.whole, lengths), finite))
        return self._described(values, mask)

    def _check(self, features: Sequence[Feature]) -> None:
        """Raise if a feature needs what spectrograms do not hold."""
        missing: dict[str, list[str]] = {"audio": [], "spectrum": []}
        for feature in features:
            lacks = self._lacks(feature)
            if lacks:
                missing[lacks].append(feature.name)
        reasons = []
        if missing["audio"]:
            reasons.append(f"{', '.join(missing['audio'])} cannot be computed from spectrograms, only from audio")
        if missing["spectrum"]:
            axis = f'frequency=FrequencyAxis("linear", n_bins={1 + self.analysis.n_fft // 2})'
            need = "needs" if len(missing["spectrum"]) == 1 else "need"
            reasons.append(f"{', '.join(missing['spectrum'])} {need} the whole spectrum, {axis}")
        if reasons:
            given = ", ".join(name for name in feature_names() if self._gives(name))
            raise ValueError(f"features: {'; '.join(reasons)}. These spectrograms give {given}.")

    def _lacks(self, feature: Feature) -> str | None:
        """Return what a feature needs beyond the spectrogram (audio, spectrum), found by trying; None if nothing."""
        trial = torch.ones(1, self.analysis.frequency.n_bins, 64)
        try:
            feature(SpectrogramClips(trial, self.analysis, self.whole))
        except NotInSpectrogramError as error:
            return str(error)
        return None

    def _gives(self, name: str) -> bool:
        """Return whether a known feature can be set up here, and needs nothing beyond the spectrogram."""
        feature = make_feature(name)
        try:
            feature.setup(self.analysis)
        except (ValueError, ImportError):
            return False
        return self._lacks(feature) is None


def check_values(spectrogram: Tensor, scale: AmplitudeScale) -> None:
    """Look whether a batch's values can be what they are said to be; on an accelerator, this waits for it.

    Args:
        spectrogram: Shape ``(clips, n_bins, frames)``.
        scale: As for `SpectrogramBank`.

    Raises:
        ValueError: If magnitudes or powers lie below 0. Decibels that differ by less than 15 are warned of: they look
            like values that were standardised.

    Example:
        >>> check_values(torch.tensor([[[0.5, -0.1]]]), "power")
        Traceback (most recent call last):
        ValueError: spectrogram='power': the batch holds values down to -0.1, which are no powers. Take 'db' for
        decibels, and undo any other scaling with a function as `waveform`, such as lambda batch: batch[0].exp().
    """
    finite = spectrogram[spectrogram.isfinite()]
    if not len(finite):
        return
    low, high = float(finite.min()), float(finite.max())
    if scale != "db" and low < 0:
        raise ValueError(
            f"spectrogram={scale!r}: the batch holds values down to {low:.3g}, which are no {scale}s. Take 'db' for "
            "decibels, and undo any other scaling with a function as `waveform`, such as lambda batch: batch[0].exp()."
        )
    if scale == "db" and 0 < high - low < _NARROW:
        rank_zero_warn(
            f"spectrogram='db': all values of the batch lie between {low:.3g} and {high:.3g}, as they do where "
            "spectrograms were standardised. If so, undo that with a function as `waveform`, such as "
            "lambda batch: batch[0] * deviation + mean."
        )


def _as_magnitude(S: Tensor, scale: AmplitudeScale) -> Tensor:
    """Return magnitudes, NaN for what can be none."""
    if scale == "db":
        return torch.pow(10.0, S / 20)
    S = S.where(S >= 0, torch.nan)
    return S.sqrt() if scale == "power" else S
