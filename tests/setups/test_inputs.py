"""Batches of every kind, through a real validation: the same scores as the plain batch, or an error that helps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

RATE = 8_000


@dataclass
class Clip:
    audio: Tensor
    label: Tensor


class Pair(NamedTuple):
    waveform: Tensor
    label: Tensor


class Listening(pl.LightningModule):
    """Runs on the plain waveform, whatever the batch looks like."""

    def __init__(self, waveforms: list[Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.waveforms = nn.Conv1d(1, 4, 64, 32), waveforms

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.conv(self.waveforms[batch_idx][:, None])


def spectrogram(x: Tensor) -> Tensor:
    return torch.stft(x, 256, 128, window=torch.hann_window(256), return_complex=True).abs()


def labels(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % 2


def left_padded(x: Tensor) -> dict[str, Tensor]:
    """As Hugging Face's feature extractors do it where they are told so."""
    starts = torch.arange(len(x))[:, None] * 200
    mask = torch.arange(x.shape[1]) >= starts
    return {"input_values": x * mask, "attention_mask": mask.long()}


BATCHES: dict[str, tuple[Callable[[Tensor], Any], dict[str, Any]]] = {
    "tensor": (lambda x: x, {}),
    "tuple": (lambda x: (x, labels(x)), {}),
    "list": (lambda x: [x, labels(x)], {}),
    "named tuple": (lambda x: Pair(x, labels(x)), {}),
    "dict": (lambda x: {"audio": x, "label": labels(x)}, {}),
    "dataclass": (lambda x: Clip(x, labels(x)), {}),
    "nested": (lambda x: {"inputs": {"clip": (labels(x), [x])}, "meta": ["a", "b"]}, {}),
    "one channel": (lambda x: (x[:, None], labels(x)), {}),
    "stereo": (lambda x: torch.stack([1.5 * x, 0.5 * x], 1), {}),
    "double precision": (lambda x: x.double(), {}),
    "int16": (lambda x: (x * 2**15).round().to(torch.int16), {}),
    "beside its spectrogram": (lambda x: {"mel": spectrogram(x), "wave": x}, {}),
    "by a key": (lambda x: {"clean": x, "noisy": x + 1}, {"waveform": "clean"}),
    "by an index": (lambda x: (x + 1, x), {"waveform": 1}),
    "by a function": (lambda x: {"a": [x + 1, x]}, {"waveform": lambda batch: batch["a"][1]}),
    "spectrogram, inverted by a function": (
        lambda x: (torch.stft(x, 256, 64, window=torch.hann_window(256), return_complex=True), x.shape[-1]),
        {"waveform": lambda batch: torch.istft(batch[0], 256, 64, window=torch.hann_window(256), length=batch[1])},
    ),
    "with the rate as it is": (lambda x: {"audio": x, "sampling_rate": torch.full((len(x),), RATE)}, {}),
}


