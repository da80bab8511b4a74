"""How often labels on rendered clips are right, and how often chance is called learned.

    python benchmarks/calibration_labels.py planted [--seeds 20]
    python benchmarks/calibration_labels.py learned [--seeds 20] [--networks CNN-AT VGGish ...]
    python benchmarks/calibration_labels.py power [--seeds 4]

`planted` makes units that follow one feature, with as much noise, among units that follow nothing. `learned` takes each
of some untrained copies of a network for the trained one, with others of them as its baseline; `power` compares the
demo's network with them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from classifier import InstrumentClassifier
from instruments import InstrumentData

from lightning_dissect.activations.layers import find_layers
from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.bank import FeatureBank, FeatureValues
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.levels import Extent, Levels, pool_activation, pool_feature
from lightning_dissect.networks import CNNAT, POOLS_3_S, VGGish, WaveformCNN
from lightning_dissect.networks.network import AudioNetwork
from lightning_dissect.networks.spectrogram import LogSpectrogram
from lightning_dissect.run.batch_features import BatchFeatures
from lightning_dissect.run.choice import CONTROLS, DEFAULT_FEATURES, DEFAULT_METRICS, find_metrics
from lightning_dissect.run.comparison import Comparison
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.scores import Scores

CLIPS, BATCH, MAP_CLIPS = 160, 16, 16
PAPER_1 = ("harmonic", "percussive", "chroma", "loudness", "onset_rate")
ASKED = {"all": (*DEFAULT_FEATURES, "centroid"), "defaults": DEFAULT_FEATURES, "paper 1's five": PAPER_1}
FOLLOWED = {
    "clip": ("rms_db", "loudness", "onset_rate", "harmonic_ratio", "centroid", "chroma[A]"),
    "map": ("harmonic", "percussive", "input"),
}
RANDOM = {"clip": 26, "map": 5}
"""Units that follow nothing."""


class Transformer(AudioNetwork):
    """Two layers of self-attention on a log-mel spectrogram, a frame a token."""

    sample_rate = 16_000
    frequency = FrequencyAxis("mel", 64)
    n_fft, hop_length = 512, 512
    layers = ("embed", "encoder.layers.0", "encoder.layers.1", "dense")

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(self.sample_rate, self.n_fft, self.hop_length, self.frequency)
        self.embed = nn.Linear(64, 64)
        self.place = nn.Parameter(0.02 * torch.randn(1_000, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        # Layers of an encoder begin as copies of each other.
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        for part in self.encoder.modules():
            if isinstance(part, nn.Linear):
                part.reset_parameters()
        self.dense = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.classifier = nn.Linear(64, n_classes)

    def _embed(self, waveform: Tensor) -> Tensor:
        frames = self.embed(self.spectrogram(waveform).mT / 40 + 1)
        x: Tensor = self.dense(self.encoder(frames + self.place[: frames.shape[1]]).mean(1))
        return x


NETWORKS: dict[str, tuple[Callable[[], AudioNetwork], float]] = {
    "CNN-AT": (lambda: CNNAT(10, POOLS_3_S, n_embedding=128), 3.0),
    "VGGish": (lambda: VGGish(10, shrink=8), 3.0),
    "1-D CNN": (lambda: WaveformCNN(10), 1.0),
    "transformer": (Transformer, 3.0),
}
"""How each network is made, and the seconds of the clips that it takes."""


class StoredBank(FeatureBank):
    """Features that are computed once for each batch, however many networks hear it."""

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> dict[str, FeatureValues]:
        """Compute the features, or return those that are known of the same tensor."""
        known = self.__dict__.setdefault("_stored", {})
        if waveform.data_ptr() not in known:
            known[waveform.data_ptr()] = super().forward(waveform, lengths)
        found: dict[str, FeatureValues] = known[waveform.data_ptr()]
        return found


@cache
def clips(sample_rate: int, seconds: float) -> Tensor:
    """The demo's validation clips in its order, (clips, samples)."""
    data = InstrumentData(sample_rate=sample_rate, seconds=seconds, n_train=8, n_validation=CLIPS)
    return torch.cat([waveform for waveform, _ in data.val_dataloader()])


