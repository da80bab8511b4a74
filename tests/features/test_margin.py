"""Which answers have a margin is told by the answers alone."""

from typing import Any

import numpy as np
import pytest


@pytest.fixture
def notes() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def margin(margin: Any, notes: list[tuple[Any, ...]]) -> Any:
    """One that does not tell the end of the test run."""
    return type(margin)(lambda *note: notes.append(note))


def test_ties_are_left_out_and_clear_peaks_are_not(margin: Any, notes: list[tuple[Any, ...]]) -> None:
    assert margin.keeps(np.argmax, np.array([0.0, 1.0, 0.9999]))
    assert not margin.keeps(np.argmax, np.array([0.0, 1.0, 1.0]))
    assert not margin.keeps(lambda x: np.flatnonzero(x >= 1), np.array([0.0, 1.0, 1.0]))  # answers of unequal lengths
    assert not margin.keeps(np.argmax, np.array([1.0, 1.0 + 1e-7], dtype=np.float32))
    kept = margin.where(lambda x: x > 0.5, np.array([0.3, 0.5, 0.7]), around=1)
    np.testing.assert_array_equal(kept, [True, False, True])
    assert (margin.left, margin.number) == (4, 7)
    margin.check(share=0.5)
    assert notes == [(4, 7, "clips")]
    with pytest.raises(AssertionError, match="4 of 7 clips have no margin"):
        margin.check(share=0.4)


def test_silence_stays_silent_and_what_is_near_a_click_gets_noise(margin: Any) -> None:
    clicks = np.zeros(200, dtype=np.float32)
    clicks[100] = 1
    assert margin.keeps(lambda x: np.count_nonzero(x[:80]), clicks)
    assert not margin.keeps(lambda x: np.count_nonzero(x[80:120]), clicks)
