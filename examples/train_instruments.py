"""Train an instrument classifier and see, epoch by epoch, which of its units follow which audio feature.

    python examples/train_instruments.py                  # rendered General MIDI instruments
    python examples/train_instruments.py --audio FOLDER   # your own recordings, one folder a class

An ordinary Lightning script: all that `lightning_dissect` adds to it is the callback.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

import pytorch_lightning as pl
import torch
from instruments import InstrumentData
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_dissect import DissectCallback, Scores
from lightning_dissect.metrics import SIFTSimilarity
from lightning_dissect.networks import CNNAT, POOLS_3_S


class InstrumentClassifier(pl.LightningModule):
    """Trains any network that turns waveforms into logits.

    Args:
        network: from (B, samples) to (B, classes).
        learning_rate: of AdamW.
    """

    def __init__(self, network: torch.nn.Module, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        waveform, label = batch
        loss = cross_entropy(self.network(waveform), label)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy on held-out clips."""
        waveform, label = batch
        accuracy = (self.network(waveform).argmax(dim=1) == label).float().mean()
        self.log("validation_accuracy", accuracy, prog_bar=True, batch_size=len(label))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with one cycle of the learning rate over the run."""
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate)
        n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=n_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def best_units(scores: Scores, n_units: int = 3) -> str:
    """Write the best supported units of each layer as a table."""
    labels = scores.labels(q=0.05).dropna(subset="feature")
    labels = labels.sort_values("q_value", kind="stable").groupby("layer", observed=True, sort=False).head(n_units)
    if labels.empty:
        return "no unit has a supported feature: more clips or more epochs may help"
    columns = ["layer", "unit", "feature", "metric", "level", "score", "null", "q_value"]
    formats = {"score": "{:.3f}".format, "null": "{:.3f}".format, "q_value": "{:.1e}".format}
    return labels[columns].to_string(index=False, formatters=formats)


def main() -> None:
    """Parse the arguments, train, and print what the best units are like."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--audio", type=Path, help="folder with one folder of recordings a class; default: render")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, default=480, help="clips to train on; a third of that to validate on")
    options = parser.parse_args()

    pl.seed_everything(0, verbose=False)
    data = InstrumentData(options.audio, n_train=options.limit, n_validation=options.limit // 3)
    network = CNNAT(len(data.classes), pools=POOLS_3_S, n_embedding=128)
    callback = DissectCallback(
        sample_rate=network.sample_rate,
        layers=["network.conv1", "network.conv2", "network.embedding"],
        metrics=["pearson", "euclidean", SIFTSimilarity(max_size=96)],
        frequency=network.frequency,
        every_n_epochs=2,
    )
    logger = TensorBoardLogger("lightning_logs", name="instruments")
    trainer = pl.Trainer(max_epochs=options.epochs, callbacks=[callback], logger=logger, log_every_n_steps=10)
    trainer.fit(InstrumentClassifier(network), data)

    assert callback.scores is not None
    print(f"\nThe best supported units of each layer:\n\n{best_units(callback.scores)}")
    print(f"\nSee them in TensorBoard:\n\n  {Path(sys.executable).parent}/tensorboard --logdir {trainer.log_dir}")


if __name__ == "__main__":
    main()
