"""Slizovskaia, Gómez and Haro 2019 on rendered instruments: trains the networks and answers the paper's three claims.

    python examples/paper1_slizovskaia.py

writes figures, the tables of scores and `summary.md` into `--folder`. Each claim stands there beside what was found,
with the score that chance gives, q-values, and an untrained network for comparison.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from classifier import InstrumentClassifier
from instruments import INSTRUMENTS, InstrumentData
from matplotlib.figure import Figure

from lightning_dissect import Scores
from lightning_dissect.activations.layers import find_layers
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.metrics import SIFTSimilarity
from lightning_dissect.networks import CNNAT, POOLS_3_S, AudioNetwork, MMCNNSingle, VGGish
from lightning_dissect.report import best_matches
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.dissection import Dissection

FEATURES = ("harmonic", "percussive", "chroma", "loudness", "onset_rate")
MAP_FEATURES = FEATURES[:3]
METRICS = find_metrics(["pearson", "euclidean", SIFTSimilarity()])
N_CLASSES = len(INSTRUMENTS)


@dataclass
class Study:
    """One network of the paper.

    Attributes:
        make: builds it.
        convolutions: the layers of its first, second, … convolution.
        embedding: its layers of single activations.
        learning_rate: to train it with.
        epochs: to train it for.
        accuracy: on held-out clips, in [0, 1].
        tables: scores `"trained"` and `"untrained"`.
    """

    make: Callable[[], AudioNetwork]
    convolutions: dict[str, tuple[str, ...]]
    embedding: tuple[str, ...] = ()
    learning_rate: float = 2e-3
    epochs: int = 8
    accuracy: float = float("nan")
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def layers(self, depth: int | None = None) -> list[str]:
        """The layers of the first so many convolutions, or of all."""
        return [layer for group in list(self.convolutions.values())[:depth] for layer in group]


def studies(checkpoint: Path | None) -> dict[str, Study]:
    """The paper's networks by name; VGGish with published weights, or an eighth as wide and trained here."""

    def vggish() -> AudioNetwork:
        if checkpoint is None:
            return VGGish(N_CLASSES, shrink=8)
        network = VGGish.from_checkpoint(checkpoint, N_CLASSES)
        network.features.requires_grad_(False)
        network.embeddings.requires_grad_(False)
        return network

    return {
        "CNN-AT": Study(
            lambda: CNNAT(N_CLASSES, POOLS_3_S, n_embedding=128),
            {"first": ("conv1",), "second": ("conv2",), "third": ("conv3",)},
            ("embedding",),
        ),
        "MM-CNN": Study(lambda: MMCNNSingle(N_CLASSES), {"first": MMCNNSingle.layers}),
        "VGGish": Study(
            vggish,
            {"first": ("features.1",), "second": ("features.4",), "third": ("features.7",), "fourth": ("features.9",)},
            ("embeddings.1", "embeddings.3", "embeddings.5"),
            learning_rate=1e-3,
            epochs=12,
        ),
    }


@torch.no_grad()
def dissect_network(network: AudioNetwork, study: Study, data: InstrumentData, map_clips: int) -> Dissection:
    """Compare the network's layers with the paper's features, over the validation clips."""
    layers = find_layers(network, [*study.layers(), *study.embedding])
    axes = {name: words for glob, words in network.axes.items() for name in find_layers(network, [glob])}
    bank = FeatureBank(FEATURES, network.analysis)
    loader = data.val_dataloader()
    network.eval()
    with Dissection(layers, bank, METRICS, map_clips=map_clips, batches=len(loader), axes=axes) as run:
        for waveform, _ in loader:
            run.begin(waveform)
            network(waveform)
            run.end()
    network.train()  # a Trainer takes the mode as it finds it
    return run


