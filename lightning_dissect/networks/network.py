"""What all networks have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.frequency import FrequencyAxis


class AudioNetwork(nn.Module, ABC):
    """A network that takes a waveform and owns its front end.

    Attributes:
        sample_rate: of the waveforms it takes, in Hz.
        frequency: the frequency axis of its input, for `DissectCallback(frequency=…)`; None if that is the waveform,
            or all bins of the transform.
        n_fft: samples of a frame of its input, for `DissectCallback(n_fft=…)`.
        hop_length: samples from frame to frame, for `DissectCallback(hop_length=…)`.
        layers: the submodules that its paper looks at, by name, from the input to the output.
        axes: what the axes of their outputs mean where their kind does not tell, for `DissectCallback(axes=…)`.
    """

    sample_rate: int
    frequency: FrequencyAxis | None = None
    n_fft: int = 2048
    hop_length: int = 512
    layers: tuple[str, ...]
    axes: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Classify clips.

        Args:
            waveform: at `sample_rate` [shape=(B, samples)].

        Returns:
            Logits [shape=(B, classes)].
        """

    @property
    def analysis(self) -> Analysis:
        """How its input is made, for features that shall see the same frames and bins."""
        return Analysis(self.sample_rate, self.n_fft, self.hop_length, self.frequency or FrequencyAxis())

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