def dissect_network(network: AudioNetwork, bank: FeatureBank, waveform: Tensor, epoch: int) -> pd.DataFrame:
    """Compare the network's layers with the default features and the controls."""
    layers = find_layers(network, network.layers)
    axes = {name: words for glob, words in network.axes.items() for name in find_layers(network, [glob])}
    network.eval()
    batches = waveform.split(BATCH)
    with (
        torch.no_grad(),
        Dissection(
            layers,
            bank,
            find_metrics(DEFAULT_METRICS),
            map_clips=MAP_CLIPS,
            batches=len(batches),
            axes=axes,
            controls=CONTROLS,
        ) as run,
    ):
        for batch in batches:
            run.begin(batch)
            network(batch)
            run.end()
    return run.scores(epoch=epoch).table


def untrained_copies(name: str, n: int) -> list[pd.DataFrame]:
    """The tables of so many untrained copies of a network; ``epoch`` is the copy's number."""
    make, seconds = NETWORKS[name]
    tables = []
    for seed in range(n):
        torch.manual_seed(seed)
        network = make()
        if not seed:
            waveform = clips(network.sample_rate, seconds)
            bank = StoredBank([*DEFAULT_FEATURES, *CONTROLS], network.analysis)
        tables.append(dissect_network(network, bank, waveform, seed))
    return tables


def trained_network(epochs: int = 4) -> AudioNetwork:
    """CNN-AT as `make demo` trains it."""
    pl.seed_everything(0, verbose=False)
    data = InstrumentData(n_train=480, n_validation=CLIPS)
    network = CNNAT(len(data.classes), POOLS_3_S, n_embedding=128)
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False, num_sanity_val_steps=0
    )
    trainer.fit(InstrumentClassifier(network), data)
    return network


