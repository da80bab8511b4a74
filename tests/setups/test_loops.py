"""The callback in the loops and precisions that people train with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch
import lightning.pytorch.cli
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, FrequencyAxis, Scores
from lightning_dissect.features import FeatureBank
from lightning_dissect.levels import Levels
from lightning_dissect.metrics import EuclideanSimilarity
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.dissection import Dissection

RATE = 8_000


class Network(nn.Module):
    """A planted unit, the clip's mean power, beside learned ones of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 128, 64)
        self.relu = nn.ReLU(inplace=True)
        self.rnn = nn.LSTM(4, 5, batch_first=True)
        self.attention = nn.TransformerEncoderLayer(5, 1, 8, batch_first=True)
        self.power = nn.Identity()
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.relu(self.conv(x[:, None])).mT)
        power = self.power(x.square().mean(1, keepdim=True))
        return self.head(torch.cat([self.attention(hidden).mean(1), power], 1))


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0].to(self.dtype)).float(), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.network(batch[0].to(self.dtype))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


@pytest.fixture(scope="module")
def data(clips: Callable[..., Tensor]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(clips(24, seconds=1.0, sample_rate=RATE), torch.arange(24) % 2), batch_size=6)


def callback(**arguments: Any) -> DissectCallback:
    # One layer: each one's pictures take a while to draw.
    defaults = {
        "layers": ["network.power"], "features": ["rms", "loudness"], "metrics": ["pearson"], "on_error": "raise",
    }  # fmt: skip
    return DissectCallback(RATE, **{**defaults, **arguments})


def trainer(folder: Path, callbacks: Any, **arguments: Any) -> pl.Trainer:
    defaults = {
        "max_epochs": 1,
        "logger": TensorBoardLogger(folder),
        "default_root_dir": folder,
        "accelerator": "cpu",
        "enable_progress_bar": False,
    }
    return pl.Trainer(callbacks=callbacks, **{**defaults, "enable_model_summary": False, **arguments})


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_finds_the_planted_unit(precision: str, data: DataLoader[Any], tmp_path: Path) -> None:
    watch = callback(layers=["network.*"])
    trainer(tmp_path, watch, precision=precision, logger=False).fit(Module(), data, data)
    assert watch.scores is not None
    table = watch.scores.table
    assert table["layer"].unique().tolist() == [
        f"network.{name}" for name in ("conv", "relu", "rnn", "attention", "power", "head")
    ]
    units = table.groupby("layer", observed=True)["unit"].nunique()
    expected = {"conv": 4, "relu": 4, "rnn": 5, "attention": 5, "power": 1, "head": 2}
    assert units.to_dict() == {f"network.{name}": count for name, count in expected.items()}
    planted = table.query("layer == 'network.power' and feature == 'loudness'")
    # Loudness is (sum x²)^0.67 a frame: close to power, not equal; bfloat16 rounds power to 8 bits.
    assert (planted["score"] > 0.95).all()
    assert (planted["n_clips"] == 24).all()


class Sides:
    """Keeps what each layer gave."""

    def __init__(self) -> None:
        self.seen: dict[str, Levels] = {}

    def begin(self, *_: Any) -> None: ...

    def receive(self, layer: str, side: Levels) -> None:
        self.seen[layer] = side

    def end(self) -> None: ...


def test_an_activation_is_seen_before_an_operation_in_place(data: DataLoader[Any]) -> None:
    network, keeper = Network(), Sides()
    layers = {"conv": network.conv, "relu": network.relu}
    with Dissection(layers, FeatureBank(["rms"], RATE), find_metrics(["pearson"]), keepers=[keeper]) as run:
        waveform = next(iter(data))[0]
        run.begin(waveform)
        network(waveform)
        run.end()
    conv, relu = (keeper.seen[name].frame for name in ("conv", "relu"))
    assert conv is not None
    assert relu is not None
    assert conv.min() < 0
    assert relu.min() == 0


def test_validation_within_an_epoch_gives_a_run_for_each_step(data: DataLoader[Any], tmp_path: Path) -> None:
    trainer(tmp_path, callback(), val_check_interval=0.5, limit_val_batches=2).fit(Module(), data, data)
    table = Scores.load(tmp_path).table
    assert table["step"].unique().tolist() == [2, 4]
    assert table["epoch"].unique().tolist() == [0]
    assert table["n_clips"].max() == 12


