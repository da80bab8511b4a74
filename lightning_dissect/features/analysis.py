"""How the audio of a batch is analysed: one choice of rate, frames and frequency axis for all features."""

from dataclasses import dataclass, field

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.functional.arguments import check_framing

__all__ = ["Analysis"]


@dataclass(frozen=True)
class Analysis:
    """Sampling rate, frames and frequency axis that all features of a bank share.

    Args:
        sample_rate: Samples per second, an integer.
        n_fft: Samples of a frame, even, so that frame t is centred at sample ``t * hop_length``.
        hop_length: Samples between frames.
        frequency: The frequency axis of map features.

    Raises:
        ValueError: If an argument is out of range, or the frequency axis does not fit the sampling rate.

    Example:
        >>> Analysis(22050).n_frames(22050)
        44
    """

    sample_rate: int
    n_fft: int = 2048
    hop_length: int = 512
    frequency: FrequencyAxis = field(default_factory=FrequencyAxis)

    def __post_init__(self) -> None:
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, int) or self.sample_rate < 1:
            raise ValueError(
                f"sample_rate must be a positive integer of samples per second (16000, say), found "
                f"{self.sample_rate!r}."
            )
        check_framing(self.n_fft, self.hop_length)
        if self.n_fft % 2:
            raise ValueError(f"n_fft must be even, found {self.n_fft}.")
        self.frequency.frequencies(self.sample_rate)

    def n_frames(self, samples: int) -> int:
        """Return how many frames a clip of this many samples has."""
        return 1 + samples // self.hop_length
