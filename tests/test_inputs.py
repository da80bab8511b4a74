from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.inputs import Inputs, check_sample_rate, find_waveform

RATE = 8_000
AUDIO = torch.linspace(-1, 1, 2 * 1_000).view(2, 1_000)
LABELS = torch.tensor([0, 1])


@dataclass
class Batch:
    audio: Tensor
    labels: Tensor


@pytest.mark.parametrize(
    "batch",
    [
        AUDIO,
        (AUDIO, LABELS),
        [AUDIO[:, None], LABELS],
        {"wav": AUDIO, "spectrogram": torch.zeros(2, 1, 96, 300), "label": LABELS},
        {"data": {"deep": (LABELS, AUDIO)}},
        Batch(AUDIO, LABELS),
        (AUDIO, torch.zeros(2, 50)),
        {"audio": AUDIO, "other": torch.zeros(2, 1_000)},
    ],
)
def test_audio_is_recognised_in_the_usual_batches(batch: Any) -> None:
    torch.testing.assert_close(find_waveform(batch, RATE), AUDIO, rtol=0, atol=0)


def test_channels_are_averaged_and_int16_is_scaled() -> None:
    stereo = torch.stack([AUDIO, 3 * AUDIO], dim=1)
    torch.testing.assert_close(find_waveform(stereo, RATE), 2 * AUDIO)
    integers = (AUDIO * 32767).to(torch.int16)
    torch.testing.assert_close(find_waveform(integers, RATE), AUDIO, rtol=0, atol=1 / 16384)


@pytest.mark.parametrize(
    ("where", "batch"),
    [
        ("x1", {"x1": AUDIO, "x2": AUDIO + 1}),
        (1, (AUDIO + 1, AUDIO)),
        (lambda batch: batch["nested"][0], {"nested": [AUDIO, AUDIO + 1]}),
        ("audio", Batch(AUDIO, LABELS)),
    ],
)
def test_audio_is_taken_from_where_the_user_says(where: Any, batch: Any) -> None:
    torch.testing.assert_close(find_waveform(batch, RATE, where), AUDIO, rtol=0, atol=0)


def test_a_batch_without_audio_says_what_it_holds() -> None:
    with pytest.raises(
        ValueError, match=r"no tensor has the shape of audio .* 0: float32 \(2, 1, 96\); 1: int64 \(2,\)"
    ):
        find_waveform((torch.zeros(2, 1, 96), LABELS), RATE)
    with pytest.raises(ValueError, match="several tensors could be the audio"):
        find_waveform((AUDIO, AUDIO), RATE)
    with pytest.raises(ValueError, match=r"waveform='sound' is not in the batch, which holds wav: float32 \(2, 1000\)"):
        find_waveform({"wav": AUDIO}, RATE, "sound")
    with pytest.raises(ValueError, match=r"waveform=1 gave int64 \(2,\)"):
        find_waveform((AUDIO, LABELS), RATE, 1)


@pytest.mark.parametrize(
    ("batch", "names"),
    [
        ({"x": torch.zeros(2, 512), "audio": AUDIO}, "x, audio"),
        ({"waveform": AUDIO, "input_values": AUDIO + 1}, "waveform, input_values"),
        ({"clean": {"wav": AUDIO}, "noisy": {"wav": AUDIO + 1}, "other": AUDIO}, "clean.wav, noisy.wav"),
        ({"first": AUDIO, "second": AUDIO + 1}, "first, second"),
    ],
)
def test_several_tensors_that_could_be_the_audio_are_named(batch: Any, names: str) -> None:
    with pytest.raises(ValueError, match=rf"several tensors could be the audio \({names}\) in the batch"):
        find_waveform(batch, RATE)


def test_one_tensor_under_two_usual_names_is_the_audio() -> None:
    torch.testing.assert_close(find_waveform({"waveform": AUDIO, "input_values": AUDIO}, RATE), AUDIO)


