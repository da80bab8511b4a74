"""Dissect the pretrained CREPE of `torchcrepe`: do its output bins follow the pitch class that they stand for?

    python examples/dissect_crepe.py

renders single sustained notes, compares the units of every layer with features of the same audio, does so again with
an untrained copy, and writes `summary.md` and the tables of scores into `--folder`. The truth is known here: output
bin k stands for one pitch, so that what a label says can be checked.
"""

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torchcrepe
from instruments import INSTRUMENTS, render_phrase
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import Scores, dissect

SAMPLE_RATE = 16_000
HOP_LENGTH = 320
SECONDS = 0.8
KEYS = range(41, 85)
SUSTAINED = ("organ", "violin", "trumpet", "clarinet", "flute")
FEATURES = ("chroma", "centroid", "loudness", "onset_rate", "harmonic_ratio")
LAYERS = ("crepe.conv?_BN", "crepe.classifier", "crepe")
"""Each convolution after its ReLU, since before it a filter's mean over time is near zero; logits; probabilities."""

ACTIVE = 0.1
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


class PitchNetwork(nn.Module):
    """The small CREPE from waveforms to the probabilities of 360 bins of pitch, frame by frame.

    Args:
        pretrained: or with random weights.

    Attributes:
        frames: that it has seen.
        active: in how many of them each bin had a probability of at least `ACTIVE`.
    """

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        self.crepe = torchcrepe.Crepe("tiny")
        self.frames = 0
        self.active = torch.zeros(torchcrepe.PITCH_BINS)
        if pretrained:
            weights = Path(torchcrepe.__file__).parent / "assets" / "tiny.pth"
            self.crepe.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

    def forward(self, waveform: Tensor) -> Tensor:
        """Probabilities [shape=(B * frames, 360)], the frames of the first clip first."""
        frames = next(torchcrepe.preprocess(waveform, SAMPLE_RATE, HOP_LENGTH, device=waveform.device, pad=False))
        probability: Tensor = self.crepe(frames)
        self.frames += len(probability)
        self.active += (probability >= ACTIVE).sum(0).cpu()
        return probability


def render_notes(seed: int = 0) -> Tensor:
    """Render every key by every sustained instrument, at random velocities and without the silence before the onset.

    Returns:
        Waveforms in a random order, so that neighbours in a batch differ [shape=(notes, samples)].
    """
    rng = np.random.default_rng(seed)
    instruments = [instrument for instrument in INSTRUMENTS if instrument.name in SUSTAINED]
    notes = []
    for key in KEYS:
        for instrument in instruments:
            # The key is held for 85 % of this, until after the clip's end.
            note = render_phrase(instrument, [key], [int(rng.integers(50, 128))], SAMPLE_RATE, SECONDS + 0.6)
            onset = int(np.argmax(np.abs(note) > 0.1 * np.abs(note).max()))
            notes.append(note[onset : onset + round(SECONDS * SAMPLE_RATE)])
    return torch.from_numpy(np.stack(notes)[rng.permutation(len(notes))])


def dissect_network(network: PitchNetwork, notes: Tensor) -> Scores:
    """Compare every layer with the features; that CREPE puts frames on the batch axis is seen from their number."""
    loader = DataLoader(TensorDataset(notes), batch_size=16)
    return dissect(network, loader, SAMPLE_RATE, layers=LAYERS, features=FEATURES, metrics=["pearson"], map_clips=0)


def bin_keys() -> npt.NDArray[np.float64]:
    """The pitch of each output bin as a MIDI key, 69 for 440 Hz [shape=(360,)]."""
    cents = torchcrepe.CENTS_PER_BIN * np.arange(torchcrepe.PITCH_BINS) + 1997.3794084376191  # above 10 Hz
    return np.asarray(69 + (cents - 1200 * np.log2(44)) / 100)


def judge_bins(scores: Scores, layer: str = "crepe") -> pd.DataFrame:
    """Hold the label of each output bin against the pitch that it stands for.

    Args:
        scores: of a network.
        layer: `"crepe"`, probabilities, or `"crepe.classifier"`, what they are the sigmoid of.

    Returns:
        One row a bin: its `key`, whether it is `in_range` of the notes and `near` a semitone (within 20 cents), whether
        it is `labelled`, whether its `label` is its own pitch class, and whether the `best` of all twelve is.
    """
    key = bin_keys()
    own = pd.Series([f"chroma[{PITCH_CLASSES[round(k) % 12]}]" for k in key], name="own")
    labels = scores.labels().query("layer == @layer").set_index("unit")["feature"].astype(object)
    table = scores.table.query("layer == @layer and level == 'clip'").astype({"feature": str})
    chroma = table[table["feature"].str.startswith("chroma")].pivot_table(
        index="unit", columns="feature", values="score", observed=True
    )
    return pd.DataFrame(
        {
            "key": key,
            "in_range": (key > KEYS[0] - 0.5) & (key < KEYS[-1] + 0.5),
            "near": np.abs(key - key.round()) <= 0.2,
            "labelled": labels.reindex(own.index).notna(),
            "label": labels.reindex(own.index) == own,
            "best": chroma.idxmax(axis=1).reindex(own.index) == own,
        }
    )


