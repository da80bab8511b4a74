"""What a run leaves behind, in real trainings."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback, Scores, publish
from lightning_dissect.loggers.folder import run_folder
from lightning_dissect.run.playlist_files import load_playlists

RATE = 2_000


class Levels(pl.LightningModule):
    """Units that are the level of the clip in frames, and its square: both follow RMS."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Identity()
        self.embedding = nn.Linear(2, 3)

    def forward(self, waveform: Tensor) -> Tensor:
        level = waveform.unfold(1, 100, 100).square().mean(-1).sqrt()
        frames = self.level(torch.stack([level, level.square()], 1))
        return self.embedding(frames.mean(-1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


@pytest.fixture(scope="module")
def waveform(clips: Callable[..., Tensor]) -> Tensor:
    return clips(30, seconds=5.0, sample_rate=RATE)


def fit(
    waveform: Tensor, loggers: Any, folder: Path, epochs: int = 2, module: Levels | None = None, **arguments: Any
) -> DissectCallback:
    settings: dict[str, Any] = {
        "layers": ["level", "embedding"],
        "features": ["rms", "centroid"],
        "metrics": ["pearson"],
        "axes": {"level": "batch unit time"},
        "n_fft": 256,
        # frames of the features are no longer than those of the layer, which stay as they are
        "hop_length": 100,
        "on_error": "raise",
    }
    callback = DissectCallback(RATE, **{**settings, **arguments})
    trainer = pl.Trainer(
        max_epochs=epochs, logger=loggers, default_root_dir=folder, callbacks=[callback], accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(waveform), batch_size=8)
    trainer.fit(module or Levels(), loader, loader)
    return callback


def test_the_playlist_is_of_the_clips_and_moments_that_are_loudest(waveform: Tensor, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    callback = fit(waveform, logger, tmp_path)
    folder = Path(logger.log_dir) / "dissect"
    table = load_playlists(folder)
    assert set(table["epoch"]) == {1}
    assert callback.scores is not None
    assert callback.scores.labels().set_index(["layer", "unit"])["feature"]["level", 0] == "rms"
    level = waveform.unfold(1, 100, 100).square().mean(-1).sqrt()
    loudest = level.amax(1).argsort(descending=True)[:3].tolist()
    rows = table[(table["layer"] == "level") & (table["unit"] == 0)]
    assert rows["clip"].tolist() == loudest
    assert rows["rank"].tolist() == [1, 2, 3]
    for row in rows.itertuples():
        audio, rate = soundfile.read(folder / row.file)
        assert rate == RATE
        assert len(audio) == round((row.end - row.start) * RATE)
        peak = int(level[row.clip].argmax())
        assert row.time == pytest.approx((peak + 0.5) * 0.05, abs=1e-4)
        around = audio[max(0, round((row.time - row.start - 0.1) * RATE)) :][: round(0.2 * RATE)]
        assert np.abs(around).max() == pytest.approx(np.abs(audio).max(), rel=1e-3)
        start = round(row.start * RATE)
        np.testing.assert_allclose(audio, waveform[row.clip, start : start + len(audio)], atol=1e-3)


def test_pictures_lie_beside_the_scores_of_all_epochs(waveform: Tensor, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(waveform, logger, tmp_path)
    folder = Path(logger.log_dir) / "dissect" / "pictures"
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert found == [
        "correlations.png", "detectors.png", "embedding/chance.png", "embedding/clips.png", "embedding/units.png",
        "epochs.png", "level/chance.png", "level/clips.png", "level/units.png", "overview.png",
    ]  # fmt: skip
    assert all(Image.open(folder / path).width == 980 for path in found)
    assert Scores.load(logger.log_dir).table["epoch"].unique().tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["cut off", "foreign", "without effect", "without unit"])
def test_an_epoch_that_cannot_be_read_is_left_out_of_the_picture_of_epochs(
    kind: str, waveform: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three epochs before, the second; what comes after them is published all the same."""
    logger = TensorBoardLogger(tmp_path)
    before = fit(waveform, CSVLogger(tmp_path), tmp_path, epochs=1).scores
    assert before is not None
    files = []
    for epoch in (-1, -2, -3):
        scores = Scores(before.table.assign(epoch=epoch, step=epoch))
        files.append(scores.save(Path(logger.log_dir) / "dissect" / f"epoch={epoch}.parquet"))
    broken = files[1]
    table = pq.read_table(broken)
    if kind == "cut off":
        broken.write_bytes(broken.read_bytes()[:-100])
    elif kind == "foreign":
        pq.write_table(table.replace_schema_metadata(None), broken)
    else:
        pq.write_table(table.drop_columns([kind.removeprefix("without ")]), broken)
    drawn: list[Scores] = []
    monkeypatch.setattr(publish, "trajectories", lambda history, units: drawn.append(history))
    with pytest.warns(UserWarning, match="out of the picture of all epochs") as caught:
        fit(waveform, logger, tmp_path)
    assert len([warning for warning in caught if f"leaves {broken} out" in str(warning.message)]) == 1
    assert [history.table["epoch"].unique().tolist() for history in drawn] == [[-1, -3, 0], [-1, -3, 0, 1]]


def test_no_playlist_is_kept_without_one(waveform: Tensor, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(waveform, logger, tmp_path, epochs=1, playlist=0)
    folder = Path(logger.log_dir) / "dissect"
    assert sorted(path.name for path in folder.iterdir()) == ["epoch=0000-step=00000004.parquet", "pictures"]


def test_players_are_of_the_unit_that_follows_a_feature_best(waveform: Tensor, tmp_path: Path) -> None:
    fit(waveform, TensorBoardLogger(tmp_path), tmp_path, epochs=1, playlist=2, watch={"level": [1]})
    (file,) = tmp_path.rglob("events.out.tfevents*")
    events = EventAccumulator(str(file), size_guidance={"audio": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    assert {"dissect/playlist/rms/1", "dissect/playlist/rms/2"} <= set(tags["audio"])
    (sound,) = events.Audio("dissect/playlist/rms/1")
    # 3 s, or less at the end of a clip
    assert sound.sample_rate == RATE
    assert 1.5 * RATE <= sound.length_frames <= 3 * RATE
    assert "dissect.level/unit1/rms/pearson.clip" in tags["scalars"]
    assert "dissect.level/unit0/rms/pearson.clip" not in tags["scalars"]
    (text,) = [tag for tag in tags["tensors"] if tag.startswith("dissect/playlist/text")]
    assert b"rises with rms (distinct): clip" in events.Tensors(text)[0].tensor_proto.string_val[0]


def test_a_player_says_when_a_unit_falls_with_the_feature(waveform: Tensor, tmp_path: Path) -> None:
    module = Levels()
    with torch.no_grad():
        module.embedding.weight.fill_(-1.0)
    fit(waveform, TensorBoardLogger(tmp_path), tmp_path, epochs=1, module=module, layers=["embedding"], axes=None)
    (file,) = tmp_path.rglob("events.out.tfevents*")
    events = EventAccumulator(str(file), size_guidance={"tensors": 0}).Reload()
    (text,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("dissect/playlist/text")]
    assert b"falls with rms (distinct): clip" in events.Tensors(text)[0].tensor_proto.string_val[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"playlist": -1}, r"playlist=-1: it counts clips a unit"),
        ({"watch": {"levels": [0]}}, r"watch: 'levels' is none of the layers that are dissected, level, embedding"),
        ({"watch": {"embedding": [2, 3]}}, r"watch: 'embedding' has no units \[3\]; its units are 0 to 2"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_training(
    arguments: dict[str, Any], message: str, waveform: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(waveform, CSVLogger(tmp_path), tmp_path, **arguments)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / kind))
    yield
    import wandb

    wandb.finish()


@pytest.mark.usefixtures("offline")
def test_every_logger_of_a_trainer_is_served(waveform: Tensor, tmp_path: Path) -> None:
    database = MLFlowLogger(
        tracking_uri=f"sqlite:///{tmp_path / 'runs.db'}", artifact_location=str(tmp_path / "artifacts")
    )
    wandb, board, csv = WandbLogger(save_dir=tmp_path, project="p"), TensorBoardLogger(tmp_path), CSVLogger(tmp_path)
    fit(waveform, [wandb, database, board, csv], tmp_path, epochs=1)
    tag = "dissect.level/rms/pearson.clip/best"
    assert wandb.experiment.summary[tag] > 0.5
    assert database.experiment.get_run(database.run_id).data.metrics[tag] > 0.5
    assert pd.read_csv(Path(csv.log_dir) / "metrics.csv")[tag].max() > 0.5
    (events,) = Path(board.log_dir).glob("events.out.tfevents*")
    assert tag in EventAccumulator(str(events)).Reload().Tags()["scalars"]
    # The files lie in the folder of the first logger's run, which no other run writes into.
    folder = tmp_path / "p" / wandb.version / "dissect"
    assert (folder / "playlist.parquet").exists()
    assert (folder / "pictures" / "overview.png").exists()


def test_the_folder_of_a_run_is_its_own(tmp_path: Path) -> None:
    assert run_folder(CSVLogger(tmp_path, name="a", version=3), "elsewhere") == tmp_path / "a" / "version_3"
    logger = SimpleNamespace(save_dir=None, name="a", version="r1")
    assert run_folder(logger, os.fspath(tmp_path)) == tmp_path / "a" / "r1"
    logger = SimpleNamespace(save_dir=tmp_path / "logs", name="a", version=2)
    assert run_folder(logger, os.fspath(tmp_path)) == tmp_path / "logs" / "a" / "version_2"
