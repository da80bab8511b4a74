"""A LightningModule that trains any network from waveforms to logits."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class InstrumentClassifier(pl.LightningModule):
    """Trains a network that turns waveforms into logits, such as those of `lightning_dissect.networks`.

    Args:
        network: from (B, samples) to (B, classes).
        learning_rate: the highest of the run.
    """

    def __init__(self, network: nn.Module, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def forward(self, waveform: Tensor) -> Tensor:
        """Logits of clips [shape=(B, classes)]."""
        logits: Tensor = self.network(waveform)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        waveform, label = batch
        loss = cross_entropy(self(waveform), label)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy on held-out clips."""
        waveform, label = batch
        accuracy = (self(waveform).argmax(dim=1) == label).float().mean()
        self.log("validation_accuracy", accuracy, prog_bar=True, batch_size=len(label))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with one cycle of the learning rate over the run."""
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate)
        n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=n_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
