from importlib import import_module

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lightning_dissect.features.functional import median_filter


def plain_median(x: np.ndarray, kernel_size: int) -> np.ndarray:
    """Sort each window along the last axis."""
    before, after = kernel_size // 2, kernel_size - 1 - kernel_size // 2
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel_size, axis=-1)
    return np.sort(windows, axis=-1)[..., kernel_size // 2]


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 7, 15, 17, 30, 31, 63])
@pytest.mark.parametrize("shape", [(40, 60), (3, 17, 33), (100,), (2, 16, 1030)])
def test_equals_scipy(kernel_size: int, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).exponential(size=shape).astype(np.float32)
    for dim, size in enumerate(shape):
        if 4 * size <= kernel_size // 2:
            continue  # scipy 1.17 reads outside the array there: its folded index goes below 0
        window = [kernel_size if d == dim else 1 for d in range(len(shape))]
        expected = scipy.ndimage.median_filter(x, size=window)
        np.testing.assert_array_equal(median_filter(torch.from_numpy(x), kernel_size, dim).numpy(), expected)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 70)), elements=st.floats(-9, 9, width=32)),
    st.integers(1, 40),
)
def test_equals_sorting_every_window(x: np.ndarray, kernel_size: int) -> None:
    result = median_filter(torch.from_numpy(x), kernel_size, -1).numpy()
    np.testing.assert_array_equal(result, plain_median(x, kernel_size))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.sampled_from([5, 8, 15, 31]))
def test_items_end_at_their_own_lengths(lengths: list[int], kernel_size: int) -> None:
    x = torch.rand(len(lengths), 4, 50, generator=torch.Generator().manual_seed(0))
    result = median_filter(x, kernel_size, -1, torch.tensor(lengths))
    for item, filtered, length in zip(x, result, lengths, strict=True):
        assert torch.equal(filtered[:, :length], median_filter(item[:, :length], kernel_size, -1))


def test_pieces_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(3, 50, 200)
    whole = [median_filter(x, 31, dim) for dim in (1, 2)]
    module = import_module("lightning_dissect.features.functional.median")
    monkeypatch.setattr(module, "chunk_size", lambda device: 500)
    assert all(torch.equal(median_filter(x, 31, dim), result) for dim, result in zip((1, 2), whole, strict=True))


def test_gradients_reach_the_value_that_was_taken() -> None:
    x = torch.tensor([1.0, 9.0, 2.0, 3.0, 8.0], requires_grad=True)
    result = median_filter(x, 3)
    assert torch.equal(result.detach(), median_filter(x.detach(), 3))
    result.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize(("kernel_size", "lengths"), [(0, None), (3, torch.tensor([1])), (3, torch.tensor([[1, 2]]))])
def test_bad_arguments_are_named(kernel_size: int, lengths: torch.Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"kernel_size|lengths"):
        median_filter(torch.rand(2, 9), kernel_size, -1, lengths)
