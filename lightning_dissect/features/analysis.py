"""How the audio of a batch is analysed: one choice of rate, frames and frequency axis for all features."""

from dataclasses import dataclass, field

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.functional.arguments import check_framing


@dataclass(frozen=True)
class Analysis:
    """How audio is cut in frames and analysed: sampling rate, frames, and frequency axis.

    Features are compared best with a network where both see the same frames and bins, so this should say how the
    network's own input is made. `FeatureBank` and `SpectrogramBank` take it in place of the four numbers, and the
    networks of `lightning_dissect.networks` have theirs as ``network.analysis``. All frame- and map-level features
    share its grid: frame t is centred at sample ``t * hop_length``.

    Args:
        sample_rate: Samples per second of the audio, an integer.
        n_fft: Samples of a frame, even.
        hop_length: Samples between frames.
        frequency: The frequency axis of the network's input, onto which map features are brought; 128 mel bands by
            default.

    Raises:
        ValueError: If an argument is out of range, or the frequency axis does not fit the sampling rate.

    Example:
        >>> analysis = Analysis(16_000, n_fft=512, hop_length=160, frequency=FrequencyAxis("mel", 64))
        >>> analysis.n_frames(16_000)  # of a clip of one second
        101
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


def as_analysis(
    sample_rate: int | Analysis | None,
    n_fft: int = 2048,
    hop_length: int = 512,
    frequency: FrequencyAxis | None = None,
    analysis: Analysis | None = None,
) -> Analysis:
    """Return an analysis as it was given, in place of a sample rate or beside the same one, or of four numbers.

    Raises:
        ValueError: If none is given, or an analysis and other numbers beside it, or as `Analysis`.

    Example:
        >>> as_analysis(16_000).hop_length
        512
    """
    if analysis is not None and sample_rate not in (None, analysis.sample_rate):
        raise ValueError(f"sample_rate={sample_rate} is not that of analysis={analysis}: give one of them.")
    given = sample_rate if analysis is None else analysis
    if given is None:
        raise ValueError("sample_rate: give that of the audio, in Hz, or an `analysis`, which has it.")
    if not isinstance(given, Analysis):
        return Analysis(given, n_fft, hop_length, frequency or FrequencyAxis())
    if (n_fft, hop_length, frequency) != (2048, 512, None):
        raise ValueError(
            f"n_fft, hop_length and frequency are those of the Analysis; found {n_fft}, {hop_length} and {frequency} "
            f"beside {given}."
        )
    return given