def carry_out(name: str, study: Study, folder: Path, epochs: int | None, limit: int, map_clips: int) -> None:
    """Dissect the untrained network, train it, dissect it again, and write its tables and figures."""
    pl.seed_everything(0, verbose=False)
    network = study.make()
    data = InstrumentData(sample_rate=network.sample_rate, n_train=limit, n_validation=limit // 3)
    study.tables["untrained"] = dissect_network(network, study, data, map_clips).scores().table
    trainer = pl.Trainer(
        max_epochs=epochs or study.epochs, logger=False, enable_checkpointing=False, num_sanity_val_steps=0
    )
    trainer.fit(InstrumentClassifier(network, study.learning_rate), data)
    study.accuracy = float(trainer.callback_metrics["validation_accuracy"])
    run = dissect_network(network, study, data, map_clips)
    study.tables["trained"] = run.scores().table
    for state, table in study.tables.items():
        Scores(table).save(folder / f"{name}-{state}.parquet")
    histograms(study).savefig(folder / f"{name}-histograms.png")
    for layer, figure in best_matches(study.tables["trained"], run.drawn, METRICS).items():
        if layer in study.layers(2)[:2]:
            figure.savefig(folder / f"{name}-matches-{layer}.png")


def histograms(study: Study) -> Figure:
    """Draw the SIFT similarity over the maps of the first two convolutions, as the paper does, and chance."""
    layers = study.layers(2)[:2]
    figure = Figure(figsize=(11, 3 * len(layers)), dpi=100, layout="constrained")
    panels = figure.subplots(len(layers), len(MAP_FEATURES), squeeze=False, sharex=True)
    all_rows = pd.concat(study.tables.values())
    highest = all_rows.loc[(all_rows["metric"] == "sift") & all_rows["layer"].isin(layers), "score"].max()
    highest = highest if highest > 0 else 1.0  # too few map clips for a score, or no match at all
    for row, layer in zip(panels, layers, strict=True):
        for panel, feature in zip(row, MAP_FEATURES, strict=True):
            for state, table in study.tables.items():
                scores = select(table, layer, feature, "sift")["score"].dropna()
                panel.hist(scores, bins=24, range=(0, highest), alpha=0.6, label=state)
            null = select(study.tables["trained"], layer, feature, "sift")["null"].mean()
            panel.axvline(null, color="black", linestyle=":", label="chance, trained")
            panel.set(title=f"{layer}: {feature}", xlabel="SIFT similarity", ylabel="maps")
    panels[0][0].legend()
    return figure


def select(table: pd.DataFrame, layer: str, feature: str, metric: str) -> pd.DataFrame:
    """Rows of one layer, feature and metric."""
    return table[(table["layer"] == layer) & (table["feature"] == feature) & (table["metric"] == metric)]


def map_rows(study: Study, layers: list[str], features: tuple[str, ...]) -> list[str]:
    """One line of a Markdown table for each layer and feature: how many maps resemble it, trained and untrained."""
    lines = []
    for layer in layers:
        for feature in features:
            cells = [layer, feature]
            for table in (study.tables["trained"], study.tables["untrained"]):
                rows = select(table, layer, feature, "sift")
                like = int(((rows["q_value"] < 0.05) & (rows["effect"] > 0)).sum())
                cells += [f"{rows['score'].mean():.3f}", f"{rows['null'].mean():.3f}", f"{like} of {len(rows)}"]
                cells.append(f"{rows['q_value'].min():.1e}")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def best_unit(table: pd.DataFrame, layers: Sequence[str], feature: str, metric: str) -> pd.Series | None:
    """The row of the unit of these layers that follows the feature with the best support, clip by clip."""
    rows = pd.concat([select(table, layer, feature, metric) for layer in layers])
    rows = rows[rows["level"] == "clip"].dropna(subset="p_value").sort_values("p_value")
    return rows.iloc[0] if len(rows) else None


def unit_rows(study: Study) -> list[str]:
    """One line of a Markdown table for each embedding layer, feature and metric: its best supported unit."""
    lines = []
    for layer, feature, metric in product(study.embedding, ("onset_rate", "loudness"), ("pearson", "euclidean")):
        cells = [layer, feature, metric]
        for state in ("trained", "untrained"):
            best = best_unit(study.tables[state], [layer], feature, metric)
            if best is None:
                cells += ["none defined", "", "", ""]
            else:
                cells += [f"#{best['unit']}", f"{best['score']:.2f}", f"{best['null']:.2f}", f"{best['q_value']:.1e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def share(table: pd.DataFrame, layers: tuple[str, ...], features: tuple[str, ...]) -> str:
    """How many of the layers' maps resemble one of the features, and the score beside its chance."""
    rows = pd.concat([select(table, layer, feature, "sift") for layer in layers for feature in features])
    like = rows[(rows["q_value"] < 0.05) & (rows["effect"] > 0)]
    maps, resembling = (side.groupby(["layer", "unit"], observed=True).ngroups for side in (rows, like))
    part = f"{resembling / max(maps, 1):.0%}"
    return f"{resembling} of {maps} ({part}; mean score {rows['score'].mean():.3f}, chance {rows['null'].mean():.3f})"


def map_answer(study: Study, depth: int | None, features: tuple[str, ...]) -> list[str]:
    """For each convolution, how many maps resemble one of the features, after and before training."""
    return [
        f"- {ordinal} convolution, maps that resemble {' or '.join(features)}: "
        f"{share(study.tables['trained'], layers, features)}; "
        f"untrained: {share(study.tables['untrained'], layers, features)}"
        for ordinal, layers in list(study.convolutions.items())[:depth]
    ]


def unit_answer(study: Study) -> list[str]:
    """For each feature of the claim, the unit that follows it best, after and before training."""
    lines = []
    for feature in ("onset_rate", "loudness"):
        found = []
        for state in ("trained", "untrained"):
            best = best_unit(study.tables[state], study.embedding, feature, "pearson")
            unit = "none" if best is None else f"{best['layer']} #{best['unit']}, r = {best['score']:.2f}"
            found.append(
                f"{state}: {unit}" if best is None else f"{state}: {unit} (chance 0, q = {best['q_value']:.1e})"
            )
        lines.append(f"- {feature}, best unit {'; '.join(found)}")
    return lines


MAP_HEADER = [
    "| layer | feature | score | chance | q < 0.05 | least q | untrained: score | chance | q < 0.05 | least q |",
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
]
UNIT_HEADER = [
    "| layer | feature | metric | unit | score | chance | q | untrained: unit | score | chance | q |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
]


def n_clips(results: dict[str, Study], metric: str) -> int:
    """The most clips that a score of the metric rests on."""
    tables = (study.tables["trained"] for study in results.values())
    return max(int(table.loc[table["metric"] == metric, "n_clips"].max()) for table in tables)


def summary(results: dict[str, Study]) -> str:
    """Write the paper's claims beside what was found, as Markdown."""
    lines = [
        "# Slizovskaia, Gómez and Haro 2019 on rendered instruments",
        "",
        "Scores of maps are means over a layer; “q < 0.05” counts its maps that resemble the feature. “Chance” is the "
        "similarity with another clip's feature. q-values are over all units × features of a network. "
        f"Single units rest on {n_clips(results, 'pearson')} clips, maps on {n_clips(results, 'sift')}.",
        "",
        "| network | accuracy on held-out pitches | guessing |",
        "|---|---:|---:|",
        *(f"| {name} | {study.accuracy:.1%} | {1 / N_CLASSES:.1%} |" for name, study in results.items()),
    ]
    claims = (
        (
            "Maps of the first convolution resemble the harmonic and percussive parts",
            "VGGish's first convolution has many such maps, the second few; CNN-AT's second layer is inconsistent.",
            MAP_HEADER,
            lambda study: map_answer(study, 2, ("harmonic", "percussive")),
            lambda study: map_rows(study, study.layers(2), ("harmonic", "percussive")),
        ),
        (
            "Deep maps resemble the chromagram",
            "Similarity with chroma grows with depth.",
            MAP_HEADER,
            lambda study: map_answer(study, None, ("chroma",)),
            lambda study: map_rows(study, study.layers(), ("chroma",)),
        ),
        (
            "Single units follow onset rate and loudness",
            "VGGish's first dense layer has a unit with r = 0.76 to loudness; CNN-AT has one that follows onset rate.",
            UNIT_HEADER,
            unit_answer,
            unit_rows,
        ),
    )
    for title, claim, header, answer, rows in claims:
        lines += ["", f"## {title}", "", f"The paper: {claim}"]
        for name, study in results.items():
            found = rows(study)
            if found:
                lines += ["", f"**{name}**", "", *answer(study), "", *header, *found]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the arguments, carry out the studies and write the summary."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("lightning_logs/paper1"), help="takes figures, tables and summary.md"
    )
    parser.add_argument("--vggish", type=Path, help="PyTorch checkpoint of VGGish; default: train a small one")
    parser.add_argument("--epochs", type=int, help="of each network; default: 8, VGGish 12")
    parser.add_argument("--limit", type=int, default=480, help="clips to train on; a third as many to validate on")
    parser.add_argument(
        "--map-clips", type=int, default=64, help="validation clips whose maps are compared, at least 4"
    )
    options = parser.parse_args()

    options.folder.mkdir(parents=True, exist_ok=True)
    results = studies(options.vggish)
    for name, study in results.items():
        carry_out(name, study, options.folder, options.epochs, options.limit, options.map_clips)
    (options.folder / "summary.md").write_text(summary(results), encoding="utf-8")
    print(f"{options.folder / 'summary.md'}")


if __name__ == "__main__":
    main()
