"""Dissect a trained network on recordings, and save its scores.

Like this::

  lightning-dissect run vggish.pth --network VGGish --data FOLDER --out my_run
  lightning-dissect run last.ckpt --network CNNAT --set n_classes=10 n_embedding=128 --data FOLDER
  lightning-dissect run last.ckpt --model my_package.models:Tagger --sample-rate 16000 --data FOLDER
  lightning-dissect run last.ckpt --config config.yaml

One of these says what the checkpoint is of: --network, a network that comes with this package; --model, your own
LightningModule; --config, the file that LightningCLI saved beside the checkpoint, with class_path and init_args of the
model, of the data unless --data is given, and, if you like, of DissectCallback among the trainer's callbacks.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from ast import literal_eval
from pathlib import Path
from typing import Any

from lightning_dissect.cli.configuration import dissect_configured
from lightning_dissect.cli.found import say_found
from lightning_dissect.cli.models import load_model, load_network
from lightning_dissect.cli.options import add_q, count, length
from lightning_dissect.cli.terminal import say
from lightning_dissect.run.choice import DEFAULT_FEATURES, DEFAULT_METRICS
from lightning_dissect.scores import Scores


def add_arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="weights, or a Lightning checkpoint")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--network", metavar="NAME", help="a network of lightning_dissect.networks, such as VGGish")
    kind.add_argument("--model", metavar="MODULE:CLASS", help="a LightningModule that can be imported")
    kind.add_argument("--config", type=Path, metavar="YAML", help="as LightningCLI reads and saves it")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="recordings, at any depth below it")
    parser.add_argument(
        "--set", nargs="+", default=[], type=_setting, metavar="NAME=VALUE", help="arguments of --network"
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="run folder to make (default: dissect-CHECKPOINT)")
    parser.add_argument(
        "--layers", nargs="+", metavar="GLOB", help="submodules to dissect (default: those with parameters)"
    )
    parser.add_argument("--features", nargs="+", default=DEFAULT_FEATURES, metavar="NAME")
    parser.add_argument("--metrics", nargs="+", default=DEFAULT_METRICS, metavar="NAME")
    parser.add_argument("--sample-rate", type=count, metavar="HZ", help="of the network's input; needed with --model")
    parser.add_argument("--seconds", type=length, default=10.0, metavar="S", help="length of a clip (default: 10)")
    parser.add_argument("--batch-size", type=count, default=8, metavar="N", help="clips at a time (default: 8)")
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu, mps, … (default: the best there is)")
    add_q(parser)


def call(options: Namespace) -> int:
    """Dissect, save, and sum up."""
    if not options.checkpoint.is_file():
        raise FileNotFoundError(f"{options.checkpoint}: no such checkpoint.")
    out = options.out or Path(f"dissect-{options.checkpoint.stem}")
    _check_writable(out)
    scores = _dissect(options)
    path = scores.save(out / "dissect" / "epoch=0000-step=00000000.parquet")
    found = say_found(scores, options.q)
    say("", path, f"Next: lightning-dissect show {out}, or lightning-dissect report {out}")
    return 0 if found else 1


def _dissect(options: Namespace) -> Scores:
    if options.config is not None:
        return dissect_configured(options)
    if options.data is None:
        raise ValueError("--data FOLDER is needed: the recordings to dissect the network on.")
    if options.network is not None:
        return load_network(options.network, options.checkpoint, dict(options.set)).dissect(options)
    if options.sample_rate is None:
        raise ValueError("--sample-rate is needed with --model: the rate of the network's input, in Hz.")
    sys.path.append(os.getcwd())  # models lie beside where one works; what is installed comes first
    return load_model(options.model, options.checkpoint, options.sample_rate).dissect(options)


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _check_writable(folder: Path) -> None:
    """Fail before the work rather than after it, and make nothing yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise PermissionError(f"--out {folder}: {existing} is no folder that can be written to.")
