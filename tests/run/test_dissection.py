"""Planted neurons: units that compute a feature are found, random units are not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.scores import Scores

RATE = 16_000
FEATURES = ["harmonic", "percussive", "chroma", "loudness", "onset_rate", "onset_strength", "rms"]
PLANTED = {
    ("maps", 0): "harmonic",
    ("maps", 1): "percussive",
    ("frames", 0): "onset_strength",
    ("embedding", 0): "rms",
    ("embedding", 1): "chroma[E]",
}


class Planted(nn.Module):
    """65 units: one harmonic and one percussive mel spectrogram, onset strength, RMS loudness, a chroma bin; noise."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.maps, self.frames, self.embedding = nn.Identity(), nn.Identity(), nn.Identity()
        self.bank = FeatureBank(FEATURES, RATE, frequency=FrequencyAxis("mel", 48))
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, waveform: Tensor) -> Tensor:
        values = {name: feature.values for name, feature in self.bank(waveform).items()}
        planted = torch.stack([values["harmonic"], values["percussive"]], 1)
        self.maps(torch.cat([planted, self.noise(len(planted), 20, *planted.shape[2:])], 1))
        self.frames(torch.cat([values["onset_strength"], self.noise(len(waveform), 20, planted.shape[-1])], 1))
        planted = torch.cat([values["rms"].mean(-1), values["chroma"].mean(-1)[:, 4:5]], 1)
        return self.embedding(torch.cat([planted, self.noise(len(waveform), 20)], 1))

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def run_planted(waveform: Tensor, seed: int) -> Scores:
    network = Planted(seed)
    layers = {name: layer for name, layer in network.named_children() if name != "bank"}
    bank = FeatureBank(FEATURES, RATE, frequency=FrequencyAxis("mel", 48))
    metrics = find_metrics(["pearson", "euclidean", "sift"])
    with Dissection(layers, bank, metrics, map_clips=16, batches=len(waveform) // 16) as run:
        for batch in waveform.split(16):
            run.begin(batch)
            network(batch)
            run.end()
    return run.scores()


def check_planted(waveform: Tensor, seeds: range) -> None:
    false_labels = 0
    for seed in seeds:
        labels = run_planted(waveform, seed).labels().set_index(["layer", "unit"])
        assert {unit: labels.loc[unit, "feature"] for unit in PLANTED} == PLANTED
        false_labels += int(labels.drop(index=list(PLANTED))["feature"].notna().sum())
    assert false_labels <= 0.05 * 60 * len(seeds)


def test_planted_neurons_are_found_among_random_ones(clips: Callable[..., Tensor]) -> None:
    check_planted(clips(64, sample_rate=RATE), range(1))


@pytest.mark.slow
def test_planted_neurons_are_found_over_twenty_seeds(clips: Callable[..., Tensor]) -> None:
    check_planted(clips(64, sample_rate=RATE, seed=1), range(1, 21))


def test_metrics_of_a_whole_layer_have_no_unit(clips: Callable[..., Tensor]) -> None:
    network = Planted(0)
    bank = FeatureBank(["rms", "chroma"], RATE)
    with Dissection({"embedding": network.embedding}, bank, find_metrics(["pearson", "cka", "decodability"])) as run:
        for batch in clips(32, sample_rate=RATE).split(16):
            run.begin(batch)
            network(batch)
            run.end()
    table = run.scores().table
    whole = table[table["metric"] != "pearson"]
    assert whole["unit"].isna().all()
    assert table[table["metric"] == "cka"]["feature"].tolist() == ["rms", "chroma"]
    assert len(table[table["metric"] == "decodability"]) == 1 + 12
    assert len(run.scores().labels()) == 22
