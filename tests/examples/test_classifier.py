import pytorch_lightning as pl
import torch
from classifier import InstrumentClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def test_it_trains_a_network_to_tell_clips_apart():
    torch.manual_seed(0)
    label = torch.arange(64) % 2
    waveform = torch.randn(64, 100) * (0.1 + 0.9 * label[:, None])
    loader = DataLoader(TensorDataset(waveform, label), batch_size=16)
    network = nn.Sequential(nn.Linear(100, 16), nn.ReLU(), nn.Linear(16, 2))
    trainer = pl.Trainer(
        max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(InstrumentClassifier(network, learning_rate=1e-2), loader, loader)
    assert trainer.callback_metrics["validation_accuracy"] > 0.9
