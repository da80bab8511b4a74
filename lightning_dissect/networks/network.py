"""What all networks have in common."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.frequency import FrequencyAxis


class AudioNetwork(nn.Module):
    """A network that takes waveforms, owns its front end, and ends in a classifier of ``n_classes`` logits.

    Attributes:
        sample_rate: Of the waveforms it takes, in Hz.
        frequency: The frequency axis of its input, for `DissectCallback(frequency=…)`; None if that is the waveform.
        n_fft: Samples of a frame of its input, for `DissectCallback(n_fft=…)`.
        hop_length: Samples between frames, for `DissectCallback(hop_length=…)`.
        layers: The submodules that its paper looks at, by name, from the input to the output.
        axes: What the axes of their outputs mean where their kind does not tell, for `DissectCallback(axes=…)`.
    """

    sample_rate: int
    frequency: FrequencyAxis | None = None
    n_fft: int = 2048
    hop_length: int = 512
    layers: tuple[str, ...]
    axes: ClassVar[Mapping[str, str]] = {}
    classifier: nn.Module

    def forward(self, waveform: Tensor) -> Tensor:
        """Classify clips.

        Args:
            waveform: Clips at ``sample_rate``, shape ``(clips, samples)``.

        Returns:
            Logits, before any softmax or sigmoid, shape ``(clips, n_classes)``.

        Raises:
            ValueError: If the network takes no clips of this length.
        """
        logits: Tensor = self.classifier(self._embed(waveform))
        return logits

    def _embed(self, waveform: Tensor) -> Tensor:
        """Return what the classifier gets, shape ``(clips, units)``."""
        raise NotImplementedError(f"{type(self).__name__} has neither an _embed nor a forward of its own.")

    @property
    def analysis(self) -> Analysis:
        """How its input is made, for features that shall see the same frames and bins."""
        return Analysis(self.sample_rate, self.n_fft, self.hop_length, self.frequency or FrequencyAxis())

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def elu_convolution(n_in: int, n_out: int, kernel_size: int | tuple[int, int] = 3) -> nn.Sequential:
    """Make a convolution that keeps the size of its maps, with batch norm and ELU."""
    conv = nn.Conv2d(n_in, n_out, kernel_size, padding="same")
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(n_out), elu=nn.ELU()))
