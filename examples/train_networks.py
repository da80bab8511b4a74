"""Train the papers' networks on rendered instruments and print what each reaches on held-out pitches.

python examples/train_networks.py               # all of them
python examples/train_networks.py YAMNet ChoiCNN
"""

import logging
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytorch_lightning as pl
from classifier import InstrumentClassifier
from instruments import INSTRUMENTS, InstrumentData

from lightning_dissect import networks
from lightning_dissect.networks import POOLS_3_S, AudioNetwork


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        make: builds it for a number of classes.
        seconds: length of the clips.
        epochs: passes over the clips.
        learning_rate: the highest of the run.
    """

    make: Callable[..., AudioNetwork]
    seconds: float = 3.0
    epochs: int = 6
    learning_rate: float = 2e-3


RECIPES = {
    "CNNAT": Recipe(partial(networks.CNNAT, pools=POOLS_3_S, n_embedding=128)),
    "VGGish": Recipe(partial(networks.VGGish, shrink=8), epochs=12, learning_rate=1e-3),
    "MMCNNSingle": Recipe(networks.MMCNNSingle, epochs=8),
    "MMCNNMulti": Recipe(networks.MMCNNMulti, seconds=1.0, epochs=4),
    "ChoiCNN": Recipe(networks.ChoiCNN, seconds=4.0),
    "YanchenkoRegular": Recipe(networks.YanchenkoRegular, seconds=4.0),
    "YanchenkoDeformable": Recipe(networks.YanchenkoDeformable, seconds=4.0),
    "YanchenkoDilated": Recipe(networks.YanchenkoDilated, seconds=4.0),
    "YanchenkoFrequency": Recipe(networks.YanchenkoFrequency, seconds=4.0),
    "YanchenkoTime": Recipe(networks.YanchenkoTime, seconds=4.0),
    "YanchenkoDense": Recipe(networks.YanchenkoDense, seconds=4.0),
    "WaveformCNN": Recipe(networks.WaveformCNN, seconds=1.0, epochs=12),
    "YAMNet": Recipe(networks.YAMNet, epochs=12),
}


def train(recipe: Recipe, limit: int) -> tuple[AudioNetwork, float]:
    """Train a network.

    Args:
        recipe: how.
        limit: clips to train on; a third as many are held out.

    Returns:
        The network, and its accuracy on clips at held-out pitches, in [0, 1].
    """
    pl.seed_everything(0, verbose=False)
    network = recipe.make(n_classes=len(INSTRUMENTS))
    data = InstrumentData(None, network.sample_rate, recipe.seconds, n_train=limit, n_validation=limit // 3)
    trainer = pl.Trainer(
        max_epochs=recipe.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(InstrumentClassifier(network, recipe.learning_rate), data)
    return network, float(trainer.callback_metrics["validation_accuracy"])


def main() -> None:
    """Parse the arguments, train, and print a Markdown table."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(RECIPES)}; default: all")
    parser.add_argument("--limit", type=int, default=480, help="clips to train on; a third as many are held out")
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in RECIPES]
    if unknown:
        parser.error(f"{', '.join(unknown)}: unknown; choose from {', '.join(RECIPES)}")

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    lines = ["| network | clips of | epochs | weights | accuracy |", "|---|---:|---:|---:|---:|"]
    for name in options.networks or RECIPES:
        recipe = RECIPES[name]
        network, accuracy = train(recipe, options.limit)
        weights = f"{network.n_parameters:,}".replace(",", " ")
        lines.append(f"| `{name}` | {recipe.seconds:g} s | {recipe.epochs} | {weights} | {accuracy:.0%} |")
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    main()
