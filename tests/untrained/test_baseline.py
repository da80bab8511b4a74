"""The baseline of a training: what it holds, when it is made, and that the training does not notice."""

import copy
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from lightning_dissect import DissectCallback, Scores
from lightning_dissect.untrained.baseline import check_baseline
from lightning_dissect.untrained.copies import make_copies

RATE = 8_000
QUIET = {"enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(1, 4, 64, 32), nn.BatchNorm1d(4)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x[:, None])).relu().mean(-1)))


def module_of(package: Any) -> type[Any]:
    class Talking(package.LightningModule):  # type: ignore[name-defined, misc]
        """Logs in every way that there is, draws random numbers, and notes the clips that it sees."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.mean, self.seen = Network(), MeanMetric(), []

        def setup(self, stage: str) -> None:
            self.seen.append(f"setup {stage}")

        def configure_callbacks(self) -> list[Any]:
            return [package.callbacks.EarlyStopping("loss", patience=9, strict=False)]

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.seen.append(("train", *batch[1].tolist()))
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1] % 2)

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
            self.seen.append(("validate", *batch[1].tolist()))
            loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1] % 2)
            torch.rand(1), np.random.rand(), random.random()
            self.mean(loss)
            self.log("mean", self.mean, on_epoch=True)
            self.log("loss", loss, prog_bar=True, sync_dist=True)
            self.log_dict({"double": 2 * loss})
            if self.logger is not None:
                self.logger.log_metrics({"direct": float(loss)}, self.trainer.global_step)
                if hasattr(self.logger.experiment, "add_scalar"):
                    self.logger.experiment.add_scalar("written", float(loss), len(self.trainer.val_dataloaders))
            return loss

        def on_validation_epoch_end(self) -> None:
            self.seen.append(sorted(self.trainer.callback_metrics))
            self.log("late", self.trainer.current_epoch)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    return Talking


Talking = module_of(pl)


@pytest.fixture(scope="module")
def data(clips: Callable[..., Tensor]) -> TensorDataset:
    return TensorDataset(clips(24, seconds=0.5, sample_rate=RATE), torch.arange(24))


def watching(untrained: Any = 2, **arguments: Any) -> DissectCallback:
    defaults = {"features": ["rms", "centroid"], "metrics": ["pearson"], "n_fft": 512, "hop_length": 256}
    return DissectCallback(
        RATE, ["network.*"], **{**defaults, "untrained": untrained, "on_error": "raise", **arguments}
    )


def trainer(callbacks: Any, folder: Path, package: Any = pl, **arguments: Any) -> Any:
    defaults: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "default_root_dir": folder}
    return package.Trainer(callbacks=callbacks, **{**defaults, **QUIET, **arguments})


def random_state() -> list[Any]:
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "no sanity check": ({}, {"num_sanity_val_steps": 0}),
    "a later first validation": ({}, {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}),
    "shuffled": ({"shuffle": True}, {}),
    "own generators": ({"shuffle": True, "generator": 3}, {"num_sanity_val_steps": 0}),
    "workers": ({"shuffle": True, "num_workers": 1}, {}),
    "persistent workers": ({"shuffle": True, "num_workers": 1, "persistent_workers": True, "generator": 3}, {}),
    "a few batches": ({"shuffle": True}, {"limit_val_batches": 2, "limit_train_batches": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same_to_the_bit(case: str, data: TensorDataset, tmp_path: Path) -> None:
    """Weights, buffers, modes, random numbers, the clips of each batch, what is logged, and what the module notes."""
    of_loader, of_trainer = CASES[case]
    left: list[dict[str, Any]] = []
    for untrained in (None, 0, 2):
        pl.seed_everything(7, verbose=False)
        model = Talking()
        loaders = []
        for _ in range(2):
            own = {"generator": torch.Generator().manual_seed(3)} if "generator" in of_loader else {}
            loaders.append(DataLoader(data, 6, **{**of_loader, **own}))
        logger = TensorBoardLogger(tmp_path / str(untrained))
        fit = trainer([] if untrained is None else [watching(untrained)], tmp_path, logger=logger, **of_trainer)
        fit.fit(model, *loaders)
        left.append(
            {
                "weights": {name: tensor.tolist() for name, tensor in model.state_dict().items()},
                "modes": [part.training for part in model.modules()],
                "random": random_state(),
                "generators": [loader.generator and loader.generator.get_state().tolist() for loader in loaders],
                "seen": model.seen,
                "logged": {name: value.item() for name, value in fit.callback_metrics.items()},
                "mean": [value.tolist() for value in model.mean._defaults.values()],
                "grad": torch.is_grad_enabled(),
            }
        )
    for name, value in left[0].items():
        assert left[1][name] == value, name
        assert left[2][name] == value, name


@pytest.mark.parametrize("package", [pl, lightning.pytorch])
@pytest.mark.parametrize("untrained", [2, "start", lambda: module_of(pl)()])
def test_the_baseline_is_what_a_validation_of_each_copy_gives(
    package: Any, untrained: Any, data: TensorDataset, tmp_path: Path
) -> None:
    pl.seed_everything(7, verbose=False)
    model = module_of(package)()
    first = copy.deepcopy(model)
    loaders = [DataLoader(data, 6), DataLoader(torch.utils.data.Subset(data, range(12)), 6)]
    watch = watching(untrained, max_clips=9)
    trainer([watch], tmp_path, package).fit(model, DataLoader(data, 6), loaders)
    assert watch.scores is not None
    assert watch.scores.baseline is not None
    baseline = watch.scores.baseline.table
    assert baseline["step"].unique().tolist() == [0]
    copies = [first] if untrained == "start" else list(make_copies(first, untrained))
    assert baseline["epoch"].nunique() == len(copies)
    for number, made in enumerate(copies):
        alone = watching(0, max_clips=9)
        trainer([alone], tmp_path, package).validate(made, loaders, verbose=False)
        assert alone.scores is not None
        rows = baseline[baseline["epoch"] == number].reset_index(drop=True).drop(columns="epoch")
        pd.testing.assert_frame_equal(rows, alone.scores.table.drop(columns="epoch"))
    assert set(baseline["dataloader"]) == {0, 1}
    assert not np.allclose(baseline["score"][: len(watch.scores)], watch.scores.table["score"], equal_nan=True)


def count_copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []

    def counting(*arguments: Any) -> Any:
        for number, one in enumerate(make_copies(*arguments)):
            made.append(number)
            yield one

    monkeypatch.setattr("lightning_dissect.untrained.baseline.make_copies", counting)
    return made


def test_a_fit_that_goes_on_keeps_its_baseline_if_it_fits(
    data: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_copies(monkeypatch)
    loader = DataLoader(data, 6)

    def fit(epochs: int, ckpt_path: Any = None, **arguments: Any) -> DissectCallback:
        watch = watching(**arguments)
        one = trainer([watch], tmp_path, logger=CSVLogger(tmp_path, version="a"), max_epochs=epochs)
        one.fit(Talking(), loader, loader, ckpt_path=ckpt_path)
        one.save_checkpoint(tmp_path / "last.ckpt")
        return watch

    first = fit(1).scores
    assert first is not None
    assert made == [0, 1]
    second = fit(2, tmp_path / "last.ckpt").scores
    assert made == [0, 1]
    assert second is not None
    assert second.baseline is not None
    assert first.baseline is not None
    pd.testing.assert_frame_equal(second.baseline.table, first.baseline.table)
    joined = Scores.load(tmp_path)
    assert joined.table["epoch"].unique().tolist() == [0, 1]
    assert joined.baseline is not None
    pd.testing.assert_frame_equal(joined.baseline.table, first.baseline.table)

    fit(3, tmp_path / "last.ckpt", features=["rms"])  # other features
    assert made == [0, 1] * 2
    (tmp_path / "lightning_logs" / "a" / "dissect" / "untrained.parquet").write_bytes(b"broken")
    fit(4, tmp_path / "last.ckpt", features=["rms"])
    assert made == [0, 1] * 3
    with pytest.warns(UserWarning, match="score files of an earlier training, .* are set aside"):
        fit(1)  # begins anew
    assert made == [0, 1] * 4
    with pytest.warns(UserWarning, match="score files of an earlier training, .* are set aside"):
        fit(1, untrained=0)
    assert Scores.load(tmp_path).baseline is None


@pytest.mark.parametrize("arguments", [{"fast_dev_run": True}, {"limit_val_batches": 0}])
def test_without_validations_there_is_none(
    arguments: dict[str, Any], data: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_copies(monkeypatch)
    loader = DataLoader(data, 6)
    trainer([watching()], tmp_path, **arguments).fit(Talking(), loader, loader)
    assert not made


def test_every_n_epochs_does_not_concern_it_and_a_test_has_none(data: TensorDataset, tmp_path: Path) -> None:
    loader = DataLoader(data, 6)
    watch = watching(every_n_epochs=2)
    fit = trainer([watch], tmp_path, max_epochs=2, logger=CSVLogger(tmp_path))
    model = Talking()
    fit.fit(model, loader, loader)
    assert watch.scores is not None
    assert watch.scores.baseline is not None
    model.test_step = model.validation_step
    fit.test(model, loader, verbose=False)
    assert watch.scores.baseline is None
    assert {file.name for file in tmp_path.rglob("untrained.parquet")} == {"untrained.parquet"}


@pytest.mark.parametrize("whole", [False, True])
def test_copies_of_compiled_networks_run_as_they_are_written(whole: bool, data: TensorDataset, tmp_path: Path) -> None:
    model, loader, tables = Talking(), DataLoader(data, 6), []
    for compiled in (False, True):
        one: Any = copy.deepcopy(model)
        if compiled and whole:
            one = torch.compile(one, backend="eager")
        elif compiled:
            one.network = torch.compile(one.network, backend="eager")
        watch = watching("start")
        trainer([watch], tmp_path, max_epochs=1).fit(one, loader, loader)
        assert watch.scores is not None
        assert watch.scores.baseline is not None
        tables.append(watch.scores.baseline.table)
    pd.testing.assert_frame_equal(*tables)


class Gain(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))


def test_a_network_that_cannot_be_initialised_anew_is_refused_before_anything_runs(
    data: TensorDataset, tmp_path: Path
) -> None:
    model, loader = Talking(), DataLoader(data, 6)
    model.extra = Gain()
    with pytest.raises(ValueError, match="no `reset_parameters` gives new weights to 'extra'"):
        trainer([watching(on_error="auto")], tmp_path).fit(model, loader, loader)
    assert len(model.seen) == 1
    watch = watching(on_error="warn")
    with pytest.warns(UserWarning, match="switched off for the rest of this training: untrained: no"):
        trainer([watch], tmp_path).fit(model, loader, loader)
    assert watch.scores is None


def test_weights_in_parts_are_refused() -> None:
    class FSDPStrategy:
        pass

    sharded = SimpleNamespace(strategy=FSDPStrategy())
    check_baseline(sharded, nn.Linear(2, 2), 0)
    for untrained in (2, "start", nn.Identity):
        with pytest.raises(ValueError, match=r"untrained=.*: with FSDPStrategy each process has a part .*dissect\("):
            check_baseline(sharded, nn.Linear(2, 2), untrained)  # type: ignore[arg-type]


class Doubling(pl.LightningDataModule):
    """Changes batches on their way, and is set up once."""

    def __init__(self, data: TensorDataset) -> None:
        super().__init__()
        self.data, self.calls = data, []

    def setup(self, stage: str) -> None:
        self.calls.append(stage)

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, 6)

    val_dataloader = train_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [2 * batch[0] + 1, batch[1]]


def test_a_data_module_has_its_say_in_batches(data: TensorDataset, tmp_path: Path) -> None:
    module, watch = Doubling(data), watching("start")
    model = Talking()
    first = copy.deepcopy(model)
    fit = trainer([watch], tmp_path, max_epochs=1)
    fit.fit(model, module)
    assert module.trainer is fit
    assert module.calls == ["fit"]
    alone = watching(0)
    trainer([alone], tmp_path).validate(first, Doubling(data), verbose=False)
    assert watch.scores is not None
    assert watch.scores.baseline is not None
    assert alone.scores is not None
    pd.testing.assert_frame_equal(watch.scores.baseline.table, alone.scores.table)


def work(rank: int, port: str, folder: Path) -> None:
    """Train in one of two processes, without the callback and with it, and leave what came of it in the folder."""
    torch.set_num_threads(1)
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"})
    data = torch.load(folder / "data.pt", weights_only=False)
    for untrained in (None, 2):
        pl.seed_everything(7, verbose=False)
        model = Talking()
        watch = [] if untrained is None else [watching(untrained)]
        logger = CSVLogger(folder, name=str(untrained), version="a")
        fit = trainer(watch, folder, devices=2, strategy=DDPStrategy(), logger=logger)
        fit.fit(model, DataLoader(data, 3, shuffle=True), DataLoader(data, 3))
        torch.save([model.state_dict(), random_state(), model.seen], folder / f"{rank}-{untrained}.pt")
    (callback,) = watch
    assert callback.scores is not None
    assert callback.scores.baseline is not None
    callback.scores.baseline.save(folder / f"{rank}.parquet")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_without_and_have_one_baseline(
    data: TensorDataset, run_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    torch.save(data, tmp_path / "data.pt")
    assert run_processes(__file__, tmp_path) == [0, 0]
    for rank in range(2):
        plain, watched = (torch.load(tmp_path / f"{rank}-{name}.pt", weights_only=False) for name in (None, 2))
        assert all(torch.equal(plain[0][name], watched[0][name]) for name in plain[0])
        assert plain[1:] == watched[1:]
    first, second = (Scores.load(tmp_path / f"{rank}.parquet").table for rank in range(2))
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(
        first, Scores.load(tmp_path / "2" / "a" / "dissect" / "untrained.parquet").table, check_exact=True
    )
    alone = watching(2)
    trainer([alone], tmp_path, max_epochs=1).fit(Talking(), DataLoader(data, 6), DataLoader(data, 6))
    assert alone.scores is not None
    assert alone.scores.baseline is not None
    one, two = (
        table[table["level"] == "clip"].reset_index(drop=True) for table in (alone.scores.baseline.table, first)
    )
    assert (one["n_clips"] == 24).all()
    pd.testing.assert_frame_equal(one.drop(columns="q_value"), two.drop(columns="q_value"), rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
