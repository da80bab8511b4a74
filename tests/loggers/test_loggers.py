"""What real clients of each kind of logger keep of a run."""

import itertools
import json
import math
import re
import struct
import time
import warnings
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.loggers import TensorBoardLogger as OtherTensorBoardLogger
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from lightning_dissect import loggers
from lightning_dissect.files import find_place, whole
from lightning_dissect.loggers import Contents, Player
from lightning_dissect.loggers.scalars import summarise
from lightning_dissect.report.style import encode_png
from lightning_dissect.run.playlist_files import write_wav
from lightning_dissect.scores import Scores

RATE = 8_000
LABELLED = [["conv.0", 1, "loudness"], ["head", 1, "loudness"]]


def make_scores(epoch: int = 0, units: int = 6) -> Scores:
    """Unit 1 follows loudness, unit 4 nothing that is defined."""
    rows = [
        {
            "epoch": epoch, "step": 10 * (epoch + 1), "dataloader": 0, "layer": layer, "unit": unit, "feature": feature,
            "level": "clip", "metric": "pearson", "score": np.nan if unit == 4 else score, "null": 0.0,
            "effect": score, "p_value": np.nan if unit == 4 else 1e-9 if unit == 1 and feature == "loudness" else 0.6,
            "lower_p_value": 1.0 if feature == "loudness" else 1e-6, "control": False, "n_clips": 40,
        }
        for layer in ("conv.0", "head") for unit in range(units)
        for feature, score in (("loudness", 0.1 * unit), ("chroma[A]", -0.1 * unit), ("chroma[B]", 0.05))
    ]  # fmt: skip
    return Scores(pd.DataFrame(rows))


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    scores = make_scores()
    labels = scores.labels()
    tone = 0.5 * np.sin(np.arange(RATE) * 0.3)
    write_wav(tmp_path / "clip00003-from0.00s.wav", tone, RATE)
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[:10] = (255, 0, 128)
    return Contents(
        name="dissect",
        step=10,
        scores=scores,
        labels=labels,
        scalars=summarise(scores, labels) | {"dissect/undefined": math.nan},
        pictures={"dissect.conv.0/units": encode_png(picture)},
        players=[Player("dissect/playlist/loudness/1", "conv.0, unit 1", tmp_path / "clip00003-from0.00s.wav")],
        files=[scores.save(tmp_path / "epoch=0000-step=00000010.parquet")],
    )


def read(folder: Path) -> EventAccumulator:
    (file,) = folder.rglob("events.out.tfevents*")
    everything = dict.fromkeys(("tensors", "audio", "images", "scalars", "histograms"), 0)
    return EventAccumulator(str(file), size_guidance=everything).Reload()


@pytest.mark.parametrize("kind", [TensorBoardLogger, OtherTensorBoardLogger])
def test_tensorboard_keeps_scalars_histograms_pictures_and_audio(kind: Any, contents: Contents, tmp_path: Path) -> None:
    loggers.write([kind(tmp_path / "logs")], contents)
    events = read(tmp_path / "logs")
    tags = events.Tags()
    assert "dissect.conv.0/loudness/pearson.clip/best" in tags["scalars"]
    assert "dissect/undefined" not in tags["scalars"]
    assert events.Scalars("dissect/labelled_loudness/conv.0")[0].value == 1
    histogram = events.Histograms("dissect.conv.0/loudness/pearson.clip")[0].histogram_value
    # five of the six units are defined
    assert (histogram.num, histogram.max) == (5, pytest.approx(0.5))
    assert tags["images"] == ["dissect.conv.0/units"]
    image = events.Images("dissect.conv.0/units")[0]
    assert (image.height, image.width, image.step) == (30, 40, 10)
    assert image.encoded_image_string == contents.pictures["dissect.conv.0/units"]
    sound = events.Audio("dissect/playlist/loudness/1")[0]
    assert (sound.sample_rate, sound.length_frames) == (RATE, RATE)
    assert events.Scalars("dissect/distinct/conv.0")[0].value == 1
    assert events.Scalars("dissect/trivial/head")[0].value == 0
    assert "dissect/learned/conv.0" not in tags["scalars"]
    for tag, words in (("playlist", b"conv.0, unit 1"), ("found", b"2 of 12 units (17%) follow one feature")):
        (text,) = [known for known in tags["tensors"] if known.startswith(f"dissect/{tag}/text")]
        assert words in events.Tensors(text)[0].tensor_proto.string_val[0]


