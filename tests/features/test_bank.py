from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.features import (
    Analysis,
    Chroma,
    Clips,
    Feature,
    FeatureBank,
    FrequencyAxis,
    HarmonicSpectrogram,
    feature,
    feature_names,
    make_feature,
)
from lightning_dissect.features.feature import _REGISTRY
from lightning_dissect.features.functional import hpss
from lightning_dissect.features.functional.spectrum import magnitude

EVERY = [name for name in feature_names() if name != "vqt_nnaudio"]
"""All features but the one that takes no padded batches."""


@pytest.fixture(scope="module")
def audio(phrases: Callable[..., np.ndarray]) -> Tensor:
    """Six clips of 1.5 s: four phrases at different levels, silence, and a constant."""
    clips = torch.from_numpy(phrases(6, 1.5))
    clips[1] *= 1e-3
    clips[2] *= 30
    clips[4], clips[5] = 0, 0.5
    return clips


CONVOLVED = {"cqt_nnaudio", "gammatonegram", "vqt_nnaudio"}
"""Maps of nnAudio, which convolves in float32; the order of its sums depends on the batch, its length and the CPU."""
DECIDING = {"chroma", "hpcp", "onset_rate", "rolloff", "tempo", "tonnetz"}
"""Features that pick peaks, bins or frames, or a tuning on their way."""


def assert_same(name: str, found: Tensor, expected: Tensor) -> None:
    """Assert that the values of a feature are the same to 1e-6 of the largest, which is some float32 roundings.

    What a sum of 2048 products and more loses is a part of the largest amplitude, sqrt(2048) roundings of 6e-8, so the
    decibels of `CONVOLVED` are compared as amplitudes.
    """
    if name in CONVOLVED:
        found, expected, share = 10 ** (found / 20), 10 ** (expected / 20), 3e-6
    else:
        share = 1e-6
    atol = max(share * expected.nan_to_num().abs().max().item(), 1e-6)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol, equal_nan=True)


