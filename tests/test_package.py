import subprocess
import sys

import pytest

import lightning_dissect

LATER = ("kornia", "torchaudio", "nnAudio", "tensorboard", "essentia", "cv2", "IPython")


def test_the_public_names_are_there() -> None:
    for name in lightning_dissect.__all__:
        assert getattr(lightning_dissect, name).__doc__
    assert lightning_dissect.__version__


def test_importing_takes_in_nothing_heavy() -> None:
    code = (
        "import sys, pytorch_lightning, torchmetrics, pandas; before = set(sys.modules); import lightning_dissect; "
        f"print([m for m in {LATER} if m in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "missing"), [("pytorch_lightning", "lightning"), ("lightning.pytorch", "pytorch_lightning")]
)
def test_one_lightning_package_is_enough(there: str, missing: str) -> None:
    code = f"""
import importlib, sys
sys.modules[{missing!r}] = None  # as if it were not installed
package = importlib.import_module({there!r})
import torch
from lightning_dissect import DissectCallback

class Module(package.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv1d(1, 4, 64, 32)

    def validation_step(self, batch, batch_idx):
        self.layer(batch[:, None])

watch = DissectCallback(8_000, features=["rms"], metrics=["pearson"])
trainer = package.Trainer(accelerator="cpu", logger=False, callbacks=watch)
trainer.validate(Module(), torch.utils.data.DataLoader(torch.randn(8, 8_000), 4), verbose=False)
assert watch.scores.table["layer"].unique().tolist() == ["layer"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