def lengths_of(lengths: Any, where: Any = "lengths", first: bool = True) -> Tensor | None:
    """What is found as the lengths of the clips of a batch."""
    return Inputs(RATE, lengths=where).find({"audio": AUDIO, "lengths": lengths}, first)[1]


def test_lengths_come_as_samples_or_as_a_mask() -> None:
    lengths = torch.tensor([700, 2_000])
    mask = torch.arange(1_000) < lengths[:, None]
    assert lengths_of(lengths, where=None) is None
    for given in (lengths, mask, mask.long()):
        found = lengths_of(given)
        assert found is not None
        assert found.tolist() == [700, 1_000]
    with pytest.raises(ValueError, match=r"lengths='lengths' gave float32 \(2,\)"):
        lengths_of(torch.tensor([0.5, 1.0]))


@pytest.mark.parametrize("found", [torch.tensor([700, 800, 900]), torch.ones(3, 1_000), torch.tensor([700])])
def test_lengths_for_another_number_of_clips_are_refused(found: Tensor) -> None:
    with pytest.raises(ValueError, match=r"lengths='lengths' gave .* integers \(2,\), in samples, .* mask \(2, 1000\)"):
        lengths_of(found)


LEFT = torch.arange(1_000) >= torch.tensor([[0], [300]])
HOLED = ((torch.arange(1_000) // 300) % 2 == 0).expand(2, 1_000)


@pytest.mark.parametrize("mask", [LEFT, HOLED, LEFT.long()])
def test_padding_before_or_within_a_clip_is_refused(mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"lengths='lengths': .* padding before a clip or within it.*padding_side"):
        lengths_of(mask, first=False)


def test_masks_on_an_accelerator_are_looked_at_in_the_end() -> None:
    """A mask without values stands for one whose values are not there yet, and one that says so for one on a GPU."""
    lengths_of(torch.ones(2, 1_000, dtype=torch.bool, device="meta"), first=False)

    class Elsewhere(Tensor):
        device = torch.device("cuda")

    inputs = Inputs(RATE, lengths="mask")
    for first, second, refused in ((~LEFT, ~LEFT, False), (LEFT, ~LEFT, True), (~LEFT, LEFT, True)):
        inputs.begin()
        for mask in (first.flip(0), second.flip(0)):
            inputs.find({"audio": AUDIO, "mask": mask.as_subclass(Elsewhere)}, first=False)
        if refused:
            with pytest.raises(ValueError, match="lengths='mask'"):
                inputs.settle()
        else:
            inputs.settle()


def test_the_sample_rates_that_a_batch_says_are_compared() -> None:
    check_sample_rate((AUDIO, 16_000), RATE)
    check_sample_rate({"audio": AUDIO, "sampling_rate": torch.tensor([RATE, RATE]), "sr": "high"}, RATE)
    with pytest.raises(ValueError, match=r"sample_rate=8000: the batch says clip.sr=16000, 44100\. .* resample"):
        check_sample_rate({"clip": {"sr": torch.tensor([44_100, RATE, 16_000])}}, RATE)


@pytest.mark.parametrize(
    "rates",
    ["16000", [RATE, 16_000], ["8000", "16000"], (torch.tensor(RATE), torch.tensor(16_000)), np.array([RATE, 16_000])],
)
def test_sample_rates_are_seen_in_lists_strings_and_arrays(rates: Any) -> None:
    with pytest.raises(ValueError, match=r"the batch says meta\.sampling_rate=16000\."):
        check_sample_rate({"audio": AUDIO, "meta": {"sampling_rate": rates}}, RATE)
    check_sample_rate({"audio": AUDIO, "sr": [RATE, "8000", None, "high"], "sr2": [16_000]}, RATE)


def test_rates_on_an_accelerator_are_not_waited_for() -> None:
    """A tensor without values stands for one whose values are not there yet."""
    later = {"sample_rate": torch.empty(2, device="meta")}
    check_sample_rate(later, RATE, wait=False)
    with pytest.raises((NotImplementedError, RuntimeError)):
        check_sample_rate(later, RATE)
