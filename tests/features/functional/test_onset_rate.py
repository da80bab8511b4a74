from collections.abc import Callable
from importlib import import_module
from typing import Any

import essentia
import essentia.standard
import librosa
import numpy as np
import pytest
import soxr
import torch

from lightning_dissect.features.functional import onset_rate
from lightning_dissect.features.functional.frame_grid import frame_grid
from lightning_dissect.features.functional.onset_rate import onset_frames
from lightning_dissect.features.functional.reference_frame import (
    frame_count,
    magnitudes_of_the_end,
    resampler_gain,
)

detection = import_module("lightning_dissect.features.functional.detection")

essentia.log.infoActive = False


def essentias_onsets(y: np.ndarray) -> np.ndarray:
    times: np.ndarray = essentia.standard.OnsetRate()(y.astype(np.float32))[0]
    return times


def test_onsets_are_where_essentia_has_them(phrases: Callable[..., np.ndarray], margin: Any) -> None:
    for y in phrases(12, 2.0, 44_100):
        if margin.keeps(essentias_onsets, y):
            found = onset_frames(torch.from_numpy(y)).nonzero().flatten().numpy() * 512 / 44_100
            np.testing.assert_allclose(found, essentias_onsets(y), atol=1e-4)  # Essentia's times are float32
    margin.check()


@pytest.mark.parametrize("sr", [8_000, 16_000, 22_050, 48_000, 96_000])
def test_other_rates_need_no_resampling(phrases: Callable[..., np.ndarray], sr: int, margin: Any) -> None:
    def count(times: np.ndarray) -> int:
        # Where a resampler cuts its ringing off, at the clip's end, its filter decides whether that is an onset.
        return int((times < 1.95).sum())

    for y in phrases(12, 2.0, 44_100, seed=1):
        there = librosa.resample(y, orig_sr=44_100, target_sr=sr)
        back = librosa.resample(there, orig_sr=sr, target_sr=44_100)
        if margin.keeps(lambda y: count(essentias_onsets(y)), back):
            found = onset_frames(torch.from_numpy(there), sr=sr).nonzero().flatten().numpy() * 512 / 44_100
            assert count(found) == count(essentias_onsets(back))
    margin.check()


def test_rate_is_onsets_by_seconds_of_each_clip() -> None:
    clicks = torch.zeros(2, 44_100)
    clicks[:, 5_000::10_000] = 1.0
    rate = onset_rate(clicks, lengths=torch.tensor([44_100, 22_050]))
    torch.testing.assert_close(rate, torch.tensor([4.0, 4.0]))
    torch.testing.assert_close(rate[1], onset_rate(clicks[1, :22_050]))


@pytest.mark.parametrize("sr", [0, -1, 44_100.5, None, True])
def test_sampling_rate_must_be_a_positive_integer(sr: object) -> None:
    with pytest.raises(ValueError, match="sr must be a positive integer"):
        onset_rate(torch.zeros(100), sr=sr)  # type: ignore[arg-type]


def tones(rate: int, samples: int, band: float) -> np.ndarray:
    time = np.arange(samples) / rate
    frequencies = np.random.default_rng(0).uniform(0, band, 20)
    return np.sum([np.sin(2 * np.pi * f * time + f) for f in frequencies], axis=0)


@pytest.mark.parametrize("sr", [8_000, 12_000, 12_345, 16_000, 22_050, 32_000, 48_000, 96_000])
def test_frames_at_any_rate_have_the_spectra_of_the_reference(sr: int) -> None:
    band = min(sr, 44_100) / 2
    y, reference = tones(sr, sr // 2, 0.95 * band), tones(44_100, 22_050, 0.95 * band)
    grid = frame_grid(sr).to(torch.from_numpy(y)[None], torch.ones(1))
    found = torch.fft.rfft(grid.frames(torch.from_numpy(y)[None], 2, 30))[0, :, : len(grid.audible)] / grid.size
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1023)
    expected = np.stack([np.fft.rfft(reference[512 * t :][:1024] * window) / 1024 for t in range(2, 32)])
    difference = np.abs(found.numpy() - expected[:, : found.shape[1]])
    assert difference.max() <= 2e-4 * np.abs(expected).max()  # the interpolator's 90 dB for each of 20 tones


