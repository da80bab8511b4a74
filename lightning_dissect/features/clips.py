"""The audio of one batch, and what its features share."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.functional.arguments import as_waveform
from lightning_dissect.features.functional.device import chunk_size
from lightning_dissect.features.functional.hpss import hpss
from lightning_dissect.features.functional.lengths import check_lengths, frame_mask, trim, trim_frames
from lightning_dissect.features.functional.loudness import rms
from lightning_dissect.features.functional.spectrum import magnitude, stft


class Parts(NamedTuple):
    """The harmonic and the percussive part of a batch.

    Attributes:
        harmonic: Power on the frequency axis, shape ``(clips, n_bins, frames)``.
        percussive: Likewise.
        harmonic_energy: Power of each frame, summed over the whole spectrum, shape ``(clips, frames)``.
        percussive_energy: Likewise.
    """

    harmonic: Tensor
    percussive: Tensor
    harmonic_energy: Tensor
    percussive_energy: Tensor


class Clips:
    """A batch of clips, analysed at most once: whatever asks for its spectrum gets the same one.

    Args:
        waveform: Shape ``(clips, samples)``; computed in float32.
        analysis: Sampling rate, frames and frequency axis.
        lengths: Valid samples of each clip, shape ``(clips,)``; what lies beyond is zeroed.
        projection: Weights that bring spectra onto the frequency axis, on the device of ``waveform``; made from
            ``analysis`` if None.

    Raises:
        ValueError: If ``waveform`` is not a batch of clips, or ``lengths`` does not fit it.

    Example:
        >>> clips = Clips(torch.zeros(2, 22050), Analysis(22050))
        >>> clips.power.shape
        torch.Size([2, 1025, 44])
    """

    def __init__(
        self,
        waveform: Tensor,
        analysis: Analysis,
        lengths: Tensor | None = None,
        projection: Tensor | None = None,
    ) -> None:
        waveform, lengths = as_clips(waveform, lengths)
        self.waveform = trim(waveform, lengths).float()
        self.lengths = lengths
        self.analysis = analysis
        if projection is None:
            projection = analysis.frequency.projection(analysis.sample_rate, analysis.n_fft).to(waveform.device)
        self.projection = projection

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.analysis.sample_rate

    @property
    def n_fft(self) -> int:
        """Samples of a frame."""
        return self.analysis.n_fft

    @property
    def hop_length(self) -> int:
        """Samples between frames."""
        return self.analysis.hop_length

    @property
    def frequency(self) -> FrequencyAxis:
        """The frequency axis of map features."""
        return self.analysis.frequency

    @property
    def n_clips(self) -> int:
        """Clips of the batch."""
        return self.waveform.shape[0]

    @property
    def n_frames(self) -> int:
        """Frames of the padded batch."""
        return self.analysis.n_frames(self.waveform.shape[1])

    @cached_property
    def valid_frames(self) -> Tensor | None:
        """Frames of each clip, shape ``(clips,)``, or None where all clips fill the batch."""
        return None if self.lengths is None else 1 + self.lengths // self.hop_length

    @cached_property
    def frame_mask(self) -> Tensor | None:
        """True where a frame belongs to its clip, shape ``(clips, frames)``, or None where all do."""
        return None if self.valid_frames is None else frame_mask(self.valid_frames, self.n_frames)

    def trimmed(self, values: Tensor) -> Tensor:
        """Return values ``(clips, rows, frames)`` or ``(clips, frames)``, zero past each clip's frames."""
        return trim_frames(values, self.valid_frames)

    @cached_property
    def rms(self) -> Tensor:
        """Root mean square of each frame, shape ``(clips, frames)``; zero past each clip's frames."""
        return self.trimmed(rms(self.waveform, frame_length=self.n_fft, hop_length=self.hop_length))

    @property
    def stft(self) -> Tensor:
        """Complex spectra, shape ``(clips, 1 + n_fft // 2, frames)``; zero past each clip's frames. Not kept."""
        return self.trimmed(stft(self.waveform, n_fft=self.n_fft, hop_length=self.hop_length))

    @cached_property
    def magnitude(self) -> Tensor:
        """Magnitudes of the spectra, shape ``(clips, 1 + n_fft // 2, frames)``; zero past each clip's frames."""
        return self.trimmed(magnitude(self.waveform, n_fft=self.n_fft, hop_length=self.hop_length))

    @property
    def power(self) -> Tensor:
        """Squared magnitudes, shape ``(clips, 1 + n_fft // 2, frames)``. Not kept."""
        return self.magnitude.square()

    def in_bands(self, filters: Tensor) -> Tensor:
        """Return ``filters @ power``, of which only a few frames are there at a time.

        Args:
            filters: Weights of the spectrum's bins, shape ``(bands, 1 + n_fft // 2)``, or the same with clips first.

        Returns:
            Power in each band, shape ``(clips, bands, frames)``.
        """
        pieces = self.magnitude.split(self._frames_at_once(self.magnitude), dim=-1)
        return _joined([filters @ piece.square() for piece in pieces])

    @property
    def spectrogram(self) -> Tensor:
        """Power on the frequency axis, shape ``(clips, n_bins, frames)``. Not kept."""
        return self.in_bands(self.projection)

    @property
    def hpss(self) -> tuple[Tensor, Tensor]:
        """Harmonic and percussive magnitudes, each of shape ``(clips, 1 + n_fft // 2, frames)``. Not kept."""
        return hpss(self.magnitude, lengths=self.valid_frames)

    @cached_property
    def parts(self) -> Parts:
        """The harmonic and the percussive part: power on the frequency axis, and energy of the whole spectrum."""
        # A few frames at a time: whole parts are eight times as large as what they are projected onto.
        at_once = self._frames_at_once(self.magnitude)
        pieces = [self._parts(first, first + at_once) for first in range(0, self.n_frames, at_once)]
        return Parts._make(map(_joined, zip(*pieces, strict=True)))

    def _parts(self, first: int, last: int) -> list[Tensor]:
        """Return the `parts` of some frames."""
        frames = (first, min(last, self.n_frames))
        powers = [part.square_() for part in hpss(self.magnitude, lengths=self.valid_frames, frames=frames)]
        return [self.projection @ power for power in powers] + [power.sum(dim=1) for power in powers]

    @staticmethod
    def _frames_at_once(S: Tensor) -> int:
        """Return how many frames of spectra ``(clips, bins, frames)`` to work on at a time."""
        return max(chunk_size(S.device) // max(S[..., 0].numel(), 1), 16)


def as_clips(waveform: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Check a batch of clips ``(clips, samples)``, and bring its lengths ``(clips,)`` to its device.

    Returns:
        The waveform, half precision as float32; and the lengths as int64, clamped to 1 … samples, or None.

    Raises:
        ValueError: If ``waveform`` is not a batch of clips, or ``lengths`` does not fit it.

    Example:
        >>> as_clips(torch.zeros(2, 9), torch.tensor([5, 10]))[1]
        tensor([5, 9])
    """
    waveform = as_waveform(waveform, "waveform")
    if waveform.dim() != 2:
        raise ValueError(f"waveform must have shape (clips, samples), found {tuple(waveform.shape)}.")
    if lengths is not None:
        lengths = check_lengths(lengths.to(waveform.device), waveform.shape[:1], waveform.shape[1], "waveform")
    return waveform, lengths


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    """Join pieces along their frames; a single one as it is."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), dim=-1)
