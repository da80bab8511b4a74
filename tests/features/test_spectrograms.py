"""Features of spectrograms against those of the audio that they were made of, and against librosa."""

from collections.abc import Callable
from functools import partial
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_dissect.features import FeatureBank, FrequencyAxis, SpectrogramBank, feature_names
from lightning_dissect.features.functional.spectrum import magnitude
from lightning_dissect.features.spectrograms import AmplitudeScale, check_values

RATE, N_FFT, HOP = 22_050, 512, 256
WHOLE = FrequencyAxis("linear", n_bins=1 + N_FFT // 2)
MEL = FrequencyAxis("mel", n_bins=64)
OF_MAP = ["harmonic", "harmonic_ratio", "input", "mel", "percussive"]
OF_LEVEL = ["rms", "rms_db"]
"""Features that spectra weigh by the window, as librosa does."""
OF_SPECTRUM = [
    "bandwidth", "centroid", "chroma", "contrast", "flatness", "hpcp", "mfcc", "onset_strength", "rolloff", "tempo",
]  # fmt: skip
DECIDING = ["chroma", "hpcp", "rolloff", "tempo"]
"""Features that pick peaks, bins or lags, or a tuning on their way."""
OF_AUDIO = [name for name in feature_names() if name not in OF_MAP + OF_LEVEL + OF_SPECTRUM]


@pytest.fixture(scope="module")
def audio(phrases: Callable[..., np.ndarray]) -> Tensor:
    """Six clips of 1.5 s: four phrases at different levels, silence, and a constant."""
    clips = torch.from_numpy(phrases(6, 1.5))
    clips[1] *= 1e-2
    clips[4], clips[5] = 0, 0.5
    return clips


@pytest.fixture(scope="module")
def spectra(audio: Tensor) -> Tensor:
    return magnitude(audio, n_fft=N_FFT, hop_length=HOP)


def scaled(S: Tensor, scale: AmplitudeScale) -> Tensor:
    return {"magnitude": S, "power": S.square(), "db": 20 * S.log10()}[scale]


@pytest.mark.parametrize("scale", ["magnitude", "power", "db"])
@pytest.mark.parametrize("name", OF_MAP + OF_SPECTRUM)
def test_whole_spectra_give_the_features_of_the_audio(
    name: str, scale: AmplitudeScale, audio: Tensor, spectra: Tensor, margin: Any
) -> None:
    reference = FeatureBank([name], RATE, N_FFT, HOP, WHOLE)
    found = SpectrogramBank(scale, [name], RATE, N_FFT, HOP, WHOLE)(scaled(spectra, scale))[name]
    assert found.mask is None

    # Roots and logarithms in float32 move a magnitude by some 1e-6 of it, and powers by twice that.
    def near(values: Any, expected: Any) -> np.ndarray:
        return np.isclose(values, expected, rtol=1e-4, atol=1e-4 * float(np.nanmax(np.abs(expected))), equal_nan=True)

    expected = reference(audio)[name]
    assert found.rows == expected.rows
    alike = near(found.values.numpy(), expected.values.numpy())
    if name in DECIDING:
        alike |= ~margin.where(lambda y: reference(torch.from_numpy(y))[name].values.numpy(), audio.numpy(), near)
        # The constant, one of six clips, has peaks for hpcp only where rounding makes them.
        margin.check("values", share=0.25 if name == "hpcp" else 0.1)
    assert alike.all()


def test_parts_on_a_mel_axis_are_those_of_librosa(spectra: Tensor) -> None:
    filters = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=64)
    mel = filters @ spectra.square().numpy()
    bank = SpectrogramBank("power", OF_MAP, RATE, N_FFT, HOP, MEL)
    found = bank(torch.from_numpy(mel))
    for clip, S in enumerate(mel):
        harmonic, percussive = (part**2 for part in librosa.decompose.hpss(np.sqrt(S)))
        for name, power in {"harmonic": harmonic, "percussive": percussive, "input": S, "mel": S}.items():
            # float32 roots, and their squares in dB: 1e-5 dB
            values = found[name].values[clip].numpy()
            np.testing.assert_allclose(values, librosa.power_to_db(power), rtol=0, atol=1e-3)
        ratio = found["harmonic_ratio"].values[clip, 0].numpy()
        energies = harmonic.sum(0), percussive.sum(0)
        if not S.any():
            assert np.isnan(ratio).all()
            continue
        expected = librosa.power_to_db(energies[0] / energies[1], top_db=None)
        # The floor, 30 dB below both and more, moves each by 4e-3 dB at most.
        clear = np.minimum(*energies) > 1e-5 * np.add(*energies).max()
        assert clear.any()
        np.testing.assert_allclose(ratio[clear], expected[clear], rtol=0, atol=1e-2)


