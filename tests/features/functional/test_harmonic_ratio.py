import pytest
import torch

from lightning_dissect.features.functional import harmonic_ratio


def test_ratio_of_loud_frames_is_that_of_their_energies() -> None:
    harmonic, percussive = torch.rand(2, 3, 40, dtype=torch.float64) + 1e-2
    expected = 10 * (harmonic / percussive).log10()
    # The floor, 60 dB below the fainter part and more, moves the ratio by up to 4e-6 dB.
    torch.testing.assert_close(harmonic_ratio(harmonic, percussive), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gain", [1e-20, 1e-3, 0.25, 1e3, 1e20])
def test_level_changes_nothing(gain: float) -> None:
    harmonic, percussive = torch.rand(2, 3, 40).pow(20)
    quiet = harmonic_ratio(gain * harmonic, gain * percussive)
    # Products of float32 are off by 6e-8 of them, 3e-7 dB; the rest is rounding of numbers up to 80.
    torch.testing.assert_close(quiet, harmonic_ratio(harmonic, percussive), rtol=1e-5, atol=1e-5)


def test_silent_frames_take_the_mean_of_the_others() -> None:
    harmonic, percussive = torch.rand(2, 2, 30, dtype=torch.float64)
    harmonic[:, 20:] = percussive[:, 20:] = 0
    found = harmonic_ratio(harmonic, percussive)
    alone = harmonic_ratio(harmonic[:, :20], percussive[:, :20])
    torch.testing.assert_close(found[:, :20], alone)
    # Frames weigh nearly the same, which the mean over them does not: 1e-8 of a part of each.
    torch.testing.assert_close(found.mean(1), alone.mean(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, 20:], found.mean(1, keepdim=True).expand(-1, 10), rtol=0, atol=1e-5)


def test_what_lies_at_the_floor_fades_into_the_mean() -> None:
    loud = torch.ones(1000, dtype=torch.float64)
    quiet = torch.logspace(-2, -14, 25, dtype=torch.float64)
    found = harmonic_ratio(torch.cat([loud, quiet]), torch.cat([0.1 * loud, 4 * quiet]))[1000:]
    assert found[0] == pytest.approx(-6.02, abs=0.01)
    assert found.diff().min() > 0
    assert found[-1] == pytest.approx(10, abs=0.5)  # that of the loud frames, but for the quiet ones that are heard


def test_silence_has_no_ratio_and_spoils_no_other_clip() -> None:
    harmonic, percussive = torch.rand(2, 3, 40)
    harmonic[1] = percussive[1] = 0
    found = harmonic_ratio(harmonic, percussive)
    assert found[1].isnan().all()
    assert torch.equal(found[::2], harmonic_ratio(harmonic[::2], percussive[::2]))


def test_a_part_that_is_missing_gives_the_range() -> None:
    tone, none = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(harmonic_ratio(tone, none), torch.full_like(tone, 80.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(harmonic_ratio(none, tone, top_db=40), torch.full_like(tone, -40), rtol=0, atol=1e-3)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"harmonic and percussive must have one shape .* \(3,\) and \(4,\)"):
        harmonic_ratio(torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="harmonic and percussive"):
        harmonic_ratio(torch.ones(3, 0), torch.ones(3, 0))
    with pytest.raises(ValueError, match="top_db must be positive, found 0"):
        harmonic_ratio(torch.ones(3), torch.ones(3), top_db=0)