def test_tensorboard_has_two_charts_for_each_layer_laid_out_once(contents: Contents, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path / "logs")
    for _ in range(3):
        loggers.write([logger], contents)
    events = read(tmp_path / "logs")
    (written,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(written.tensor_proto.string_val[0])
    (category,) = layout.category
    assert category.title == "dissect"
    titles = ["units by kind", "distinct units by feature"]
    charts = [f"{layer}: {title}" for layer in ("conv.0", "head") for title in titles]
    assert [chart.title for chart in category.chart] == charts
    shown = [
        sorted(tag for tag in events.Tags()["scalars"] if re.match(chart.multiline.tag[0], tag))
        for chart in category.chart[:2]
    ]
    assert shown == [
        ["dissect/distinct/conv.0", "dissect/shared/conv.0", "dissect/trivial/conv.0"],
        ["dissect/labelled_chroma/conv.0", "dissect/labelled_loudness/conv.0"],
    ]


def test_a_second_callback_adds_its_charts(contents: Contents, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path / "logs")
    for name in ("dissect", "dissect2"):
        scalars = summarise(contents.scores, contents.labels, name)
        loggers.write([logger], Contents(name, 10, contents.scores, contents.labels, scalars))
    written = read(tmp_path / "logs").Tensors("custom_scalars__config__")[-1]
    layout = layout_pb2.Layout.FromString(written.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["dissect", "dissect2"]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    logger = WandbLogger(save_dir=str(tmp_path), project="instruments")
    yield logger
    import wandb

    wandb.finish()


def records(file: Path) -> Iterator[bytes]:
    """The records of a file of an offline run: LevelDB's log format, after a header of 7 bytes."""
    data, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of an offline run's history."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("run-*.wandb")
    end = time.monotonic() + 60
    # The client's own process may still be writing when finish() returns.
    while not any(Record.FromString(record).HasField("exit") for record in records(file)):
        assert time.monotonic() < end, f"{file} has no end."
        time.sleep(0.1)
    rows: list[dict[str, Any]] = []
    for record in map(Record.FromString, records(file)):
        if record.HasField("history"):
            rows.append({})
            for item in record.history.item:
                *outer, last = item.nested_key or [item.key]
                place = rows[-1].setdefault(outer[0], {}) if outer else rows[-1]
                place[last] = json.loads(item.value_json)
    return rows


def test_wandb_keeps_everything_in_one_row(offline: Any, contents: Contents, tmp_path: Path) -> None:
    import wandb

    loggers.write([offline], contents)
    (folder,) = {Path(offline.experiment.dir).parent}
    wandb.finish()
    (row,) = [row for row in history(folder) if "dissect/labels" in row]
    assert row["trainer/global_step"] == 10
    assert row["dissect.conv.0/loudness/pearson.clip/best"] == pytest.approx(0.1)
    assert row["dissect/labelled_loudness/conv.0"] == 1
    assert "dissect/undefined" not in row
    histogram = row["dissect.conv.0/loudness/pearson.clip/units"]
    assert histogram["_type"] == "histogram"
    assert sum(histogram["values"]) == 5
    assert (row["dissect.conv.0/units"]["height"], row["dissect.conv.0/units"]["width"]) == (30, 40)
    sound = row["dissect/playlist/loudness/1"]
    assert sound["caption"] == "conv.0, unit 1"
    with wave.open(str(folder / "files" / sound["path"])) as file:
        assert (file.getframerate(), file.getnframes()) == (RATE, RATE)
    table = json.loads((folder / "files" / row["dissect/labels"]["path"]).read_text())
    assert table["columns"] == [*contents.labels, "r2"]
    assert len(table["data"]) == len(contents.labels)
    assert [line[:3] for line in table["data"] if line[2] is not None] == LABELLED
    assert row["dissect/found"].startswith("2 of 12 units (17%) follow one feature that sets them apart")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data base of MLflow, whose tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'runs.db'}"


def mlflow_logger(store: str, folder: Path, **arguments: Any) -> MLFlowLogger:
    return MLFlowLogger("instruments", tracking_uri=store, artifact_location=str(folder / "artifacts"), **arguments)


def test_mlflow_keeps_scalars_pictures_files_and_the_table(store: str, contents: Contents, tmp_path: Path) -> None:
    logger = mlflow_logger(store, tmp_path)
    scalars = {**contents.scalars, "dissect/labelled_my feature: [dB]/conv.0": 2.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        loggers.write([logger], Contents(**{**vars(contents), "scalars": scalars}))
    run = logger.experiment.get_run(logger.run_id)
    assert run.data.metrics["dissect.conv.0/loudness/pearson.clip/best"] == pytest.approx(0.1)
    assert run.data.metrics["dissect/labelled_my feature_ _dB_/conv.0"] == 2
    assert "dissect/undefined" not in run.data.metrics
    (point,) = logger.experiment.get_metric_history(logger.run_id, "dissect/labelled_loudness/conv.0")
    assert (point.step, point.value) == (10, 1)
    files = sorted(
        path.relative_to(tmp_path / "artifacts").as_posix() for path in (tmp_path / "artifacts").rglob("*.*")
    )
    names = {file.split("/", 2)[2] for file in files}
    assert {
        "dissect/epoch=0000-step=00000010.parquet",
        "dissect/audio/clip00003-from0.00s.wav",
        "dissect/labels-step=00000010.json",
    } <= names
    assert [name for name in names if name.startswith("images/dissect.conv.0") and name.endswith(".png")]
    (file,) = (tmp_path / "artifacts").rglob("labels-*.json")
    table = json.loads(file.read_text())
    assert table["columns"] == [*contents.labels, "r2"]
    assert [line[:3] for line in table["data"] if line[2] is not None] == LABELLED
    (file,) = (tmp_path / "artifacts").rglob("found-step=00000010.txt")
    assert file.read_text().startswith("2 of 12 units (17%) follow one feature that sets them apart")


def test_scalars_count_kinds_and_only_what_is_distinct_by_feature() -> None:
    table = make_scores().table
    scores = Scores(table.assign(control=(table["feature"] == "loudness") & (table["layer"] == "head")))
    scalars = summarise(scores, scores.labels())
    kinds = {
        tag.removeprefix("dissect/"): value
        for tag, value in scalars.items()
        if tag.startswith("dissect/") and not tag.startswith("dissect/learned")
    }
    assert kinds == {
        "distinct/conv.0": 1, "distinct/head": 0, "shared/conv.0": 0, "shared/head": 0, "trivial/conv.0": 0,
        "trivial/head": 1, "labelled_chroma/conv.0": 0, "labelled_chroma/head": 0, "labelled_loudness/conv.0": 1,
        "labelled_loudness/head": 0,
    }  # fmt: skip
    assert math.isnan(scalars["dissect/learned/conv.0"])
    scores.baseline = Scores(scores.table.assign(effect=0.9))
    assert summarise(scores, scores.labels())["dissect/learned/conv.0"] == 0


def test_csv_has_the_same_columns_in_every_run_and_no_warning(contents: Contents, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(3):
            scores = make_scores(epoch, units=6)
            # In the second run nothing is defined.
            if epoch == 1:
                scores.table[["score", "p_value", "q_value", "effect"]] = np.nan
            labels = scores.labels()
            loggers.write([logger], Contents("dissect", 10 * (epoch + 1), scores, labels, summarise(scores, labels)))
            logger.save()
    table = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    assert table["step"].tolist() == [10, 20, 30]
    assert table["dissect.conv.0/loudness/pearson.clip/best"].isna().tolist() == [False, True, False]


class HomeMade(Logger):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, float] = {}

    name, version = "home", "1"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.seen |= metrics

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


def test_an_unknown_logger_gets_the_scalars_and_one_warning(contents: Contents) -> None:
    logger = HomeMade()
    with pytest.warns(UserWarning, match="does not know HomeMade and gives it the scalars only") as caught:
        loggers.write([logger, logger, logger], contents)
    assert len([warning for warning in caught if "HomeMade" in str(warning.message)]) == 1
    assert logger.seen["dissect/labelled_loudness/conv.0"] == 1


def test_all_loggers_are_served(contents: Contents, tmp_path: Path) -> None:
    board, csv = TensorBoardLogger(tmp_path / "logs"), CSVLogger(tmp_path)
    loggers.write([csv, board], contents)
    csv.save()
    assert (Path(csv.log_dir) / "metrics.csv").exists()
    assert read(tmp_path / "logs").Tags()["audio"]


def test_the_prefix_of_a_logger_is_before_every_tag(store: str, contents: Contents, tmp_path: Path) -> None:
    board = TensorBoardLogger(tmp_path / "logs", prefix="fold3")
    database = mlflow_logger(store, tmp_path, prefix="fold3")
    loggers.write([board, database], contents)
    tags = read(tmp_path / "logs").Tags()
    ours = [tag for kind in ("scalars", "images", "audio", "histograms") for tag in tags[kind]]
    assert all(tag.startswith("fold3-dissect") for tag in ours)
    metrics = database.experiment.get_run(database.run_id).data.metrics
    assert all(tag.startswith("fold3-dissect") for tag in metrics)


@pytest.fixture
def odd(contents: Contents) -> Contents:
    """A run with a layer whose name leads upwards, and is too long for a file's; its files lie far away."""
    layer, png = "../../../up/" + "é" * 300, contents.pictures["dissect.conv.0/units"]
    folder = find_place("memory://odd")
    files = []
    for file in [*contents.files, contents.players[0].file]:
        files.append(folder / file.name)
        with whole(files[-1]) as copy:
            copy.write(file.open("rb").read())
    return Contents(
        name="dissect",
        step=10,
        scores=contents.scores,
        labels=contents.labels,
        scalars={f"dissect.{layer}/loudness/pearson.clip/best": 0.5},
        pictures={f"dissect.{layer}/units": png},
        players=[Player("dissect/playlist/loudness/1", "conv.0, unit 1", files[1])],
        files=files[:1],
    )


def test_mlflow_takes_odd_names_and_files_from_far_away(store: str, odd: Contents, tmp_path: Path) -> None:
    logger = MLFlowLogger("odd", tracking_uri=store, artifact_location=str(tmp_path / "artifacts"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        loggers.write([logger], odd)
    (tag,) = (tag for tag in logger.experiment.get_run(logger.run_id).data.metrics if "loudness" in tag)
    assert tag.startswith("dissect.../__/__/up/___")
    assert tag.endswith("/loudness/pearson.clip/best")
    names = [path.name for path in (tmp_path / "artifacts").rglob("*.*")]
    assert {file.name for file in [*odd.files, odd.players[0].file]} <= set(names)
    assert [name for name in names if name.endswith(".png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "artifacts", "clip00003-from0.00s.wav", "epoch=0000-step=00000010.parquet",
    ]  # fmt: skip


def test_wandb_takes_odd_names_and_files_from_far_away(offline: Any, odd: Contents, tmp_path: Path) -> None:
    import wandb

    loggers.write([offline], odd)
    media = Path(offline.experiment.dir, "media")
    wandb.finish()
    (sound,) = media.rglob("*.wav")
    with wave.open(str(sound)) as file:
        assert file.getnframes() == RATE
    (picture,) = media.rglob("*.png")
    assert picture.name.startswith("units_")
    assert list(tmp_path.rglob("units_*.png")) == [picture]


def test_tensorboard_grows_with_the_logarithm_of_the_runs(contents: Contents, tmp_path: Path) -> None:
    """All scalars; of what takes room, all of the first ten runs, and later ones never a tenth of them apart."""
    logger = TensorBoardLogger(tmp_path / "logs")
    for run in range(1, 301):
        loggers.write([logger], replace(contents, step=run))
    events = read(tmp_path / "logs")
    assert len(events.Scalars("dissect/labelled_loudness/conv.0")) == 300
    shown = [image.step for image in events.Images("dissect.conv.0/units")]
    assert shown[:10] == list(range(1, 11))
    assert all(after <= 1.1 * before + 1 for before, after in itertools.pairwise([*shown[9:], 300]))
    assert len(shown) < 10 + np.log(300 / 10) / np.log(1.1)
    assert [sound.step for sound in events.Audio("dissect/playlist/loudness/1")] == shown
    assert [histogram.step for histogram in events.Histograms("dissect.conv.0/loudness/pearson.clip")] == shown
