import numpy as np
import pytest

from lightning_dissect.features.functional.median_network import has_network, median_network


def follow(steps: np.ndarray, rows: np.ndarray) -> None:
    """Take the steps of a network one by one."""
    for kind, a, b, c, d in steps:
        if kind == 0:
            rows[c], rows[d] = np.minimum(rows[a], rows[b]), np.maximum(rows[a], rows[b])
        else:
            rows[d] = np.clip(rows[a], rows[b], rows[c])


@pytest.mark.parametrize(("kernel_size", "n_medians"), [(3, 2), (3, 64), (7, 8), (15, 16), (31, 64), (127, 64)])
def test_network_takes_medians(kernel_size: int, n_medians: int) -> None:
    network = median_network(kernel_size, n_medians)
    values = np.random.default_rng(0).integers(0, 40, size=(network.n_inputs, 200))  # with ties
    rows = np.zeros((network.n_rows, 200), dtype=values.dtype)
    rows[: len(values)] = values
    follow(network.steps, rows)
    windows = np.lib.stride_tricks.sliding_window_view(values, kernel_size, axis=0)
    np.testing.assert_array_equal(rows[network.results], np.median(windows, axis=-1))


def test_rows_are_used_again() -> None:
    network = median_network(31, 64)
    assert network.n_inputs == 94
    assert network.n_rows < 350
    assert len(network.steps) < 13 * 64
    for kind, *rows in network.steps.tolist():
        n_inputs = 3 if kind else 2
        assert not set(rows[:n_inputs]) & set(rows[n_inputs:])


def test_sizes_without_a_network_are_refused() -> None:
    assert [size for size in range(1, 130) if has_network(size)] == [3, 7, 15, 31, 63, 127]
    for kernel_size, n_medians in ((5, 64), (31, 40), (31, 0), (1, 4)):
        with pytest.raises(ValueError, match="kernel_size must be"):
            median_network(kernel_size, n_medians)