def keeps(margin: Any, name: str, bank: FeatureBank, clip: Tensor) -> bool:
    """Whether the values of a clip are no other decision's when it is changed by 1e-6: they move by less than 1e-4."""

    def values(y: np.ndarray) -> np.ndarray:
        return bank(torch.from_numpy(y)[None])[name].values[0].numpy()

    def alike(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
        return np.isclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    return name not in DECIDING or margin.keeps(values, clip.numpy(), alike)


@pytest.mark.parametrize("name", EVERY)
def test_batch_equals_its_clips_whatever_else_is_in_it(name: str, audio: Tensor, margin: Any) -> None:
    bank = FeatureBank([name], 22_050)
    lengths = torch.tensor([33_075, 9_999, 15_360, 700, 33_075, 1])
    spoilt = audio.clone()
    for clip, length in zip(spoilt, lengths, strict=True):
        clip[length:] = torch.nan  # what lies beyond a clip's end must not matter
    spoilt[0, 100] = torch.inf
    batch = bank(spoilt, lengths)[name]
    assert batch.values[0].isnan().all()
    for clip, length, values in list(zip(audio, lengths, batch.values, strict=True))[1:]:
        if keeps(margin, name, bank, clip[:length]):
            alone = bank(clip[None, :length])[name].values[0]
            assert_same(name, values if batch.level == "clip" else values[:, : alone.shape[1]], alone)
    if name in DECIDING:
        margin.check(share=0.25 if name == "hpcp" else 0.1)  # for hpcp, peaks of noise are all alike


@pytest.mark.parametrize("name", feature_names())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_are_float32_whatever_the_precision_around(name: str, dtype: torch.dtype, audio: Tensor) -> None:
    bank = FeatureBank([name], 22_050)
    clips = audio[:2].to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = bank(clips)[name].values
    assert values.dtype == torch.float32
    assert torch.equal(values.nan_to_num(), bank(clips.float())[name].values.nan_to_num())


@pytest.mark.parametrize("name", feature_names())
def test_shapes_rows_and_masks_are_as_declared(name: str, audio: Tensor) -> None:
    bank = FeatureBank([name], 22_050, hop_length=400)
    values = bank(audio)[name]
    declared = make_feature(name)
    assert values.level == declared.level
    assert values.mask is None
    assert values.values.shape[0] == len(audio)
    assert values.values.shape[2:] == (() if values.level == "clip" else (bank.frames(audio.shape[1]),))
    if values.rows:
        assert values.values.shape[1] == len(values.rows) == len(set(values.rows))
        assert all(row.split("[")[0] == name for row in values.rows)


def test_frames_past_a_clips_end_are_masked_and_zero(audio: Tensor) -> None:
    bank = FeatureBank(["rms", "chroma", "onset_rate"], 22_050)
    result = bank(audio[:2], torch.tensor([33_075, 5_120]))
    assert result["onset_rate"].mask is None
    assert result["rms"].mask is not None
    assert result["rms"].mask.sum(dim=1).tolist() == [bank.frames(33_075), 11]
    assert (result["rms"].values[1, 0, 11:] == 0).all()
    assert (result["chroma"].values[1, :, 11:] == 0).all()


def test_spectrum_and_decomposition_are_computed_once(audio: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    spectra, split = [], []

    def counted_magnitude(y: Tensor, **options: int) -> Tensor:
        spectra.append(len(y))
        return magnitude(y, **options)

    def counted_hpss(S: Tensor, *, frames: tuple[int, int], **options: Any) -> tuple[Tensor, Tensor]:
        split.extend(range(*frames))
        return hpss(S, frames=frames, **options)

    monkeypatch.setattr("lightning_dissect.features.clips.magnitude", counted_magnitude)
    monkeypatch.setattr("lightning_dissect.features.clips.hpss", counted_hpss)
    bank = FeatureBank(
        ["harmonic", "percussive", "chroma", "mfcc", "centroid", "rolloff", "input", "harmonic_ratio"], 22_050
    )
    bank(audio)
    assert spectra == [6]
    assert split == list(range(bank.frames(audio.shape[1])))


@pytest.mark.parametrize("name", feature_names())
def test_only_what_needs_the_spectrum_computes_it(name: str, audio: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = FeatureBank([name], 22_050)
    monkeypatch.setattr("lightning_dissect.features.clips.magnitude", refuse)
    monkeypatch.setattr("lightning_dissect.features.clips.stft", refuse)
    if make_feature(name).needs_spectrum:
        with pytest.raises(AssertionError, match="asked for a spectrum"):
            bank(audio[:1])
    else:
        bank(audio[:1])


def refuse(*arguments: Any, **options: Any) -> Tensor:
    raise AssertionError("asked for a spectrum")


def test_features_of_the_audio_alone_come_before_the_spectrum(audio: Tensor) -> None:
    class Early(Feature):
        name = "early"
        level = "clip"
        needs_spectrum = False

        def forward(self, clips: Clips) -> Tensor:
            return torch.full((clips.n_clips,), float("magnitude" in vars(clips)))

    values = FeatureBank(["input", Early()], 22_050)(audio)
    assert list(values) == ["input", "early"]
    assert (values["early"].values == 0).all()


def test_memory_stays_below_four_times_the_largest_output() -> None:
    # Chords in noise: white noise alone has a peak in every fifth bin, and the tuning's votes take more.
    pitches = 110 * 2 ** (torch.arange(8)[:, None, None] / 12 + torch.tensor([0, 4, 7])[:, None] / 12)
    clips = torch.sin(2 * torch.pi * pitches * torch.arange(220_500) / 22_050).sum(dim=1)
    clips += 0.003 * torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    bank = FeatureBank(["harmonic", "percussive", "harmonic_ratio", "chroma", "loudness", "rms_db"], 22_050)
    bank(clips)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        results = bank(clips)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    assert sum(feature.values.nbytes for feature in results.values()) <= taken.max()
    assert taken.max() <= 4 * max(feature.values.nbytes for feature in results.values())


def test_a_large_batch_is_taken_a_few_clips_at_a_time(audio: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those that decide are taken apart like the others.
    bank = FeatureBank([name for name in EVERY if name not in DECIDING], 22_050)
    lengths = torch.tensor([33_075, 9_999, 15_360, 700, 33_075, 1])
    whole = bank(audio, lengths)
    monkeypatch.setattr("lightning_dissect.features.bank.chunk_size", lambda device: 2 * audio.shape[1])
    for name, some in bank(audio, lengths).items():
        assert_same(name, some.values, whole[name].values)
        assert some.mask is None if whole[name].mask is None else torch.equal(some.mask, whole[name].mask)


def test_gradients_flow_through_every_differentiable_feature(audio: Tensor) -> None:
    names = ["harmonic", "percussive", "loudness", "rms", "centroid", "bandwidth", "flatness", "mfcc", "input", "cqt"]
    clips = audio[:2].clone().requires_grad_()
    bank = FeatureBank([*names, Chroma(tuning=0.0)], 22_050)
    for values in bank(clips).values():
        (gradient,) = torch.autograd.grad(values.values.square().mean(), clips, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_maps_are_on_the_networks_axis(audio: Tensor) -> None:
    axis = FrequencyAxis("log", n_bins=60, f_min=50.0, f_max=8_000.0)
    bank = FeatureBank([HarmonicSpectrogram(), "input"], 22_050, frequency=axis)
    tone = torch.sin(2 * torch.pi * 1_000 * torch.arange(22_050) / 22_050)[None]
    for values in bank(tone).values():
        assert values.values.shape[1] == 60
        loudest = values.values[0, :, 20].argmax()
        assert abs(axis.frequencies(22_050)[loudest].item() - 1_000) < 50


def test_mel_is_the_input_by_another_name(audio: Tensor) -> None:
    values = FeatureBank(["input", "mel"], 22_050)(audio)
    assert torch.equal(values["input"].values, values["mel"].values)


def test_silence_has_no_harmonic_ratio_and_spoils_none(audio: Tensor) -> None:
    bank = FeatureBank(["harmonic_ratio"], 22_050)
    ratio = bank(audio)["harmonic_ratio"].values[:, 0]
    assert ratio[4].isnan().all()  # the clip of silence
    assert ratio[[0, 1, 2, 3, 5]].isfinite().all()
    followed = torch.cat([audio[:4], torch.zeros(4, 22_050)], dim=1)
    found = bank(followed)["harmonic_ratio"].values[:, 0]
    # Notes that ring on differ from those cut off at the end, so only what comes after is looked at: it is the mean.
    last = found[:, -10:]
    torch.testing.assert_close(last, found.mean(1, keepdim=True).expand_as(last), rtol=0, atol=0.5)


@pytest.mark.parametrize("gain", [1e-4, 0.1, 3.0, 1e3])
def test_level_does_not_change_the_harmonic_ratio(gain: float, audio: Tensor) -> None:
    bank = FeatureBank(["harmonic_ratio"], 22_050)
    found, expected = (bank(clips)["harmonic_ratio"].values for clips in (gain * audio, audio))
    # Some roundings of float32, 6e-8 of energies each, are 1e-5 dB; near the floor they count for more.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3, equal_nan=True)


def test_a_feature_from_a_function() -> None:
    @feature("crest", level="frame", unit="ratio")
    def crest(clips: Clips) -> Tensor:
        return clips.magnitude.amax(dim=1) / clips.magnitude.mean(dim=1).clamp(min=1e-9)

    try:
        values = FeatureBank(["crest", "rms"], 8_000)(torch.randn(3, 4_000))["crest"]
        assert values.rows == ("crest",)
        assert values.values.shape == (3, 1, 8)
    finally:
        del _REGISTRY["crest"]


def test_a_feature_from_a_class() -> None:
    @feature("halves")
    class Halves(Feature):
        level = "frame"
        row_names = ("low", "high")

        def forward(self, clips: Clips) -> Tensor:
            return torch.stack([part.sum(dim=1) for part in clips.power.tensor_split(2, dim=1)], dim=1)

    try:
        values = FeatureBank([Halves()], 8_000)(torch.randn(3, 4_000))["halves"]
        assert values.rows == ("halves[low]", "halves[high]")
        assert values.values.shape == (3, 2, 8)
    finally:
        del _REGISTRY["halves"]


def test_a_feature_of_another_shape_than_declared_is_named() -> None:
    @feature("wrong", level="frame")
    def wrong(clips: Clips) -> Tensor:
        return clips.waveform

    try:
        with pytest.raises(
            ValueError, match=r"'wrong' is declared as frame-level .* \(2, 1, 8\), found \(2, 1, 4000\)"
        ):
            FeatureBank(["wrong"], 8_000)(torch.randn(2, 4_000))
    finally:
        del _REGISTRY["wrong"]


@pytest.mark.parametrize("options", [{"level": None}, {"level": "song"}])
def test_a_function_must_declare_its_level(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="level must be 'clip', 'frame' or 'map'"):
        feature("nameless", **options)(lambda clips: clips.waveform)


@pytest.mark.parametrize("sample_rate", [0, -1, 22_050.0, True, "22050"])
def test_bad_sampling_rates_are_refused(sample_rate: object) -> None:
    with pytest.raises(ValueError, match="sample_rate must be a positive integer"):
        FeatureBank(["rms"], sample_rate)  # type: ignore[arg-type]


def test_a_missing_sampling_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_rate: give that of the audio, in Hz"):
        FeatureBank(["rms"], None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "message"),
    [(["rsm"], "unknown feature 'rsm'; the known ones are .*chroma.*zcr"), ([], "at least one"), ("rms", "a list")],
)
def test_unknown_features_are_refused(features: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureBank(features, 22_050)


def test_a_feature_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'chroma' is given twice"):
        FeatureBank(["chroma", Chroma(tuning=0.0)], 22_050)


def test_of_a_clip_of_length_zero_nothing_is_known(audio: Tensor) -> None:
    for name, (values, *_) in FeatureBank(EVERY, 22_050)(audio[:3], torch.tensor([33_075, 0, 15_360])).items():
        assert values[1].isnan().all(), name
        assert not values[::2].isnan().all(), name


@pytest.mark.parametrize(
    ("waveform", "lengths", "message"),
    [
        (torch.zeros(100), None, "waveform must have shape"),
        (torch.zeros(2, 0), None, "waveform must have shape"),
        (torch.zeros(2, 100, dtype=torch.int64), None, "waveform must be floating point"),
        (torch.zeros(2, 100), torch.tensor([1, 2, 3]), "lengths must be integers of shape"),
        (torch.zeros(2, 100), torch.tensor([0.5, 1.0]), "lengths must be integers of shape"),
    ],
)
def test_bad_batches_are_refused(waveform: Tensor, lengths: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureBank(["rms"], 8_000)(waveform, lengths)


def test_an_axis_beyond_half_the_rate_is_refused_at_construction() -> None:
    with pytest.raises(ValueError, match=r"frequency: .* half the sample_rate"):
        FeatureBank(["rms"], 8_000, frequency=FrequencyAxis(f_max=8_000.0))


def test_tables_move_with_the_module_and_stay_out_of_checkpoints() -> None:
    bank = FeatureBank(EVERY, 22_050)
    assert all("nnaudio" in key or "gammatone" in key for key in bank.state_dict())
    assert all(buffer.device.type == "meta" for buffer in bank.to("meta").buffers())


def test_an_analysis_stands_for_its_four_numbers(audio: Tensor) -> None:
    axis = FrequencyAxis("mel", n_bins=40)
    analysis = Analysis(22_050, 512, 256, axis)
    bank = FeatureBank(["harmonic"], analysis)
    assert bank.analysis == analysis
    expected = FeatureBank(["harmonic"], 22_050, n_fft=512, hop_length=256, frequency=axis)(audio)
    assert torch.equal(bank(audio)["harmonic"].values, expected["harmonic"].values)
    with pytest.raises(ValueError, match="hop_length and frequency are those of the Analysis; found 2048, 128"):
        FeatureBank(["harmonic"], analysis, hop_length=128)
