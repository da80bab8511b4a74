"""Checkpoints on recordings."""

import importlib
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from lightning_dissect import Scores
from lightning_dissect.cli import main
from lightning_dissect.networks import WaveformCNN

MODULE = """
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader


class Tagger(pl.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.save_hyperparameters()
        self.conv = nn.Conv1d(1, width, 256, 128)

    def forward(self, waveform):
        return self.conv(waveform[:, None].abs()).mean(-1)

    def validation_step(self, batch, batch_idx):
        self(batch)


class Noise(pl.LightningDataModule):
    def __init__(self, clips: int = 16):
        super().__init__()
        self.clips = clips

    def val_dataloader(self):
        return DataLoader(torch.randn(self.clips, 8_000) * torch.rand(self.clips, 1), 8)
"""
QUICK = ["--features", "rms", "--metrics", "pearson", "--accelerator", "cpu", "--seconds", "1", "--out", "out"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a module of one's own, a checkpoint of its model, and the file that LightningCLI reads."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_taggers.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        module: Any = importlib.import_module("own_taggers")
    torch.manual_seed(0)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(module.Tagger(width=6), module.Noise(), verbose=False)
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder


def configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    callback = {
        "class_path": "lightning_dissect.DissectCallback",
        "init_args": {"sample_rate": 8_000, "features": ["loudness"], "metrics": ["pearson"]},
    }
    return {
        "seed_everything": 0,
        "ckpt_path": None,
        "model": {"class_path": "own_taggers.Tagger", "init_args": {"width": 6}},
        "data": {"class_path": "own_taggers.Noise", "init_args": {"clips": 24}},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "callbacks": [callback]},
        **changes,
    }


@pytest.fixture
def here(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(own))
    return own


def test_a_network_of_the_package(here: Path, recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network = WaveformCNN(n_classes=3)
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, "last.ckpt")
    arguments = ["run", "last.ckpt", "--network", "WaveformCNN", "--set", "n_classes=3", "--layers", "dense*"]
    assert main([*arguments, "--data", str(recordings), *QUICK]) == 0
    shown = capsys.readouterr()
    assert "left out: " in shown.err
    assert "broken.flac" in shown.err
    table = Scores.load("out").table
    assert list(table["layer"].unique()) == ["dense1", "dense2"]
    assert table["n_clips"].max() == 12
    assert table["score"].abs().max() > 0.8
    assert main(["show", "out"]) == 0


def test_a_model_of_ones_own(here: Path, recordings: Path) -> None:
    arguments = ["run", str(here / "last.ckpt"), "--model", "own_taggers:Tagger", "--sample-rate", "8000"]
    assert main([*arguments, "--data", str(recordings), *QUICK]) == 0
    scores = Scores.load("out")
    assert scores.table["unit"].nunique() == 6
    assert scores.settings["sample_rate"] == 8_000


def test_a_file_of_lightning_cli(here: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(configuration(here)))
    assert main(["run", str(here / "last.ckpt"), "--config", "config.yaml", "--out", "out"]) == 0
    scores = Scores.load("out")
    assert scores.table["unit"].nunique() == 6
    assert scores.table["n_clips"].max() == 24
    assert scores.settings["features"] == ["loudness"]
    assert not Path("lightning_logs").exists()


def test_the_model_of_a_file_on_recordings(here: Path, recordings: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(configuration(here)))
    arguments = ["run", str(here / "last.ckpt"), "--config", "config.yaml", "--data", str(recordings)]
    assert main([*arguments, *QUICK]) == 0
    scores = Scores.load("out")
    assert scores.settings["features"] == ["rms"]
    assert scores.table["n_clips"].max() == 12


DECOY = "import pathlib; pathlib.Path('ran').touch()"


@pytest.fixture
def decoy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the current folder that has the name of a package which is not yet imported, and makes ``ran``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in ("", os.getcwd())])
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    Path("soundfile.py").write_text(DECOY)
    return Path("ran")


def test_no_file_of_the_current_folder_runs(here: Path, decoy: Path, recordings: Path) -> None:
    path = list(sys.path)
    torch.save(WaveformCNN(n_classes=3).state_dict(), "last.ckpt")
    arguments = ["run", "last.ckpt", "--network", "WaveformCNN", "--set", "n_classes=3", "--layers", "dense2"]
    assert main([*arguments, "--data", str(recordings), *QUICK]) < 2
    assert not decoy.exists()
    assert sys.path == path


def test_installed_packages_come_before_the_current_folder(own: Path, decoy: Path, recordings: Path) -> None:
    Path("taggers_here.py").write_text(MODULE)
    arguments = ["run", str(own / "last.ckpt"), "--model", "taggers_here:Tagger", "--sample-rate", "8000"]
    assert main([*arguments, "--data", str(recordings), *QUICK]) < 2
    assert not decoy.exists()
    assert sys.path[-1] == os.getcwd()


