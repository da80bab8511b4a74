import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.networks import CNNAT, ChoiCNN, YanchenkoRegular
from lightning_dissect.networks.spectrogram import LogSpectrogram


def clips(sample_rate, seconds=2.0):
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time) * np.exp(-3 * time)
    click = np.zeros_like(time)
    click[1000] = 1
    return np.stack([tone, 1e-3 * rng.standard_normal(time.size), click, np.zeros_like(time)]).astype(np.float32)


def assert_decibel_agree(decibel, power):
    expected = librosa.power_to_db(power, top_db=None)
    # single-precision transforms err by 1e-7 of the largest bin, which is more than 0.02 dB of what lies 80 dB below it
    heard = expected > expected.max() - 80
    np.testing.assert_allclose(decibel[heard], expected[heard], atol=0.02)
    assert (decibel[~heard] < expected.max() - 79).all()


@pytest.mark.parametrize(("network", "n_fft", "hop"), [(CNNAT, 512, 256), (YanchenkoRegular, 2048, 502)])
def test_mel_is_librosas(network, n_fft, hop):
    rate, mels = network.sample_rate, network.frequency.n_bins
    ours = LogSpectrogram(rate, n_fft, hop, network.frequency)(torch.from_numpy(clips(rate))).numpy()
    for clip, decibel in zip(clips(rate), ours, strict=True):
        power = librosa.feature.melspectrogram(y=clip, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=mels)
        assert_decibel_agree(decibel, power)


def test_linear_is_librosas():
    rate = ChoiCNN.sample_rate
    ours = LogSpectrogram(rate, 512, 256, None)(torch.from_numpy(clips(rate))).numpy()
    for clip, decibel in zip(clips(rate), ours, strict=True):
        power = np.abs(librosa.stft(clip, n_fft=512, hop_length=256)) ** 2
        assert_decibel_agree(decibel, power)


def test_bins_lie_where_the_axis_says():
    axis = FrequencyAxis("mel", 96)
    spectrogram = LogSpectrogram(12_000, 512, 256, axis)
    for frequency in (500.0, 2000.0, 5000.0):
        tone = torch.sin(2 * torch.pi * frequency * torch.arange(24_000) / 12_000)
        loudest = spectrogram(tone[None])[0].mean(dim=1).argmax()
        # a bin of the transform, since mel bands are narrower than that at the bottom
        assert abs(axis.frequencies(12_000)[loudest] - frequency) < 12_000 / 512 + 0.03 * frequency
