import math

import librosa
import numpy as np
import pytest
import torch

from lightning_dissect.features.functional import hpss, softmask

SPECTROGRAM = np.random.default_rng(1).exponential(size=(65, 80)).astype(np.float32) ** 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": True},
        {"kernel_size": 17},
        {"kernel_size": (13, 31)},
        {"kernel_size": (8, 16)},
        {"power": 1.0},
        {"power": math.inf},
        {"margin": 2.0},
        {"margin": (1.0, 3.0), "power": math.inf},
    ],
    ids=str,
)
def test_equals_librosa(options: dict[str, object]) -> None:
    S = SPECTROGRAM.copy()
    S[10:50, 20:70] = 0  # where both medians are zero, the masks depend on the margins
    for ours, theirs in zip(hpss(torch.from_numpy(S), **options), librosa.decompose.hpss(S, **options), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=0)


def test_parts_of_a_complex_spectrogram_add_up() -> None:
    S = torch.polar(torch.from_numpy(SPECTROGRAM), torch.rand(65, 80))
    harmonic, percussive = hpss(S)
    torch.testing.assert_close(harmonic + percussive, S)


def test_batch_equals_items_whatever_follows_them() -> None:
    S = torch.from_numpy(SPECTROGRAM)[None].repeat(3, 1, 1) * torch.tensor([1.0, 1e-4, 1e4])[:, None, None]
    lengths = torch.tensor([80, 3, 41])
    for length, item, *parts in zip(lengths, S, *hpss(S, lengths=lengths), strict=True):
        for part, alone in zip(parts, hpss(item[:, :length]), strict=True):
            assert torch.equal(part[:, :length], alone)


def test_a_click_is_percussive_and_a_tone_harmonic() -> None:
    S = torch.full((100, 100), 1e-3)
    S[30], S[:, 60] = 1.0, 1.0
    harmonic, percussive = hpss(S)
    assert harmonic[30, :50].min() > 0.99
    assert percussive[50:, 60].min() > 0.99
    assert harmonic[50:, 60].max() < 0.01


def test_softmask_of_infinite_power_is_binary() -> None:
    assert softmask(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), power=math.inf).tolist() == [0, 1]


@pytest.mark.parametrize("options", [{"margin": 0.5}, {"power": 0.0}, {"kernel_size": 0}])
def test_bad_arguments_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        hpss(torch.rand(9, 9), **options)
    with pytest.raises(ValueError, match="S must have shape"):
        hpss(torch.rand(9))


def test_frames_are_those_of_the_whole() -> None:
    S = torch.from_numpy(SPECTROGRAM)
    for some, whole in zip(hpss(S, frames=(7, 50)), hpss(S), strict=True):
        assert torch.equal(some, whole[:, 7:50])
    with pytest.raises(ValueError, match="frames must be"):
        hpss(S, frames=(50, 81))


def test_gradients_change_no_result() -> None:
    S = torch.from_numpy(SPECTROGRAM).requires_grad_()
    harmonic, _ = hpss(S)
    (gradient,) = torch.autograd.grad(harmonic.sum(), S)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    assert torch.equal(harmonic.detach(), hpss(S.detach())[0])