@pytest.mark.parametrize("sr", [12_000, 22_050, 48_000])
def test_the_gain_is_that_of_soxr(sr: int) -> None:
    impulse = np.zeros(40_000)
    impulse[20_000] = 1
    gain = np.abs(np.fft.rfft(soxr.resample(impulse, sr, 44_100, quality="soxr_hq"), 1 << 17))
    position = np.arange(len(gain)) * (2 * 44_100) / (1 << 17) / min(sr, 44_100)
    ours = resampler_gain(torch.from_numpy(position)).numpy()
    np.testing.assert_allclose(ours, gain / gain[0], atol=0.02)


@pytest.mark.parametrize("sr", [8_000, 16_000, 32_000])
def test_a_clips_end_is_heard_where_resampling_cuts_it_off(sr: int) -> None:
    y = np.random.default_rng(sr).normal(size=(2, sr // 2 + 7)).astype(np.float32)
    n_samples = torch.tensor([y.shape[1], y.shape[1] - 1_003])
    found = magnitudes_of_the_end(torch.from_numpy(y), n_samples, sr)
    for clip, n, ours in zip(y, n_samples.tolist(), found, strict=True):
        reference = librosa.resample(clip[:n].astype(np.float64), orig_sr=sr, target_sr=44_100)
        last = -((1024 - len(reference)) // 512)
        frame = np.pad(reference[512 * last :], (0, 1024))[:1024] * np.hanning(1024)
        expected = np.abs(np.fft.rfft(frame))[-len(ours) :]
        # Ringing that is cut short changes single bins; what counts are their sums.
        bins = np.arange(513)[-len(ours) :]
        for weights in (1, bins):
            assert (ours.numpy() * weights).sum() == pytest.approx((expected * weights).sum(), rel=0.15)


@pytest.mark.parametrize("sr", [12_000, 22_050])
@pytest.mark.parametrize("lengths", [None, torch.tensor([30_000, 22_222, 5_000, 40_000])])
def test_compiled_code_equals_plain(
    phrases: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    sr: int,
    lengths: torch.Tensor | None,
    margin: Any,
) -> None:
    y = torch.from_numpy(phrases(4, 40_000 / sr, sr)) * torch.tensor([1.0, 1e-4, 1e4, 1.0])[:, None]
    y[3, 5_000:20_000] = 0
    n_samples = torch.full((4,), 40_000) if lengths is None else lengths
    n_frames = int(frame_count(n_samples, sr).max())

    def functions() -> torch.Tensor:
        return detection.detection_functions(y, n_samples, sr, n_frames)

    compiled, onsets = functions(), onset_frames(y, sr=sr, lengths=lengths)
    monkeypatch.setattr(detection, "_compiled_code", lambda: None)
    for plain, same in zip(functions().flatten(0, 1), compiled.flatten(0, 1), strict=True):
        torch.testing.assert_close(plain, same, rtol=0, atol=1e-6 * float(same.max()))  # sums in another order

    def plain_onsets(y: np.ndarray) -> torch.Tensor:
        return onset_frames(torch.from_numpy(y), sr=sr, lengths=lengths)

    kept = torch.from_numpy(margin.where(plain_onsets, y.numpy()))
    assert torch.equal(plain_onsets(y.numpy())[kept], onsets[kept])
    margin.check("frames")


def test_silence_has_no_onsets_and_changes_no_other_clip(phrases: Callable[..., np.ndarray], margin: Any) -> None:
    y = torch.from_numpy(phrases(3, 3.0))
    batch = torch.stack([y[0], torch.zeros_like(y[0]), y[1], torch.full_like(y[0], torch.nan), y[2]])
    rates = onset_rate(batch, sr=22_050)
    assert rates[1] == 0
    for clip, rate in zip(y, rates[[0, 2, 4]], strict=True):
        if margin.keeps(lambda clip: onset_rate(torch.from_numpy(clip), sr=22_050), clip.numpy()):
            torch.testing.assert_close(rate, onset_rate(clip, sr=22_050))
    margin.check()