class Pickled:
    """Runs a command when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


KINDS = [
    ["--network", "WaveformCNN"],
    ["--model", "own_taggers:Tagger", "--sample-rate", "8000"],
    ["--config", "config.yaml"],
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
@pytest.mark.parametrize("place", ["alone", "weight", "hyper_parameters", "legacy", "pickle"])
def test_a_pickled_checkpoint_is_refused(
    kind: list[str], place: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(configuration(here)))
    content = torch.load(here / "last.ckpt", weights_only=True)
    parts: dict[str, Any] = {
        "alone": Pickled(),
        "weight": content | {"state_dict": {"conv.weight": Pickled()}},
        "hyper_parameters": content | {"hyper_parameters": {"width": Pickled()}},
    }
    if place == "pickle":
        Path("last.ckpt").write_bytes(pickle.dumps(Pickled()))
    else:
        torch.save(parts.get(place, Pickled()), "last.ckpt", _use_new_zipfile_serialization=place != "legacy")
    data = ["--data", "."] if kind[0] != "--config" else []
    assert main(["run", "last.ckpt", *kind, *data, "--out", "out"]) == 2
    own = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lightning-dissect: ")]
    assert len(own) == 1
    assert "last.ckpt is no file of weights" in own[0]
    assert "weights_only" not in own[0]
    assert not Path("ran").exists()
    assert not Path("out").exists()


@pytest.mark.parametrize("instantiator", ["os.system", "evil.make", 3])
def test_a_checkpoint_names_no_function_to_call(instantiator: Any, here: Path) -> None:
    Path("evil.py").write_text(DECOY)
    content = torch.load(here / "last.ckpt", weights_only=True)
    content["hyper_parameters"] |= {"_instantiator": instantiator, "_class_path": "evil.Tagger"}
    torch.save(content, "last.ckpt")
    assert main(["run", "last.ckpt", *KINDS[1], "--data", "."]) == 2
    assert not Path("ran").exists()


WRONG = {
    "checkpoint": (["missing.ckpt", "--network", "VGGish"], "missing.ckpt: no such checkpoint"),
    "network": (["last.ckpt", "--network", "Vggish", "--data", "sounds"], "There are CNNAT, ChoiCNN"),
    "does not fit": (["last.ckpt", "--network", "WaveformCNN", "--data", "sounds"], "does not fit WaveformCNN"),
    "no weights": (["config.yaml", "--network", "WaveformCNN", "--data", "sounds"], "is no file of weights"),
    "setting": (["last.ckpt", "--network", "WaveformCNN", "--set", "size=3", "--data", "sounds"], "takes (n_classes"),
    "no data": (["last.ckpt", "--network", "WaveformCNN"], "--data FOLDER is needed"),
    "missing data": (
        ["last.ckpt", "--model", "own_taggers:Tagger", "--sample-rate", "8000", "--data", "no"],
        "no such",
    ),
    "empty data": (
        ["last.ckpt", "--model", "own_taggers:Tagger", "--sample-rate", "8000", "--data", "empty"],
        "none of 0",
    ),
    "no rate": (["last.ckpt", "--model", "own_taggers:Tagger", "--data", "sounds"], "--sample-rate is needed"),
    "no model": (["last.ckpt", "--model", "nowhere:Tagger", "--sample-rate", "8000", "--data", "sounds"], "imported"),
    "not a model": (
        ["config.yaml", "--model", "own_taggers:Tagger", "--sample-rate", "8", "--data", "sounds"],
        "is no file of weights",
    ),
    "config of what is not installed": (["last.ckpt", "--config", "elsewhere.yaml"], "or its folder on PYTHONPATH"),
    "no config": (["last.ckpt", "--config", "missing.yaml"], "missing.yaml: No such file"),
    "config of nothing": (["last.ckpt", "--config", "empty.yaml"], "does not say what the model is"),
    "config of another": (["last.ckpt", "--config", "config.yaml"], "does not fit Tagger"),
    "config with a typo": (["last.ckpt", "--config", "typo.yaml"], "typo.yaml: "),
    "unwritable": (["last.ckpt", "--network", "VGGish", "--data", "sounds", "--out", "empty.yaml"], "empty.yaml"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_answered_in_one_line(
    arguments: list[str], words: str, here: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("last.ckpt").write_bytes((here / "last.ckpt").read_bytes())
    Path("sounds").symlink_to(recordings)
    Path("empty").mkdir()
    Path("empty.yaml").write_text("")
    narrow = {"class_path": "own_taggers.Tagger", "init_args": {"width": 3}}
    Path("config.yaml").write_text(yaml.safe_dump(configuration(here, model=narrow)))
    typo = {"class_path": "own_taggers.Tagger", "init_args": {"with": 3}}
    Path("typo.yaml").write_text(yaml.safe_dump(configuration(here, model=typo)))
    elsewhere = {"class_path": "beside.Tagger", "init_args": {}}
    Path("elsewhere.yaml").write_text(yaml.safe_dump(configuration(here, model=elsewhere)))
    Path("beside.py").write_text(MODULE)
    assert main(["run", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    own = [line for line in lines if line.startswith("lightning-dissect: ")]
    assert len(own) == 1
    assert words in own[0]
    assert not list(Path().glob("dissect-*"))
