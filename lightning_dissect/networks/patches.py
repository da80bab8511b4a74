"""Front end and convolution of the networks that cut a clip into patches: VGGish and YAMNet.

Each patch is classified by itself. Here the patches of a clip lie side by side on the time axis of every layer's
output, so that a clip stays one item of the batch, with a map as long as the clip.
"""

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

PATCH_FRAMES = 96
_FRAME, _HOP, _N_FFT, _N_MELS = 400, 160, 512, 64


def mel_matrix() -> Tensor:
    """Mel filters of VGGish and YAMNet: triangles on the mel scale itself, 64 from 125 to 7500 Hz.

    With m(f) = 1127·ln(1 + f/700) and band edges equally spaced in m, each weight is the smaller of the rising and the
    falling slope at m(f), at least 0. The bin at 0 Hz gets none. (librosa's triangles are straight in Hz.)

    They are for spectra of 512 samples at 16 kHz, shape ``(64, 257)``.
    """
    hertz = torch.linspace(0, 8000, 1 + _N_FFT // 2, dtype=torch.float64)
    mels = 1127 * torch.log1p(hertz / 700)
    low, high = 1127 * torch.log1p(torch.tensor([125.0, 7500.0], dtype=torch.float64) / 700)
    edges = low + (high - low) * torch.arange(_N_MELS + 2, dtype=torch.float64)[:, None] / (_N_MELS + 1)
    rising = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp_min(0)
    weights[:, 0] = 0
    return weights.float()


class LogMelPatches(nn.Module):
    """Log-mel patches of 96 frames: 16 kHz, 25 ms periodic Hann, hop 10 ms, log(mel + offset) of 64 magnitude mels.

    Frames are not centred. Frames at the end that fill no patch are left out.

    Args:
        offset: Added before the logarithm: 0.01 for VGGish, 0.001 for YAMNet.
        patch_hop: Frames from patch to patch; 96 puts them edge to edge.

    Example:
        >>> LogMelPatches(offset=0.01)(torch.zeros(2, 48_000)).shape
        torch.Size([2, 1, 288, 64])
    """

    window: Tensor
    mels: Tensor

    def __init__(self, offset: float, patch_hop: int = PATCH_FRAMES) -> None:
        super().__init__()
        self.offset = offset
        self.patch_hop = patch_hop
        self.register_buffer("window", torch.hann_window(_FRAME, dtype=torch.float64).float(), persistent=False)
        self.register_buffer("mels", mel_matrix(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform clips ``(clips, samples)`` to patches side by side, shape ``(clips, 1, patches * 96, 64)``.

        Raises:
            ValueError: If a clip is shorter than one patch.
        """
        shortest = _FRAME + (PATCH_FRAMES - 1) * _HOP
        if waveform.shape[-1] < shortest:
            raise ValueError(
                f"waveform: {waveform.shape[-1]} samples are less than one patch of {PATCH_FRAMES} frames; "
                f"at 16 kHz {shortest} samples are needed ({shortest / 16_000} s)"
            )
        frames = waveform.unfold(-1, _FRAME, _HOP) * self.window
        log_mel = torch.log(torch.fft.rfft(frames, _N_FFT).abs() @ self.mels.T + self.offset)
        patches: Tensor = log_mel.unfold(1, PATCH_FRAMES, self.patch_hop)
        return patches.transpose(2, 3).flatten(1, 2).unsqueeze(1)


class PatchConv2d(nn.Conv2d):
    """Convolution of patches that lie side by side on the time axis, each by itself and zero-padded at its own edges.

    Padding is TensorFlow's "SAME": the output has ⌈size / stride⌉ places, and an odd place of padding goes to the end.

    Args:
        patch_frames: Length of one patch at the input; the other arguments are those of `torch.nn.Conv2d`.

    Example:
        >>> conv = PatchConv2d(1, 8, 3, patch_frames=96, stride=2)
        >>> conv(torch.zeros(2, 1, 3 * 96, 64)).shape
        torch.Size([2, 8, 144, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        patch_frames: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)
        self.patch_frames = patch_frames

    def forward(self, input: Tensor) -> Tensor:
        """Convolve maps ``(clips, channels, patches * patch_frames, mels)``; both axes get ``stride`` times shorter."""
        patches = input.unflatten(2, (-1, self.patch_frames)).transpose(1, 2).flatten(0, 1)
        pads = [self._same(size, axis) for axis, size in enumerate(patches.shape[-2:])]
        output = super().forward(pad(patches, (*pads[1], *pads[0])))
        side_by_side: Tensor = output.unflatten(0, (len(input), -1)).transpose(1, 2).flatten(2, 3)
        return side_by_side

    def _same(self, size: int, axis: int) -> tuple[int, int]:
        stride, kernel = self.stride[axis], self.kernel_size[axis]
        total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2
