"""Folders that a run is written into: named oddly, far away, linked elsewhere, deleted under way; and odd layers."""

import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_dissect import Scores
from lightning_dissect.files import find_place
from lightning_dissect.files.layout import picture_file
from lightning_dissect.report.html import write_report
from lightning_dissect.report.run_folder import find_score_files
from lightning_dissect.run.playlist_files import load_playlists


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
@pytest.mark.parametrize("where", ["lr:0.1", "memory://logs/a", "file://{here}/logs"])
def test_a_run_is_written_wherever_its_logger_writes(
    where: str, kind: Any, here: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    """The table, playlists that can be played, pictures that can be seen; and no folder anywhere else."""
    logger = kind(where.format(here=here))
    trainer(callback(layers=["network.level"]), logger=logger).fit(module(), data(), data())
    assert Scores.load(logger.log_dir).table["epoch"].unique().tolist() == [0, 1]
    folder = find_place(logger.log_dir) / "dissect"
    with (folder / picture_file("units", "network.level")).open("rb") as file:
        assert Image.open(io.BytesIO(file.read())).width == 980
    playlist = load_playlists(folder)
    assert playlist["epoch"].unique().tolist() == [1]
    assert all((folder / file).is_file() for file in playlist["file"].dropna())
    assert playlist["file"].notna().any()
    assert os.listdir(here) == {"lr:0.1": ["lr:0.1"], "memory": []}.get(where.partition("://")[0], ["logs"])


def test_a_report_of_a_folder_far_away_says_that_it_cannot(here: Path) -> None:
    with pytest.raises(ValueError, match=r"memory://logs: only folders of this machine .* Copy the run's folder"):
        find_score_files("memory://logs")


class Odd(pl.LightningModule):
    """Four units follow the level of the clip in some way; ``weight`` is there to be trained."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        for name in names:
            self._modules[name] = nn.Identity()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.square()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        level = batch[0].square().mean(1, keepdim=True).sqrt()
        for layer in self._modules.values():
            assert layer is not None
            layer(torch.cat([level, level.square(), -level, level.exp()], 1))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


NAMES = ["/tmp/absolute", "../../../upwards", "a/b/../../../../c", "overview.png", "x" * 300, "é" * 200, "<b>&"]


def test_pictures_stay_in_the_runs_folder_whatever_a_layer_is_called(
    tmp_path: Path, data: Any, callback: Any, trainer: Any
) -> None:
    logger = CSVLogger(tmp_path / "logs")
    names = [name.replace("/tmp", str(tmp_path)) for name in NAMES]
    trainer(callback(layers=names), logger=logger, max_epochs=1).fit(Odd(names), data(), data())
    folder = tmp_path / "logs" / "lightning_logs" / "version_0" / "dissect"
    assert all(file.startswith("logs/lightning_logs/version_0/") for file in everything(tmp_path))
    pictures = [file for file in everything(folder / "pictures") if file.endswith("/units.png")]
    assert len(pictures) == len(names)
    assert all(file.count("/") == 1 for file in pictures)
    assert Scores.load(folder).table["layer"].unique().tolist() == names
    page = write_report(folder, tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64") >= len(names)


@pytest.mark.parametrize("length", [1000, 2500])
def test_long_names_are_drawn_as_fast_as_short_ones(
    length: int, tmp_path: Path, data: Any, callback: Any, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words that are laid out, which take the time, do not grow with the name; its whole is in the table."""
    from lightning_dissect.report import sheet

    measured: list[str] = []
    get = sheet.text_to_path.get_text_width_height_descent
    monkeypatch.setattr(
        sheet.text_to_path,
        "get_text_width_height_descent",
        lambda words, *rest, **named: measured.append(words) or get(words, *rest, **named),
    )
    board = TensorBoardLogger(tmp_path)
    name = ("encoder/block/" * length)[:length]
    trainer(callback(layers=[name]), logger=board).fit(Odd([name]), data(), data())
    assert Scores.load(board.log_dir).table["layer"].unique().tolist() == [name]
    # Without the rule, each of a name's letters is measured once for each of the letters that are left out.
    assert sum(map(len, measured)) < 60_000
    (events,) = Path(board.log_dir).glob("events.out.tfevents*")
    assert f"dissect.{name}/rms/pearson.clip/best" in EventAccumulator(str(events)).Reload().Tags()["scalars"]


@pytest.mark.parametrize("linked", ["dissect/pictures", "dissect/pictures/network.level", "dissect/audio"])
def test_links_out_of_the_runs_folder_are_not_followed(
    linked: str, tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    for name in ("units.png", "overview.png", "clip00001-from0.00s.wav", "own.wav"):
        (private / name).write_text("the user's own")
    logger = CSVLogger(tmp_path, version=0)
    link = Path(logger.log_dir, linked)
    link.parent.mkdir(parents=True)
    link.symlink_to(private)
    with pytest.warns(UserWarning, match=f"{link} is a link that leads out of .* nothing is written there") as caught:
        trainer(callback(layers=["network.level"]), logger=logger).fit(module(), data(), data())
    assert len([warning for warning in caught if "nothing is written there" in str(warning.message)]) == 1
    assert {file.name: file.read_text() for file in private.iterdir()} == dict.fromkeys(
        ("units.png", "overview.png", "clip00001-from0.00s.wav", "own.wav"), "the user's own"
    )
    assert Scores.load(logger.log_dir).table["epoch"].unique().tolist() == [0, 1]
    assert len(load_playlists(link.parents[linked.count("/") - 1])) > 0


def test_a_folder_that_is_itself_a_link_is_named(
    tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    logger = CSVLogger(tmp_path, version=0)
    private = tmp_path / "private"
    private.mkdir()
    Path(logger.log_dir).mkdir(parents=True)
    Path(logger.log_dir, "dissect").symlink_to(private)
    fit = trainer(callback(layers=["network.level"], on_error="warn"), logger=logger)
    with pytest.warns(UserWarning, match="dissect is a link that leads out of the run's folder"):
        fit.fit(module(), data(), data())
    assert (fit.current_epoch, os.listdir(private)) == (2, [])


class Deletes(pl.Callback):
    """Deletes a folder of the run in the middle of each validation, or at its end, before the scores are written."""

    def __init__(self, name: str, hook: str) -> None:
        self.name, self.deleted = name, 0
        setattr(self, hook, self.delete)

    def delete(self, trainer: Any, *_: Any) -> None:
        folder = Path(trainer.logger.log_dir, self.name)
        self.deleted += folder.exists()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("hook", ["on_validation_batch_start", "on_validation_end"])
@pytest.mark.parametrize("name", ["dissect", "dissect/audio", "dissect/pictures"])
def test_folders_that_are_deleted_under_way_are_made_again(
    name: str, hook: str, tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any
) -> None:
    logger, deletes = CSVLogger(tmp_path), Deletes(name, hook)
    trainer(deletes, callback(layers=["network.level"]), logger=logger, max_epochs=3).fit(module(), data(), data())
    assert deletes.deleted >= 2
    epochs = Scores.load(logger.log_dir).table["epoch"].unique().tolist()
    assert epochs == ([2] if name == "dissect" else [0, 1, 2])
    folder = Path(logger.log_dir, "dissect")
    assert all((folder / file).is_file() for file in load_playlists(folder)["file"].dropna())
    assert (folder / "pictures" / "overview.png").is_file()


@pytest.mark.parametrize("places", [1, 2, 5, 9])
def test_a_folder_deleted_while_it_is_written_into_ends_no_training(
    places: int, tmp_path: Path, module: Any, data: Any, callback: Any, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of the folder and that of the n-th file in it, from the second epoch on."""
    logger, counted, real = TensorBoardLogger(tmp_path), itertools.count(1), Path.open

    def delete_and_open(self: Path, *arguments: Any, **named: Any) -> Any:
        if self.suffix == ".partial" and fit.current_epoch == 1 and next(counted) == places:
            shutil.rmtree(Path(logger.log_dir, "dissect"))
        return real(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", delete_and_open)
    fit = trainer(callback(layers=["network.level"], on_error="auto"), logger=logger, max_epochs=3)
    with pytest.warns(UserWarning, match="switched off for the rest of this training: .*No such file"):
        fit.fit(module(), data(), data())
    assert fit.current_epoch == 3


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the disk full after so many bytes of ours."""
    left, real = [0], Path.open

    def fill(count: int) -> None:
        left[0] = count
        monkeypatch.setattr(Path, "open", open_limited)

    def open_limited(self: Path, *arguments: Any, **named: Any) -> Any:
        file = real(self, *arguments, **named)
        return Limited(file, left) if self.suffix == ".partial" else file

    return fill


class Limited(io.BufferedIOBase):
    """A file on a disk with so many bytes left."""

    def __init__(self, file: Any, left: list[int]) -> None:
        self.file, self.left = file, left

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.left[0] -= len(content)
        if self.left[0] < 0:
            raise OSError(28, "No space left on device")
        return int(self.file.write(content))

    def tell(self) -> int:
        return int(self.file.tell())

    def fileno(self) -> int:
        return int(self.file.fileno())

    def flush(self) -> None:
        if not self.file.closed:
            self.file.flush()

    def close(self) -> None:
        self.file.close()
        super().close()


# The first run leaves 200 to 300 kB, pictures the most of it: these are in its table, in its audio, and in a picture.
@pytest.mark.parametrize("room", [0, 1_000, 100_000, 200_000])
def test_a_disk_that_becomes_full_ends_no_training_and_leaves_whole_files(
    room: int,
    full_after: Callable[[int], None],
    tmp_path: Path,
    module: Any,
    data: Any,
    callback: Any,
    trainer: Any,
) -> None:
    logger = TensorBoardLogger(tmp_path)
    fills = pl.callbacks.LambdaCallback(
        on_train_epoch_start=lambda fit, _: full_after(room) if fit.current_epoch == 1 else None
    )
    watch = callback(layers=["network.level", "network.conv"], on_error="auto")
    fit = trainer(watch, fills, logger=logger, max_epochs=3)
    with pytest.warns(UserWarning, match="switched off for the rest of this training: .*No space left"):
        fit.fit(module(), data(), data())
    assert fit.current_epoch == 3
    folder = Path(logger.log_dir, "dissect")
    assert not [file for file in everything(folder) if "partial" in file]
    assert_whole(folder)


def assert_whole(folder: Path) -> None:
    """Every file under a name of its own can be read."""
    for file in folder.rglob("*.png"):
        with Image.open(file) as picture:
            picture.load()
    playlist = load_playlists(folder)
    assert all((folder / file).is_file() for file in playlist["file"].dropna())
    Scores.load(folder)