@pytest.mark.parametrize("axis", [WHOLE, MEL], ids=["whole", "mel"])
def test_levels_are_those_of_librosa_where_there_is_a_whole_spectrum(axis: FrequencyAxis, spectra: Tensor) -> None:
    spectra = axis.projection(RATE, N_FFT) @ spectra
    found = SpectrogramBank("magnitude", OF_LEVEL, RATE, N_FFT, HOP, axis)(spectra)
    for clip, S in enumerate(spectra.double().numpy()):
        whole = librosa.feature.rms(S=S, frame_length=N_FFT)[0] if axis is WHOLE else None
        expected = np.sqrt((S**2).sum(0)) if whole is None else whole
        np.testing.assert_allclose(found["rms"].values[clip, 0].numpy(), expected, rtol=1e-5)
        decibels = librosa.amplitude_to_db(expected)
        np.testing.assert_allclose(found["rms_db"].values[clip, 0].numpy(), decibels, rtol=0, atol=1e-3)


def test_level_of_a_spectrum_is_that_of_the_audio_but_for_the_window(audio: Tensor, spectra: Tensor) -> None:
    found = SpectrogramBank("magnitude", ["rms_db"], RATE, N_FFT, HOP, WHOLE)(spectra)["rms_db"].values
    of_audio = FeatureBank(["rms_db"], RATE, N_FFT, HOP)(audio)["rms_db"].values
    constant = found[5, 0, 5:-5] - of_audio[5, 0, 5:-5]
    torch.testing.assert_close(constant, torch.full_like(constant, -4.26), rtol=0, atol=0.01)  # 10 log10 3 / 8
    for clip in (0, 1, 2, 3):
        # The window rounds off where notes begin and end.
        assert torch.corrcoef(torch.stack([found[clip, 0], of_audio[clip, 0]]))[0, 1] > 0.9


def values_of(name: str, S: np.ndarray) -> np.ndarray:
    values: np.ndarray = (
        SpectrogramBank("magnitude", [name], RATE, N_FFT, HOP, WHOLE)(torch.from_numpy(S)[None])[name].values[0].numpy()
    )
    return values


