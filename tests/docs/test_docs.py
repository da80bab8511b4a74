import importlib
import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

feature = importlib.import_module("lightning_dissect.features.feature")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")


class Model(pl.LightningModule):
    """What a reader of the README has: some network with the layers named there."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(1, 4, 64, stride=32), nn.ReLU())
        self.embedding = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, waveform):
        return self.head(self.embedding(self.features(waveform.unsqueeze(1)).mean(-1)))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.randn(8, 16_000), torch.arange(8) % 2), batch_size=4)

    val_dataloader = train_dataloader


class QuickTrainer(pl.Trainer):
    def __init__(self, **arguments):
        super().__init__(max_epochs=1, accelerator="cpu", enable_progress_bar=False, **arguments)


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(feature, "_REGISTRY", dict(feature._REGISTRY))  # a page registers features of its own
    text = page.read_text()
    namespace = {"model": Model(), "data": Data(), "Trainer": QuickTrainer}
    for block in BLOCK.finditer(text):
        # blank lines before it, so that a traceback gives the line of the page
        source = "\n" * (text[: block.start()].count("\n") + 1) + block[1]
        exec(compile(source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    missing = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_are_there(page):
    named = re.findall(r"`(tests/[^`]*)::(\w+)`", page.read_text())
    missing = [(file, test) for file, test in named if f"def {test}(" not in (ROOT / file).read_text()]
    assert not missing
    assert named or page.name != "protection.md"
