import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """`hpss` without compiled code; all else compiles, however small it is."""
    module = import_module("lightning_dissect.features.functional.hpss")
    monkeypatch.setattr(module, "_WORTH_COMPILING", 0)

    def run(*args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_WORTH_COMPILING", math.inf)
            return hpss(*args, **options)

    return run


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 140), st.integers(1, 140)),
    kernels=st.tuples(*[st.sampled_from([3, 7, 15, 31, 63, 127])] * 2),
    margin=st.sampled_from([1.0, (1.0, 2.0), 3.5]),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_compiled_code_equals_plain_code_bit_by_bit(
    plain: Callable[..., Any], shape: tuple[int, ...], kernels: tuple[int, int], margin: Any, seed: int, data: Any
) -> None:
    random = torch.Generator().manual_seed(seed)
    S = torch.rand(shape, generator=random).pow(4) * (torch.rand(shape, generator=random) < 0.8)
    if data.draw(st.booleans()):
        S = S.mT.contiguous().mT  # as a spectrum lies in memory
    first = data.draw(st.integers(0, shape[2]))
    frames = (first, data.draw(st.integers(first, shape[2])))
    lengths = torch.randint(1, shape[2] + 1, shape[:1], generator=random)
    options = {"kernel_size": kernels, "margin": margin, "frames": frames, "lengths": lengths}
    for given_S in (S, torch.polar(S, S)):
        for compiled, expected in zip(hpss(given_S, **options), plain(given_S, **options), strict=True):
            assert torch.equal(compiled, expected)


@pytest.mark.parametrize("scale", [0.0, 1e-42, 1e-38, 1e-20, 1e30, 3e38])
def test_compiled_code_equals_plain_code_at_the_ends_of_the_range(plain: Callable[..., Any], scale: float) -> None:
    S = torch.from_numpy(SPECTROGRAM / SPECTROGRAM.max()) * scale
    for mask in (True, False):
        for compiled, expected in zip(hpss(S, mask=mask), plain(S, mask=mask), strict=True):
            assert torch.equal(compiled, expected)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_compiled_code_gives_the_same_with_any_number_of_threads(plain: Callable[..., Any], n_threads: int) -> None:
    S = torch.rand(2, 65, 200)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(hpss(S), plain(S), strict=True))
    finally:
        torch.set_num_threads(before)


def test_frames_are_those_of_the_whole() -> None:
    S = torch.from_numpy(SPECTROGRAM)
    for some, whole in zip(hpss(S, frames=(7, 50)), hpss(S), strict=True):
        assert torch.equal(some, whole[:, 7:50])
    with pytest.raises(ValueError, match="frames must be"):
        hpss(S, frames=(50, 81))


def test_gradients_take_the_plain_path(plain: Callable[..., Any]) -> None:
    S = torch.from_numpy(SPECTROGRAM).requires_grad_()
    harmonic, _ = hpss(S)
    (gradient,) = torch.autograd.grad(harmonic.sum(), S)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    assert torch.equal(harmonic.detach(), hpss(S.detach())[0])


def test_without_numba_the_result_is_the_same(plain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    S = torch.rand(65, 200)
    compiled = hpss(S)
    module = import_module("lightning_dissect.features.functional.hpss")
    module._compiled_code.cache_clear()
    monkeypatch.setitem(sys.modules, "lightning_dissect.features.functional.hpss_numba", None)
    try:
        assert module._compiled_code() is None
        assert all(torch.equal(a, b) for a, b in zip(compiled, hpss(S), strict=True))
    finally:
        module._compiled_code.cache_clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_does_not_wait_for_threads_that_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_dissect.features.functional.hpss_numba import compiled_masks

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    S = torch.rand(1, 65, 200)

    def masks() -> np.ndarray:
        return np.stack([mask.numpy() for mask in compiled_masks(S, (31, 31), (1.0, 1.0), 0, 200, None)])

    before = masks()
    child = multiprocessing.get_context("fork").Process(target=lambda: np.testing.assert_array_equal(masks(), before))
    child.start()
    child.join(100)  # it takes some milliseconds, or for ever
    exitcode = child.exitcode
    child.kill()
    assert exitcode == 0


def test_lengths_beyond_the_frames_stay_within_memory() -> None:
    from lightning_dissect.features.functional.hpss_numba import compiled_masks

    S = torch.rand(2, 65, 70)
    whole = compiled_masks(S, (31, 31), (1.0, 1.0), 0, 70, None)
    beyond = compiled_masks(S, (31, 31), (1.0, 1.0), 0, 70, torch.tensor([70, 10**9]))
    assert all(torch.equal(a, b) for a, b in zip(whole, beyond, strict=True))