def decided_alike(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where a change of 1e-6 has done no more than 1e-4, as another decision does."""
    return np.isclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), equal_nan=True)


@pytest.mark.parametrize("axis", [WHOLE, MEL], ids=["whole", "mel"])
def test_batch_equals_its_clips_whatever_lies_behind_their_ends(
    axis: FrequencyAxis, spectra: Tensor, margin: Any
) -> None:
    names = OF_MAP + OF_LEVEL + (OF_SPECTRUM if axis is WHOLE else [])
    bank = SpectrogramBank("magnitude", names, RATE, N_FFT, HOP, axis)
    spectra = axis.projection(RATE, N_FFT) @ spectra
    lengths = torch.tensor([spectra.shape[2], 70, 41, 9, spectra.shape[2], 1])
    spoilt = spectra.clone()
    for S, length in zip(spoilt, lengths, strict=True):
        S[:, length:] = torch.nan
    spoilt[0, 3, 5] = -1.0  # no magnitude
    batch = bank(spoilt, lengths)
    for name, values in batch.items():
        assert values.values[0].isnan().all()
        for clip in range(1, 6):
            S = spectra[clip, :, : lengths[clip]]
            if name in DECIDING and not margin.keeps(partial(values_of, name), S.numpy(), decided_alike, around=1):
                continue
            alone = bank(S[None])[name].values[0]
            same = values.values[clip] if values.level == "clip" else values.values[clip][:, : alone.shape[1]]
            # To 1e-6 of the largest value, as of audio: other numbers of frames are summed in another order.
            atol = 1e-6 * max(1.0, alone.nan_to_num().abs().max().item())
            torch.testing.assert_close(same, alone, rtol=0, atol=atol, equal_nan=True, msg=f"{name} of clip {clip}")
        if values.level != "clip":
            assert values.mask is not None
            assert values.mask.sum(1).tolist() == lengths.tolist()
    if axis is WHOLE:
        margin.check(share=0.25)  # the constant's peaks and strongest lag are rounding's


def test_of_a_clip_of_length_zero_nothing_is_known(spectra: Tensor) -> None:
    names = OF_MAP + OF_LEVEL + OF_SPECTRUM
    bank = SpectrogramBank("magnitude", names, RATE, N_FFT, HOP, WHOLE)
    for name, (values, *_) in bank(spectra[:3], torch.tensor([spectra.shape[2], 0, 70])).items():
        assert values[1].isnan().all(), name
        assert not values[::2].isnan().all(), name


@pytest.mark.parametrize("name", OF_AUDIO)
@pytest.mark.parametrize("axis", [WHOLE, MEL], ids=["whole", "mel"])
def test_features_of_audio_are_refused(name: str, axis: FrequencyAxis) -> None:
    with pytest.raises(ValueError, match=f"features: {name} cannot be computed from spectrograms, only from audio"):
        SpectrogramBank("power", ["harmonic", name], RATE, N_FFT, HOP, axis)


@pytest.mark.parametrize("name", OF_SPECTRUM)
def test_features_of_the_spectrum_are_refused_on_another_axis(name: str) -> None:
    given = ", ".join(sorted(OF_MAP + OF_LEVEL))
    message = rf"features: {name} needs the whole spectrum, .*n_bins=257\)\. These spectrograms give {given}\.$"
    with pytest.raises(ValueError, match=message):
        SpectrogramBank("power", [name, "mel"], RATE, N_FFT, HOP, MEL)


def test_arguments_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="spectrogram='log' is none of 'magnitude', 'power', 'db'"):
        SpectrogramBank("log", ["mel"], RATE)  # type: ignore[arg-type]
    bank = SpectrogramBank("db", ["mel"], RATE, N_FFT, HOP, MEL)
    for wrong in (torch.zeros(2, 100, 64), torch.zeros(2, 1, 64, 100), torch.zeros(2, 64, 100).int()):
        with pytest.raises(ValueError, match=r"must have shape \(clips, 64, frames\), found"):
            bank(wrong)


def test_values_that_do_not_fit_their_scale_are_told(spectra: Tensor) -> None:
    decibels = scaled(spectra, "db")
    check_values(decibels, "db")
    check_values(spectra, "magnitude")
    check_values(torch.full((1, 2, 3), torch.nan), "power")
    with pytest.raises(ValueError, match=r"values down to .*, which are no powers"):
        check_values(decibels, "power")
    finite = decibels.clamp(-80, 80)
    with pytest.warns(UserWarning, match="where spectrograms were standardised"):
        check_values((finite - finite.mean()) / finite.std(), "db")


class Waits(TorchDispatchMode):
    """Notes what would wait for an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"):
            self.seen.append(str(op))
        return op(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(spectra: Tensor) -> None:
    bank = SpectrogramBank("magnitude", OF_MAP + OF_LEVEL, RATE, N_FFT, HOP, WHOLE)
    with Waits() as waits:
        bank(spectra)
    assert not waits.seen
    with waits:
        check_values(spectra, "magnitude")
    assert waits.seen
