import math

import essentia
import essentia.standard
import numpy as np
import pytest
import scipy.signal
import torch

from lightning_dissect.features.functional import k_weighting, loudness_ebur128, momentary_loudness
from lightning_dissect.features.functional.ebur128 import k_weighting_coefficients

essentia.log.infoActive = False


def test_coefficients_at_48_khz_are_those_of_the_recommendation() -> None:
    (shelf, high_pass) = k_weighting_coefficients(48_000)
    np.testing.assert_allclose(shelf[0], [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-9)
    np.testing.assert_allclose(shelf[1], [1.0, -1.69065929318241, 0.73248077421585], atol=1e-9)
    np.testing.assert_allclose(high_pass[0], [1.0, -2.0, 1.0])
    np.testing.assert_allclose(high_pass[1], [1.0, -1.99004745483398, 0.99007225036621], atol=1e-9)


@pytest.mark.parametrize("sr", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_filter_equals_the_recursion_in_float64(sr: int) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, 2 * sr + 7)
    expected = y
    for numerator, denominator in k_weighting_coefficients(sr):
        expected = scipy.signal.lfilter(numerator, denominator, expected)
    filtered = k_weighting(torch.from_numpy(y.astype(np.float32)), sr=sr).numpy()
    np.testing.assert_allclose(filtered, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("hertz", "lufs"), [(1000, -22.991), (100, -24.821)])
def test_stereo_sines_read_what_the_recommendation_says(hertz: int, lufs: float) -> None:
    time = torch.arange(20 * 48_000, dtype=torch.float64) / 48_000
    tone = 10 ** (-23 / 20) * torch.sin(2 * math.pi * hertz * time)
    result = loudness_ebur128(torch.stack([tone, tone]), sr=48_000, channel_weights=(1, 1))
    assert abs(result.integrated.item() - lufs) < 0.01
    assert abs(result.short_term[-1].item() - lufs) < 0.01


def test_gates_leave_out_silence_as_in_essentia() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([0.1, 0.0, 0.02, 0.0005, 0.2], 48_000)
    y = (level * rng.normal(size=level.size)).astype(np.float32)
    result = loudness_ebur128(torch.from_numpy(np.stack([y, y])), sr=48_000, channel_weights=(1, 1))
    expected = essentia.standard.LoudnessEBUR128(sampleRate=48_000)(np.stack([y, y], axis=1))[2]
    # Essentia's filters differ a little, and so do its blocks at the end.
    assert abs(result.integrated.item() - expected) < 0.1


def test_padded_batch_equals_its_clips() -> None:
    y = torch.randn(2, 3 * 22_050)
    batch = loudness_ebur128(y, sr=22_050, lengths=torch.tensor([3 * 22_050, 30_000]))
    alone = loudness_ebur128(y[1, :30_000], sr=22_050)
    torch.testing.assert_close(batch.integrated[1], alone.integrated)
    torch.testing.assert_close(batch.momentary[1, : alone.momentary.numel()], alone.momentary)
    assert batch.momentary[1, alone.momentary.numel() :].isnan().all()


def test_short_clips_are_undefined_and_silence_is_minus_infinity() -> None:
    assert loudness_ebur128(torch.ones(100), sr=8_000).integrated.isnan()
    assert loudness_ebur128(torch.zeros(8_000), sr=8_000).integrated == -math.inf


def test_momentary_loudness_of_a_steady_tone_is_its_level() -> None:
    tone = 0.1 * torch.sin(2 * math.pi * 1000 * torch.arange(44_100) / 22_050)
    frames = momentary_loudness(tone, sr=22_050)
    assert frames.shape == (1 + 44_100 // 512,)
    blocks = loudness_ebur128(tone, sr=22_050)
    assert abs(frames[40] - blocks.momentary[8]) < 0.01


def test_channels_must_fit_their_weights() -> None:
    with pytest.raises(ValueError, match="channel_weights"):
        loudness_ebur128(torch.zeros(3, 48_000), sr=48_000, channel_weights=(1, 1))