def learned(names: Sequence[str], n: int) -> None:
    """Print which share of units is called learned in a copy that is none, and which share of copies has over 10 %."""
    print("\n| network | 1 copy | 2 copies | 4 copies |\n|---|---|---|---|")
    for name in names:
        tables = untrained_copies(name, n)
        cells = []
        for copies in (1, 2, 4):
            shares = []
            for place, table in enumerate(tables):
                others = [tables[(place + 1 + number) % n] for number in range(copies)]
                labels = Scores(table, baseline=Scores(pd.concat(others))).labels()
                shares.append((labels["learned"].fillna(False)).mean())
            found = pd.Series(shares)
            cells.append(f"{found.mean():.4f} / {(found > 0.1).mean():.2f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def power(n: int) -> None:
    """Print how many labels of the demo's network are learned, beside untrained copies."""
    network = trained_network()
    waveform = clips(network.sample_rate, 3.0)
    bank = StoredBank([*DEFAULT_FEATURES, *CONTROLS], network.analysis)
    scores = Scores(
        dissect_network(network, bank, waveform, 0), baseline=Scores(pd.concat(untrained_copies("CNN-AT", n)))
    )
    labels = scores.labels()
    named = labels["feature"].astype(str).str.replace(r"\[.*", "", regex=True).where(labels["feature"].notna(), "none")
    counts = labels.assign(feature=named, n=1, distinct=labels["kind"] == "distinct").fillna({"learned": False})
    print(counts.groupby(["layer", "feature"], observed=True)[["n", "distinct", "learned"]].sum().to_string())


def planted_levels(
    features: dict[str, Levels], rows: dict[str, tuple[str, ...]], whole: dict[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """Units at level clip and map that follow one feature each, with as much noise, and units that follow nothing."""
    g = torch.Generator().manual_seed(seed)
    clip = {
        row: levels.clip[:, place]
        for name, levels in features.items()
        if levels.clip is not None
        for place, row in enumerate(rows[name])
    }
    single = [(clip[row] - clip[row].mean()) / clip[row].std() for row in FOLLOWED["clip"]]
    single += [torch.zeros(CLIPS)] * RANDOM["clip"]
    maps = [whole[name] / whole[name].std((1, 2), keepdim=True) for name in FOLLOWED["map"]]
    maps += [torch.zeros_like(maps[0])] * RANDOM["map"]
    return {
        level: torch.stack([unit + torch.randn(unit.shape, generator=g) for unit in units], 1)
        for level, units in (("clip", single), ("map", maps))
    }


def planted(seeds: int) -> None:
    """Print how often the label is right, the truth is among label and rivals, and a distinct label is wrong."""
    analysis = Analysis(16_000, 512, 256, FrequencyAxis("mel", 64))
    bank = FeatureBank([*ASKED["all"], *CONTROLS], analysis)
    waveform = clips(16_000, 3.0)
    values = bank(waveform)
    extent = Extent(CLIPS, bank.frames(waveform.shape[1]), None, MAP_CLIPS)
    features = {
        name: pool_feature(found.values, found.level, found.rows, found.mask, extent) for name, found in values.items()
    }
    whole = {name: values[name].values for name in FOLLOWED["map"]}
    truth = [*FOLLOWED["clip"], *["nothing"] * RANDOM["clip"], *FOLLOWED["map"], *["nothing (map)"] * RANDOM["map"]]
    found = []
    for seed in range(seeds):
        units = planted_levels(features, bank.rows, whole, seed)
        for asked, names in ASKED.items():
            compared = {name: features[name] for name in dict.fromkeys([*names, *CONTROLS])}
            labels = planted_scores(units, compared, bank.rows, extent).labels()
            found.append(labels.assign(truth=truth, asked=asked))
    labels = pd.concat(found)
    labels["label"] = labels["feature"].astype(object).fillna("none")
    labels["right"] = labels["label"] == labels["truth"]
    rivals = labels["rivals"].map(lambda names: names if isinstance(names, tuple) else ())
    labels["among"] = [
        right or true in names for right, true, names in zip(labels["right"], labels["truth"], rivals, strict=True)
    ]
    labels["wrong"] = (labels["kind"] == "distinct") & ~labels["right"]
    print("\n| asked for | follows | right | right or a rival | wrong distinct | kinds |\n|---|---|---|---|---|---|")
    for group, part in labels.groupby(["asked", "truth"], sort=False):
        shares = " | ".join(f"{part[column].mean():.2f}" for column in ("right", "among", "wrong"))
        kinds = ", ".join(f"{kind} {count}" for kind, count in part["kind"].fillna("none").value_counts().items())
        print(f"| {' | '.join(map(str, group))} | {shares} | {kinds} |")


def planted_scores(
    units: dict[str, Tensor], features: dict[str, Levels], rows: dict[str, tuple[str, ...]], extent: Extent
) -> Scores:
    """Compare the planted units with features, in batches; maps of the first batch only."""
    metrics = find_metrics(DEFAULT_METRICS)
    comparison = Comparison(metrics, ["dense", "conv"], {name: rows[name] for name in features}, CONTROLS)
    for start in range(0, CLIPS, BATCH):
        part = slice(start, start + BATCH)
        own = Extent(BATCH, extent.frames, None, 0 if start else MAP_CLIPS)

        def cut(levels: Levels, part: slice = part, first: bool = not start) -> Levels:
            single, frame = (None if values is None else values[part] for values in levels[:2])
            return Levels(single, frame, levels.map if first else None)

        batch = BatchFeatures(own, {name: cut(levels) for name, levels in features.items()})
        comparison.update("dense", pool_activation(units["clip"][part], ("batch", "unit"), own), batch)
        comparison.update(
            "conv", pool_activation(units["map"][part], ("batch", "unit", "frequency", "time"), own), batch
        )
        comparison.settle()
    return Scores.from_blocks(comparison.blocks({"epoch": 0, "step": 0}))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["planted", "learned", "power"])
    parser.add_argument("--seeds", type=int, default=20, help="or untrained copies")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    torch.set_grad_enabled(arguments.part == "power")
    if arguments.part == "planted":
        planted(arguments.seeds)
    elif arguments.part == "learned":
        learned(arguments.networks, arguments.seeds)
    else:
        power(arguments.seeds)


if __name__ == "__main__":
    main()
