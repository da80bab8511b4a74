"""Train an instrument classifier and see, epoch by epoch, which of its units follow which audio feature.

    python examples/train_instruments.py                  # rendered General MIDI instruments
    python examples/train_instruments.py --audio FOLDER   # your own recordings, one folder a class

An ordinary Lightning script: all that `lightning_dissect` adds to it is the callback.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

import pytorch_lightning as pl
from classifier import InstrumentClassifier
from instruments import InstrumentData
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_dissect import DissectCallback, Scores
from lightning_dissect.networks import CNNAT, POOLS_3_S
from lightning_dissect.report.html import write_report
from lightning_dissect.scores import explained_variance, headline


def best_units(scores: Scores) -> str:
    """Write a table: for each layer and feature, the unit that the feature sets apart on the best support."""
    labels = scores.labels(q=0.05)
    distinct = labels[labels["kind"] == "distinct"].sort_values("q_value", kind="stable")
    best = distinct.drop_duplicates(["layer", "feature"]).sort_index()
    if best.empty:
        return "No feature sets a unit apart: train longer, or compare more clips, in which the features differ more."
    best = best.assign(r2=explained_variance(best))
    best = best[["layer", "unit", "feature", "metric", "level", "score", "null", "r2", "unique", "learned", "q_value"]]
    formats = {"q_value": "{:.1e}".format}
    best = best.assign(learned=best["learned"].astype(object).fillna("–"))
    return best.to_string(index=False, formatters=formats, float_format="{:.3f}".format, na_rep="–")


def main() -> None:
    """Parse the arguments, train, and print what the best units are like."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--audio", type=Path, help="folder with one folder of recordings a class; default: render")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, default=480, help="clips to train on; a third as many to validate on")
    options = parser.parse_args()
    if options.epochs < 1 or options.limit < 12:
        parser.error("--epochs has to be at least 1 and --limit at least 12")

    pl.seed_everything(0, verbose=False)
    try:
        data = InstrumentData(options.audio, n_train=options.limit, n_validation=options.limit // 3)
    except ValueError as error:
        sys.exit(f"error: {error}")
    network = CNNAT(len(data.classes), pools=POOLS_3_S, n_embedding=128)
    layers = [f"network.{name}" for name in network.layers]
    callback = DissectCallback(analysis=network.analysis, layers=layers, untrained=4)
    logger = TensorBoardLogger("lightning_logs", name="instruments")
    trainer = pl.Trainer(max_epochs=options.epochs, callbacks=[callback], logger=logger, log_every_n_steps=10)
    trainer.fit(InstrumentClassifier(network), data)

    assert callback.scores is not None
    print(f"\nAccuracy on held-out clips: {trainer.callback_metrics['validation_accuracy']:.0%}")
    print("\nWhat the units follow:\n", *headline(callback.scores).values(), sep="\n")
    print(f"\nBy layer:\n\n{callback.scores.detectors().astype(object).fillna('–').to_string(index=False)}")
    print(f"\nThe units that a feature sets apart on the best support:\n\n{best_units(callback.scores)}")
    print(f"\nThe report, to be opened in a browser:\n\n  {write_report(logger.log_dir)}")
    print(f"\nAll epochs in TensorBoard:\n\n  {Path(sys.executable).parent}/tensorboard --logdir {logger.log_dir}")


if __name__ == "__main__":
    main()
