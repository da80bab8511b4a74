import numpy as np
import pytest
import torch
from instruments import Instrument, render_phrase
from torch import nn

from lightning_dissect.networks.patches import LogMelPatches, PatchConv2d, mel_matrix


def plain_mel_matrix():
    """Band by band and bin by bin, from VGGish's published parameters."""

    def mel(hertz):
        return 1127.0 * np.log(1.0 + hertz / 700.0)

    edges = np.linspace(mel(125.0), mel(7500.0), 64 + 2)
    matrix = np.zeros((64, 257))
    for band in range(64):
        low, centre, high = edges[band : band + 3]
        for n in range(1, 257):
            m = mel(n * 16_000 / 512)
            matrix[band, n] = max(0.0, min((m - low) / (centre - low), (high - m) / (high - centre)))
    return matrix


def plain_patches(waveform, offset, patch_hop):
    """Frame by frame in float64, from VGGish's published parameters."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = []
    for start in range(0, len(waveform) - 400 + 1, 160):
        magnitude = np.abs(np.fft.rfft(waveform[start : start + 400].astype(np.float64) * window, 512))
        frames.append(np.log(plain_mel_matrix() @ magnitude + offset))
    starts = range(0, len(frames) - 96 + 1, patch_hop)
    return np.concatenate([frames[start : start + 96] for start in starts])


def waveforms():
    rng = np.random.default_rng(0)
    time = np.arange(40_000) / 16_000
    sweep = 0.5 * np.sin(2 * np.pi * (100 + 1500 * time) * time)
    return np.stack([sweep, 0.1 * rng.standard_normal(time.size), np.zeros(time.size)]).astype(np.float32)


def test_mel_matrix():
    # float64 rounded to float32
    np.testing.assert_allclose(mel_matrix().numpy(), plain_mel_matrix(), atol=1e-7)


@pytest.mark.parametrize(("offset", "patch_hop", "patches"), [(0.01, 96, 2), (0.001, 48, 4)], ids=["vggish", "yamnet"])
def test_front_end_is_the_published_one(offset, patch_hop, patches):
    ours = LogMelPatches(offset, patch_hop)(torch.from_numpy(waveforms())).numpy()
    assert ours.shape == (3, 1, patches * 96, 64)
    for waveform, maps in zip(waveforms(), ours, strict=True):
        expected = plain_patches(waveform, offset, patch_hop)
        # 1e-4 between front ends; single precision adds 1e-7 of the loudest magnitude, which the logarithm shows where
        # there is hardly anything but the offset
        tolerance = 1e-4 + 1e-7 * np.exp(expected.max() - expected)
        assert (np.abs(maps[0] - expected) <= tolerance).all()


@pytest.mark.parametrize("program", [0, 40, 73])
def test_front_end_of_vggish_on_instruments(program):
    clip = render_phrase(Instrument("any", program, 0, 127), [60, 67, 72], [100, 80, 60], 16_000, 1.5)
    ours = LogMelPatches(0.01)(torch.from_numpy(clip)[None])[0, 0].numpy()
    np.testing.assert_allclose(ours, plain_patches(clip, 0.01, 96), atol=1e-4)


@pytest.mark.parametrize(("size", "stride", "kernel"), [(8, 1, 3), (8, 2, 3), (7, 2, 3), (6, 2, 1), (5, 1, 1)])
def test_patches_do_not_touch_and_padding_is_tensorflows(size, stride, kernel):
    torch.manual_seed(0)
    conv = PatchConv2d(3, 4, kernel, patch_frames=size, stride=stride)
    patches = torch.randn(2, 5, 3, size, 10)
    out_time, out_mel = -(-size // stride), -(-10 // stride)
    output = conv(patches.transpose(1, 2).flatten(2, 3)).detach().numpy()
    assert output.shape == (2, 4, 5 * out_time, out_mel)
    weight = conv.weight.detach().numpy()
    for clip in range(2):
        for number in range(5):
            totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (size, 10)]
            padded = np.pad(patches[clip, number].numpy(), [(0, 0), *((t // 2, t - t // 2) for t in totals)])
            for t in range(out_time):
                for m in range(out_mel):
                    window = padded[:, t * stride : t * stride + kernel, m * stride : m * stride + kernel]
                    expected = (weight * window).sum(axis=(1, 2, 3)) + conv.bias.detach().numpy()
                    np.testing.assert_allclose(output[clip, :, number * out_time + t, m], expected, atol=1e-5)


def test_pools_of_whole_patches_do_not_mix_them():
    patches = torch.randn(1, 3, 2, 96, 64)
    side_by_side = nn.MaxPool2d(2)(patches.transpose(1, 2).flatten(2, 3))
    alone = torch.cat([nn.MaxPool2d(2)(patch) for patch in patches[0]], dim=1)
    assert torch.equal(side_by_side[0], alone)
