"""Batches that hold spectrograms and no audio, in real trainings."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, FrequencyAxis, dissect

RATE, N_FFT, HOP, BINS = 8_000, 256, 128, 40
AXIS = FrequencyAxis("mel", n_bins=BINS)
LAYERS = ["network.split", "network.conv", "network.head"]


class Split(nn.Module):
    """Two planted units, steady and broad parts of a spectrogram in dB: medians of 31 frames and bins, soft masks."""

    def forward(self, decibels: Tensor) -> Tensor:
        S = 10 ** (decibels / 20)
        steady = nn.functional.pad(S, (15, 15, 0, 0), "reflect").unfold(3, 31, 1).median(-1).values.square()
        broad = nn.functional.pad(S, (0, 0, 15, 15), "reflect").unfold(2, 31, 1).median(-1).values.square()
        parts = torch.cat([S * steady, S * broad], 1) / (steady + broad)
        return 20 * parts.clamp(min=1e-4).log10()


class SpectrogramCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.split = Split()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, decibels: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(self.split(decibels) / 40)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def decibels(clips: Callable[..., Tensor]) -> Tensor:
    """(24, 1, bins, frames), 80 dB deep."""
    window = torch.hann_window(N_FFT)
    waveform = clips(24, seconds=1.0, sample_rate=RATE)
    power = torch.stft(waveform, N_FFT, HOP, window=window, return_complex=True).abs().square()
    mel = AXIS.projection(RATE, N_FFT) @ power
    return (10 * mel.clamp(min=1e-10).log10()).clamp(min=-80)[:, None]


@pytest.fixture(scope="module")
def loader(decibels: Tensor) -> Callable[..., DataLoader[Any]]:
    def make(change: Callable[[Tensor], Any] = lambda x: x) -> DataLoader[Any]:
        return DataLoader(TensorDataset(change(decibels), torch.arange(24) % 2), batch_size=6)

    return make


def watch(**arguments: Any) -> DissectCallback:
    defaults = {
        "layers": LAYERS, "features": ["harmonic", "percussive", "harmonic_ratio"], "metrics": ["pearson"],
        "frequency": AXIS, "n_fft": N_FFT, "hop_length": HOP, "spectrogram": "db", "map_clips": 24, "on_error": "raise",
    }  # fmt: skip
    return DissectCallback(RATE, **{**defaults, **arguments})


def planted(scores: Any) -> list[str]:
    """Which feature each planted unit is closest to, map by map, and that it is close."""
    maps = scores.table[scores.table["layer"].astype(str).str.endswith("split") & (scores.table["level"] == "map")]
    best = maps.sort_values("score").groupby("unit").tail(1).sort_values("unit")
    # The borders are reflected otherwise.
    assert (best["score"] > 0.95).all()
    return best["feature"].tolist()


def test_training_is_the_same_to_the_bit_and_the_planted_units_are_found(
    training: Any, loader: Callable[..., Any]
) -> None:
    def train(own: list[Any]) -> tuple[Any, pl.Trainer]:
        model, fit = training.module(SpectrogramCNN()), training.trainer(*own)
        fit.fit(model, loader(), loader())
        return model, fit

    callback = watch()
    training.assert_same(train, callback)
    assert callback.scores is not None
    table = callback.scores.table
    assert planted(callback.scores) == ["harmonic", "percussive"]
    assert set(table["layer"]) == set(LAYERS)
    assert (table[table["level"] == "clip"]["n_clips"] == 24).all()
    assert callback.scores.settings["spectrogram"] == "db"


class Looking(pl.LightningModule):
    """Runs on the plain spectrograms, whatever the batch looks like."""

    def __init__(self, decibels: Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network, self.decibels = SpectrogramCNN(), decibels

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.network(self.decibels[6 * batch_idx : 6 * batch_idx + 6])


BATCHES: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, Any]]] = {
    "without a channel": (lambda x: x[:, 0], {}),
    "power": (lambda x: 10 ** (x / 10), {"spectrogram": "power"}),
    "magnitude": (lambda x: 10 ** (x / 20), {"spectrogram": "magnitude"}),
    "by an index": (lambda x: x, {"waveform": 0}),
    "standardised and transposed, undone by a function": (
        lambda x: (x.mT + 40) / 20,
        {"waveform": lambda batch: batch[0].mT * 20 - 40},
    ),
    "natural logarithm, undone by a function": (
        lambda x: x * 0.1 * torch.tensor(10.0).log(),
        {"waveform": lambda batch: batch[0].exp(), "spectrogram": "power"},
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_spectrograms_are_found_and_read(
    name: str, decibels: Tensor, loader: Callable[..., Any], trainer: Callable[..., pl.Trainer]
) -> None:
    change, arguments = BATCHES[name]
    tables = []
    for make, own in ((lambda x: x, {}), (change, arguments)):
        callback = watch(**own)
        trainer(callback).validate(Looking(decibels), loader(make), verbose=False)
        assert callback.scores is not None
        tables.append(callback.scores.table)
    # Powers and logarithms in float32.
    torch.testing.assert_close(*(torch.tensor(table["score"].to_numpy()) for table in tables), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda x: x[:, :, 1:], {}, r"no tensor has the shape of the spectrograms, \(B, 40, frames\).*0: float32 \(6,"),
        (lambda x: x.mT, {}, r"no tensor has the shape of the spectrograms.*transposed"),
        (lambda x: x, {"waveform": 1}, r"waveform=1 gave int64 \(6,\): spectrograms are \(B, 40, frames\)"),
        (lambda x: x, {"spectrogram": "power"}, r"spectrogram='power': the batch holds values down to -80"),
    ],
)
def test_what_cannot_be_read_raises_before_the_first_training_step(
    change: Callable[[Tensor], Tensor],
    arguments: dict[str, Any],
    message: str,
    module: Any,
    loader: Callable[..., Any],
    trainer: Callable[..., pl.Trainer],
) -> None:
    fit = trainer(watch(**{**arguments, "on_error": "auto"}))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit.fit(module(SpectrogramCNN()), loader(change), loader(change))
    assert fit.global_step == 0


def test_features_that_need_audio_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"loudness, onset_rate cannot be .* only from audio; chroma needs the whole"):
        watch(features=["harmonic", "percussive", "chroma", "loudness", "onset_rate"])


def test_a_trained_network_is_dissected(loader: Callable[..., Any]) -> None:
    network = SpectrogramCNN()
    arguments = {
        "layers": ["split"], "features": ["harmonic", "percussive"], "metrics": ["pearson"], "frequency": AXIS,
        "spectrogram": "db", "map_clips": 24, "progress": False,
    }  # fmt: skip
    scores = dissect(network, loader(), RATE, forward=lambda batch: network(batch[0]), **arguments)
    assert planted(scores) == ["harmonic", "percussive"]
    with pytest.raises(ValueError, match="forward: how SpectrogramCNN takes spectrograms is not known"):
        dissect(network, loader(), RATE, **arguments)


def test_padding_changes_nothing(decibels: Tensor, trainer: Callable[..., pl.Trainer]) -> None:
    """Lengths are counted in frames; what lies behind them has no effect."""
    lengths = torch.arange(20, 20 + 24)
    inside = torch.arange(decibels.shape[-1]) < lengths[:, None, None, None]
    tables = []
    for garbage in (-80.0, 20.0):
        callback = watch(lengths=1)
        padded = TensorDataset(decibels.where(inside, garbage), lengths)
        trainer(callback).validate(Looking(decibels), DataLoader(padded, 6), verbose=False)
        assert callback.scores is not None
        tables.append(callback.scores.table)
    assert tables[0]["score"].notna().any()
    pd.testing.assert_frame_equal(*tables)
