"""Print the audio features of a recording.

Like this::

  lightning-dissect features song.flac
  lightning-dissect features song.flac --features loudness chroma tempo
  lightning-dissect features song.flac --features chroma --plot chroma.png

Features that change in time are summed up by their mean, least and largest frame; of a spectrogram, by all its values.
The middle of a long recording is taken.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lightning_dissect.cli.options import add_csv, count, length
from lightning_dissect.cli.recordings import read_clip
from lightning_dissect.cli.terminal import print_table
from lightning_dissect.features import FeatureBank, FeatureValues, feature_names

DEFAULT = [name for name in feature_names() if not name.endswith("_nnaudio")]


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="wav, flac, mp3, ogg, opus or aiff")
    parser.add_argument(
        "--features", nargs="+", metavar="NAME", default=DEFAULT, help="default: all, but for nnAudio's"
    )
    parser.add_argument("--sample-rate", type=count, default=22_050, metavar="HZ", help="analyse at this rate")
    parser.add_argument("--seconds", type=length, default=30.0, metavar="S", help="at most so much of it (default: 30)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the first feature beside the spectrogram")
    add_csv(parser)


def call(options: Namespace) -> int:
    """Print the table."""
    if not options.file.is_file():
        raise FileNotFoundError(f"{options.file}: no such file.")
    bank = FeatureBank(options.features, options.sample_rate)
    waveform = torch.from_numpy(read_clip(options.file, options.sample_rate, options.seconds))
    with torch.no_grad():
        found = bank(waveform[None])
    print_table(pd.concat([_rows(name, values) for name, values in found.items()], ignore_index=True), options.csv)
    if options.plot is not None:
        _draw(options.features[0], waveform, options.sample_rate).savefig(options.plot)
    return 0


def _draw(name: str, waveform: Tensor, sample_rate: int) -> Figure:
    """Draw a feature over seconds, below the spectrogram: maps as images, the rest as lines."""
    bank = FeatureBank(list(dict.fromkeys(["input", name])), sample_rate)
    figure = Figure(figsize=(8, 5), layout="constrained")
    panels = figure.subplots(len(bank.names), sharex=True, squeeze=False)[:, 0]
    hop = bank.analysis.hop_length / sample_rate
    for axes, (drawn, values) in zip(panels, bank(waveform[None]).items(), strict=True):
        rows = values.values[0].numpy()
        axes.set(title=drawn, xlim=(-hop / 2, len(waveform) / sample_rate))
        if values.level == "map":
            extent = (-hop / 2, (rows.shape[1] - 0.5) * hop, -0.5, len(rows) - 0.5)
            axes.imshow(rows, origin="lower", aspect="auto", interpolation="nearest", extent=extent)
            axes.set_yticks(range(len(values.rows)), values.rows)
        elif values.level == "frame":
            axes.plot(np.arange(rows.shape[1]) * hop, rows.T)
        else:
            axes.hlines(rows, *axes.get_xlim())
    panels[-1].set_xlabel("s")
    return figure


def _rows(name: str, values: FeatureValues) -> pd.DataFrame:
    numbers = values.values[0].double()
    names = values.rows or (f"{name} ({len(numbers)} bins)",)
    numbers = numbers.reshape(len(names), -1)
    return pd.DataFrame(
        {
            "feature": names,
            "level": values.level,
            "mean": numbers.mean(dim=1),
            "least": numbers.amin(dim=1),
            "largest": numbers.amax(dim=1),
        }
    )
