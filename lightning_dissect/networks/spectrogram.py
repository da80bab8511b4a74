"""The front end of the networks on the time–frequency plane."""

import torch
from torch import Tensor, nn

from lightning_dissect.features.frequency import FrequencyAxis


class LogSpectrogram(nn.Module):
    """Power spectrogram on a frequency axis, in decibel.

    `10·log10(max(1e-10, P·|STFT|²))` with a periodic Hann window, centred frames and zero padding, P the projection
    onto the axis: librosa's `power_to_db(melspectrogram(y), top_db=None)` for a mel axis.

    Args:
        sample_rate: In Hz.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        frequency: The axis; None keeps the 1 + n_fft // 2 bins of the transform.

    Example:
        >>> LogSpectrogram(12_000, 512, 256, FrequencyAxis("mel", 96))(torch.zeros(2, 36_000)).shape
        torch.Size([2, 96, 141])
    """

    window: Tensor
    projection: Tensor | None

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, frequency: FrequencyAxis | None) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        projection = None if frequency is None else frequency.projection(sample_rate, n_fft)
        self.register_buffer("projection", projection, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform clips ``(clips, samples)`` to decibel, shape ``(clips, bins, frames)``; silence is -100."""
        spectrum = torch.stft(
            waveform, self.n_fft, self.hop_length, window=self.window, pad_mode="constant", return_complex=True
        )
        power = spectrum.abs().square()
        if self.projection is not None:
            power = self.projection @ power
        return 10 * power.clamp_min(1e-10).log10()