def follows(scores: Scores) -> dict[str, str]:
    """Which feature sets the units of each layer apart, in words, the rows of a feature counted together."""
    labels = scores.labels()
    layer, feature = labels["layer"].astype(str), labels["feature"].astype(object)
    other = labels["kind"].map({"shared": "one of several", "trivial": "level"}).fillna("nothing")
    family = feature.str.partition("[")[0].where(labels["kind"] == "distinct", other)
    return {
        name: ", ".join(f"{what} {count}" for what, count in family[layer == name].value_counts().items())
        for name in sorted(layer.unique(), key=lambda name: name == "crepe")  # the network itself comes last
    }


def layer_rows(trained: Scores, untrained: Scores) -> list[str]:
    """One line of a Markdown table for each layer: its units and what they follow."""
    units = trained.labels()["layer"].astype(str).value_counts()
    before = follows(untrained)
    return [f"| `{layer}` | {units[layer]} | {after} | {before[layer]} |" for layer, after in follows(trained).items()]


def bin_rows(trained: Scores, untrained: Scores) -> list[str]:
    """One line of a Markdown table for each kind of bins: how many have the label that they should have."""
    lines = []
    for layer, of in (("crepe", "probability"), ("crepe.classifier", "logit")):
        after, before = judge_bins(trained, layer), judge_bins(untrained, layer)
        for which, rows in (
            ("in the range of the notes", after["in_range"]),
            ("of these, within 20 cents of a semitone", after["in_range"] & after["near"]),
            ("outside the range", ~after["in_range"]),
        ):
            cells = [
                f"{state.loc[rows, column].mean():.0%}" for state in (after, before) for column in ("label", "best")
            ]
            labelled = int(after.loc[rows, "labelled"].sum())
            lines.append(f"| {of} | {which} | {rows.sum()} | {labelled} | {' | '.join(cells)} |")
    return lines


def unlabelled_line(trained: Scores, network: PitchNetwork) -> str:
    """Say which bins have no label, and how often they and the others were active."""
    bins = judge_bins(trained)
    active = pd.Series(network.active.numpy() / network.frames)
    without, within = active[~bins["labelled"]], active[bins["in_range"]]
    if without.empty:
        return "All bins have a label."
    keys = bins.loc[without.index, "key"]
    return (
        f"{len(without)} bins have no label, of MIDI keys {keys.min():.1f} to {keys.max():.1f}. Their probability is "
        f"{ACTIVE} or more in {without.min():.2%} to {without.max():.2%} of the frames; that of the bins in the range "
        f"of the notes in {within.min():.2%} to {within.max():.2%}."
    )


def summary(trained: Scores, untrained: Scores, network: PitchNetwork, notes: int) -> str:
    """Write what was found as Markdown."""
    lines = [
        "# CREPE on single notes",
        "",
        f"{notes} notes of {SECONDS:g} s: MIDI keys {KEYS[0]} to {KEYS[-1]} by {', '.join(SUSTAINED)}.",
        "",
        "| layer | units | what sets them apart | untrained |",
        "|---|---:|---|---|",
        *layer_rows(trained, untrained),
        "",
        "Output bins whose label is their own pitch class, and whose best of the twelve is, labelled or not. Chance "
        f"gives 1 of 12, {1 / 12:.0%}.",
        "",
        "| output | bins | number | labelled | label is its own | best is its own | untrained: label | best |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *bin_rows(trained, untrained),
        "",
        unlabelled_line(trained, network),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the arguments, dissect both networks, and print and write the summary."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("lightning_logs/crepe"), help="takes the tables of scores and summary.md"
    )
    options = parser.parse_args()

    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    notes = render_notes()
    trained = PitchNetwork()
    untrained = PitchNetwork(pretrained=False)
    scores = {"trained": dissect_network(trained, notes), "untrained": dissect_network(untrained, notes)}
    for state, found in scores.items():
        found.save(options.folder / f"{state}.parquet")
    text = summary(scores["trained"], scores["untrained"], trained, len(notes))
    (options.folder / "summary.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