@pytest.fixture(scope="module")
def waveforms(clips: Callable[..., Tensor]) -> list[Tensor]:
    noise = 0.02 * torch.randn(24, RATE // 2, generator=torch.Generator().manual_seed(1))
    return list((clips(24, seconds=0.5, sample_rate=RATE) + noise).clamp(-0.6, 0.6).split(8))


def validate(
    batches: list[Any],
    waveforms: list[Tensor],
    watch: Any,
    trainer: Callable[..., pl.Trainer],
    module: type[Listening] = Listening,
) -> None:
    loader: DataLoader[Any] = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
    trainer(watch).validate(module(waveforms), loader, verbose=False)


@pytest.mark.parametrize("name", BATCHES)
def test_the_audio_is_found(
    name: str, waveforms: list[Tensor], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    make, arguments = BATCHES[name]
    tables = []
    for batches, own in ((waveforms, {}), ([make(x) for x in waveforms], arguments)):
        watch = callback(**own)
        validate(batches, waveforms, watch, trainer)
        tables.append(watch.scores.table[["layer", "unit", "feature", "level", "score", "n_clips"]])
    # 16 bits add noise 60 dB below that of the clips; the mean of channels and the inverse transform round in float32.
    tolerance = {"int16": 1e-3, "spectrogram, inverted by a function": 1e-4, "stereo": 1e-5}.get(name, 0)
    pd.testing.assert_frame_equal(*tables, rtol=0, atol=tolerance)


@pytest.mark.parametrize("as_mask", [False, True], ids=["lengths", "mask"])
def test_padding_changes_nothing(
    as_mask: bool, waveforms: list[Tensor], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    """Garbage behind the end of a clip has no effect, and neither has where the batch ends."""
    tables = []
    for garbage in (0.0, 9.0):
        batches = []
        for x in waveforms:
            lengths = torch.arange(1_600, 1_600 + 300 * len(x), 300)
            mask = torch.arange(x.shape[1]) < lengths[:, None]
            batches.append({"audio": x.where(mask, garbage * torch.ones(())), "end": mask if as_mask else lengths})
        watch = callback(lengths="end")
        validate(batches, waveforms, watch, trainer)
        tables.append(watch.scores.table)
    pd.testing.assert_frame_equal(*tables)


class WithAndWithoutTime(Listening):
    """A layer with frames, and one with a value a clip, which says nothing itself of how long clips are."""

    def __init__(self, waveforms: list[Tensor]) -> None:
        super().__init__(waveforms)
        self.embedding = nn.Linear(4, 3)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.embedding(self.conv(self.waveforms[batch_idx][:, None]).mean(-1))


@pytest.mark.parametrize("as_mask", [False, True], ids=["lengths", "mask"])
def test_a_clip_without_any_audio_does_not_count(
    as_mask: bool, waveforms: list[Tensor], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    lengths = torch.full((8,), RATE // 2)
    lengths[[2, 5]] = 0
    mask = torch.arange(RATE // 2) < lengths[:, None]
    batches = [{"audio": x, "end": mask if as_mask else lengths} for x in waveforms]
    metrics = ["pearson", "spearman", "mutual_information", "euclidean", "iou", "cka", "decodability"]
    watch = callback(lengths="end", metrics=metrics, features=["rms", "centroid", "mel"])
    validate(batches, waveforms, watch, trainer, WithAndWithoutTime)
    table = watch.scores.table
    assert set(table["metric"]) == set(metrics)
    # Three batches of eight clips, six of which have audio; some units and features are undefined on some clips.
    assert table.groupby("metric", observed=True)["n_clips"].max().to_dict() == dict.fromkeys(metrics, 18)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda x: (spectrogram(x)[:, None], labels(x)), {}, r"no tensor has the shape of audio.*spectrograms alone"),
        (lambda x: (x, x + 1), {}, "several tensors could be the audio"),
        (lambda x: {"audio": x}, {"waveform": "wav"}, r"waveform='wav' is not in the batch.*audio: float32"),
        (lambda x: (x, labels(x)), {"waveform": 1}, r"waveform=1 gave int64 \(8,\)"),
        (lambda x: {"x": x[:, :512], "audio": x}, {}, r"several tensors could be the audio \(x, audio\)"),
        (lambda x: (x, labels(x) / 2), {"lengths": 1}, r"lengths=1 gave float32 \(8,\)"),
        (lambda x: (x, torch.full((9,), 4_000)), {"lengths": 1}, r"lengths=1 gave int64 \(9,\).* \(8,\).* 8 clips"),
        (lambda x: (x, torch.ones(9, 4_000) > 0), {"lengths": 1}, r"lengths=1 gave bool \(9, 4000\).* 8 clips"),
        (left_padded, {"lengths": "attention_mask"}, "lengths='attention_mask': .*padding_side='right'"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_says_what_to_do(
    make: Callable[[Tensor], Any],
    arguments: Mapping[str, Any],
    message: str,
    waveforms: list[Tensor],
    callback: Callable[..., Any],
    trainer: Callable[..., pl.Trainer],
) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        validate([make(x) for x in waveforms], waveforms, callback(**arguments), trainer)


def test_a_mask_that_is_not_waited_for_is_looked_at_when_the_run_ends(
    waveforms: list[Tensor], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    """A mask that says so stands for one on a GPU, of which only the first batch's is waited for."""

    class Elsewhere(Tensor):
        device = torch.device("cuda")

        def sum(self, *axes: int) -> Any:
            return self.as_subclass(Tensor).sum(*axes)

    seen = []

    class Counting(Listening):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append(batch_idx)
            super().validation_step(batch, batch_idx)

    def mask(batch: dict[str, Tensor]) -> Tensor:
        return batch["attention_mask"].as_subclass(Elsewhere)

    whole = {"input_values": waveforms[0], "attention_mask": torch.ones_like(waveforms[0])}
    left = left_padded(waveforms[1])
    for batches, expected in (([left, whole, whole], []), ([whole, left, whole], [0, 1, 2])):
        seen.clear()
        with pytest.raises(ValueError, match=r"lengths=.* has padding before a clip"):
            validate(batches, waveforms, callback(waveform="input_values", lengths=mask), trainer, Counting)
        assert seen == expected


@pytest.mark.parametrize("key", ["sample_rate", "sampling_rate", "sr"])
@pytest.mark.parametrize(
    "rate",
    [16_000, 16_000.0, "16000", [8_000] * 7 + [16_000], ["16000"] * 8, torch.tensor(16_000),
     torch.tensor([8_000] * 7 + [16_000])],
)  # fmt: skip
def test_another_sample_rate_in_a_batch_is_an_error_with_advice(
    key: str, rate: Any, waveforms: list[Tensor], callback: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    batches = [{"audio": x, "meta": {key: RATE if place < 2 else rate}} for place, x in enumerate(waveforms)]
    with pytest.raises(ValueError, match=rf"sample_rate=8000: .*{key}=16000\. .*resample"):
        validate(batches, waveforms, callback(), trainer)