def test_a_resumed_training_goes_on_counting_epochs(data: DataLoader[Any], tmp_path: Path) -> None:
    first = trainer(tmp_path / "a", callback())
    first.fit(Module(), data, data)
    first.save_checkpoint(tmp_path / "last.ckpt")
    stored = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert not [key for key in stored["callbacks"] if "Dissect" in key]
    second = callback()
    trainer(tmp_path / "b", second, max_epochs=2).fit(Module(), data, data, ckpt_path=tmp_path / "last.ckpt")
    assert Scores.load(tmp_path / "b").table["epoch"].unique().tolist() == [1]


def test_several_callbacks_stand_side_by_side(data: DataLoader[Any], tmp_path: Path) -> None:
    one, two = (
        callback(layers=["network.conv"]),
        callback(layers=["network.head"], metrics=[EuclideanSimilarity("zscore")]),
    )
    trainer(tmp_path, [one, two]).fit(Module(), data, data)
    assert one.scores is not None
    assert two.scores is not None
    assert one.scores.table["layer"].unique().tolist() == ["network.conv"]
    assert two.scores.table["metric"].unique().tolist() == ["euclidean"]
    assert sorted(path.parent.name for path in tmp_path.rglob("epoch=*.parquet")) == ["dissect", "dissect2"]


def test_early_stopping_ends_without_a_trace(data: DataLoader[Any], tmp_path: Path) -> None:
    class Logging(Module):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("loss", 1.0)

    module, watch = Logging(), callback()
    stop = pl.callbacks.EarlyStopping("loss", patience=1)
    trainer(tmp_path, [watch, stop], max_epochs=5).fit(module, data, data)
    assert Scores.load(tmp_path).table["epoch"].unique().tolist() == [0, 1]
    assert not any(layer._forward_hooks for layer in module.modules())


class OtherModule(lightning.pytorch.LightningModule):
    """For the other package's command line."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    training_step = Module.training_step
    validation_step = Module.validation_step
    configure_optimizers = Module.configure_optimizers


@pytest.mark.parametrize(
    ("package", "kind", "module"),
    [(pl, LightningCLI, Module), (lightning.pytorch, lightning.pytorch.cli.LightningCLI, OtherModule)],
    ids=["pytorch_lightning", "lightning.pytorch"],
)
@pytest.mark.parametrize(
    "analysis",
    [
        f"sample_rate: {RATE}\n        frequency: {{scale: mel_htk, n_bins: 64}}",
        f"analysis: {{sample_rate: {RATE}, n_fft: 512, frequency: {{scale: mel_htk, n_bins: 64}}}}",
    ],
    ids=["single arguments", "analysis"],
)
def test_lightning_cli_reads_the_callback_from_yaml(
    package: Any, kind: Any, module: Any, analysis: str, data: DataLoader[Any], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"""
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  callbacks:
    - class_path: lightning_dissect.DissectCallback
      init_args:
        {analysis}
        layers: [network.conv]
        features:
          - rms
          - class_path: lightning_dissect.features.Loudness
        metrics:
          - class_path: lightning_dissect.metrics.EuclideanSimilarity
            init_args:
              normalization: minmax
        waveform: 0
        playlist:
          clips: 1
        on_error: raise
""")

    class Data(package.LightningDataModule):  # type: ignore[misc]
        def train_dataloader(self) -> Any:
            return data

        def val_dataloader(self) -> Any:
            return data

    cli = kind(module, Data, run=False, args=["--config", str(config)], save_config_callback=None)
    cli.trainer.fit(cli.model, cli.datamodule)
    (watch,) = (found for found in cli.trainer.callbacks if isinstance(found, DissectCallback))
    assert watch.scores is not None
    assert set(watch.scores.table["feature"]) == {"rms", "loudness", "rms_db"}
    assert set(watch.scores.table["metric"]) == {"euclidean"}
    assert watch.analysis.frequency == FrequencyAxis("mel_htk", 64)
    assert watch.playlist.clips == 1
