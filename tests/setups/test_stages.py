"""Validation, tests and trainings that share a folder keep apart."""

import os
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_dissect import Scores
from lightning_dissect.files.playlists import load_playlists
from lightning_dissect.report.html import write_report
from lightning_dissect.report.run_folder import find_score_files

LAYERS = ["network.level"]


def epochs(folder: str | Path, **arguments: Any) -> list[int]:
    return Scores.load(folder, **arguments).table["epoch"].unique().tolist()


@pytest.mark.parametrize("order", [("validate", "test"), ("test", "validate")])
def test_a_test_is_kept_beside_the_validation_of_the_same_step(
    order: tuple[str, str], tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    logger = CSVLogger(tmp_path)
    watch, model = callback(layers=LAYERS), module()
    fit = trainer(watch, logger=logger)
    fit.fit(model, data(), data())
    found = {}
    for stage in order:
        getattr(fit, stage)(model, data(), verbose=False)
        found[stage] = watch.scores
        assert watch.scores.table["stage"].unique().tolist() == [stage]
    folder = Path(logger.log_dir)
    assert sorted(os.listdir(folder / "dissect-test")) == [
        "audio", "pictures", "playlist.parquet", "test-epoch=0002-step=00000008.parquet",
    ]  # fmt: skip
    for stage, scores in found.items():
        table = Scores.load(folder, stage=stage).last()
        assert table["stage"].unique().tolist() == [stage]
        assert table["score"].equals(scores.table["score"].set_axis(table.index))
    # After the fit its epochs are 0 and 1; Lightning counts the validation after it as epoch 2.
    assert (epochs(folder), epochs(folder, stage="validate"), epochs(folder, stage="test")) == (
        [0, 1, 2],
        [0, 1, 2],
        [2],
    )
    assert epochs(folder / "dissect-test") == [2]
    assert load_playlists(folder / "dissect")["epoch"].unique().tolist() == [2]
    assert {file.parent.name for file in find_score_files(folder)} == {"dissect"}
    assert write_report(folder) == folder / "dissect" / "report.html"
    assert write_report(folder / "dissect-test") == folder / "dissect-test" / "report.html"


def test_the_curves_of_tests_are_others_than_those_of_validation(
    tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit = trainer(callback(layers=LAYERS), logger=logger)
    model = module()
    fit.validate(model, data(), verbose=False)
    fit.test(model, data(), verbose=False)
    tags = [EventAccumulator(str(file)).Reload().Tags() for file in tmp_path.rglob("events.out.tfevents*")]
    for name in ("dissect", "dissect-test"):
        assert [f"{name}.network.level/rms/pearson.clip/best" in found["scalars"] for found in tags].count(True) == 1


def test_q_values_are_within_a_stage(tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any) -> None:
    watch = callback(layers=LAYERS)
    fit = trainer(watch, logger=CSVLogger(tmp_path))
    model, parts = module(), []
    for stage in ("validate", "test"):
        getattr(fit, stage)(model, data(), verbose=False)
        parts.append(watch.scores.table)
    import pandas as pd

    both = Scores(pd.concat(parts, ignore_index=True).drop(columns="q_value"))
    assert both.table["q_value"].equals(pd.concat(parts, ignore_index=True)["q_value"])
    assert both.last()["stage"].unique().tolist() == ["test"]
    assert both.filter(stage="validate").table["stage"].unique().tolist() == ["validate"]


def test_a_file_from_before_there_were_stages_is_of_validation(
    tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    import pyarrow.parquet as pq

    logger = CSVLogger(tmp_path)
    fit = trainer(callback(layers=LAYERS), logger=logger)
    fit.fit(module(), data(), data())
    old = find_score_files(logger.log_dir)[0]
    pq.write_table(pq.read_table(old).drop_columns(["stage"]), old)
    assert Scores.load(logger.log_dir).table["stage"].unique().tolist() == ["validate"]
    assert epochs(logger.log_dir) == [0, 1]


def test_a_stage_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage='train' is none of 'validate' and 'test'"):
        Scores.load(tmp_path, stage="train")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no scores of stage='test' here"):
        Scores.load(tmp_path, stage="test")


def test_a_rerun_into_an_old_folder_sets_its_epochs_aside(
    tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    old = CSVLogger(tmp_path, version=0)
    fit = trainer(callback(layers=LAYERS), logger=old, max_epochs=4)
    fit.fit(model := module(), data(), data())
    fit.test(model, data(), verbose=False)
    folder = Path(old.log_dir)
    before = {file.name: file.read_bytes() for file in folder.rglob("*epoch=*.parquet")}
    watch = callback(layers=LAYERS)
    with pytest.warns(UserWarning, match="4 score files of an earlier training") as caught:
        trainer(watch, logger=CSVLogger(tmp_path, version=0), max_epochs=2).fit(module(), data(), data())
    assert len([warning for warning in caught if "set aside" in str(warning.message)]) == 2  # of dissect, dissect-test
    assert epochs(folder) == [0, 1]
    aside = {file.name.removesuffix(".old"): file.read_bytes() for file in folder.rglob("*.old")}
    assert aside == before


def test_a_resumed_fit_continues_what_lies_before_it(
    tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    """The checkpoint is of the second epoch of four; the last two are of another branch of time."""
    old = CSVLogger(tmp_path, version=0)
    first = trainer(callback(layers=LAYERS), logger=old, max_epochs=2)
    first.fit(model := module(), data(), data())
    first.save_checkpoint(tmp_path / "second.ckpt")
    first.fit_loop.max_epochs = 4
    first.fit(model, data(), data())  # the same trainer goes on
    folder = Path(old.log_dir)
    assert epochs(folder) == [0, 1, 2, 3]
    assert not list(folder.rglob("*.old"))
    resumed = trainer(callback(layers=LAYERS), logger=CSVLogger(tmp_path, version=0), max_epochs=3)
    with pytest.warns(UserWarning, match="2 score files of an earlier training"):
        resumed.fit(module(), data(), data(), ckpt_path=tmp_path / "second.ckpt")
    assert epochs(folder) == [0, 1, 2]
    assert sorted(file.name for file in folder.rglob("*.old")) == [
        "epoch=0002-step=00000012.parquet.old", "epoch=0003-step=00000016.parquet.old",
    ]  # fmt: skip


def test_a_validation_sets_nothing_aside_and_the_fit_after_it_keeps_it(
    tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    """The scores before training are where a training's history begins."""
    old = CSVLogger(tmp_path, version=0)
    trainer(callback(layers=LAYERS), logger=old).fit(module(), data(), data())
    fit = trainer(callback(layers=LAYERS), logger=CSVLogger(tmp_path, version=0), max_epochs=1)
    model = module()
    fit.validate(model, data(), verbose=False)
    assert len(find_score_files(old.log_dir)) == 3
    with pytest.warns(UserWarning, match="2 score files of an earlier training"):
        fit.fit(model, data(), data())
    assert [file.name for file in find_score_files(old.log_dir)] == [
        "epoch=0000-step=00000000.parquet", "epoch=0000-step=00000004.parquet",
    ]  # fmt: skip
