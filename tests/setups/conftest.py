"""A small training, and what it leaves behind."""

import copy
import gc
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.data import DataLoader, TensorDataset

from lightning_dissect import DissectCallback
from lightning_dissect.activations.activation import first_tensor
from lightning_dissect.activations.capture import Capture

RATE = 8_000


class Network(nn.Module):
    """Units that learn, and one that is planted: ``level``, the clip's root mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 64, 32)
        self.norm = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.2)
        self.level = nn.Identity()
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.norm(self.conv(x[:, None])))
        level = self.level(x.square().mean(1, keepdim=True).sqrt())
        return self.head(torch.cat([self.drop(hidden.mean(-1)), level], 1))


class Module(pl.LightningModule):
    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network or Network()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0].to(self.dtype)).float(), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("loss", nn.functional.cross_entropy(self.network(batch[0].to(self.dtype)).float(), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam((p for p in self.parameters() if p.requires_grad), 1e-2, eps=1e-3)


@pytest.fixture(scope="session")
def module() -> type[Module]:
    return Module


@pytest.fixture(scope="session")
def network() -> type[Network]:
    return Network


@pytest.fixture(scope="session")
def data(clips: Callable[..., Tensor]) -> Callable[[], DataLoader[Any]]:
    """Makes data loaders of 24 clips of half a second, six a batch."""
    tensors = TensorDataset(clips(24, seconds=0.5, sample_rate=RATE), torch.arange(24) % 2)
    return lambda: DataLoader(tensors, batch_size=6)


@pytest.fixture(scope="session")
def callback() -> Callable[..., DissectCallback]:
    def make(**arguments: Any) -> DissectCallback:
        defaults = {"features": ["rms", "centroid"], "metrics": ["pearson"], "n_fft": 512, "hop_length": 256}
        return DissectCallback(RATE, **{**defaults, "on_error": "raise", **arguments})

    return make


@pytest.fixture
def trainer(tmp_path: Any) -> Callable[..., pl.Trainer]:
    def make(*callbacks: Any, **arguments: Any) -> pl.Trainer:
        defaults: dict[str, Any] = {
            "max_epochs": 2,
            "logger": False,
            "accelerator": "cpu",
            "devices": 1,
            "default_root_dir": tmp_path,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        return pl.Trainer(callbacks=list(callbacks), **{**defaults, **arguments})

    return make


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[StorageWeakRef]:
    """The memory of every activation that is captured, without keeping it alive."""
    seen: list[StorageWeakRef] = []
    make = Capture.__init__

    def noting(self: Capture, layers: Any, receive: Any) -> None:
        def receive_and_note(name: str, layer: nn.Module, output: Any) -> None:
            seen.append(StorageWeakRef(first_tensor(output).untyped_storage()))
            receive(name, layer, output)

        make(self, layers, receive_and_note)

    monkeypatch.setattr(Capture, "__init__", noting)
    return seen


@pytest.fixture
def assert_no_trace(captured: list[StorageWeakRef]) -> Callable[[nn.Module], None]:
    """Asserts that something was captured, and that no hook, no activation and no stance of the compiler stays."""

    def check(module: nn.Module) -> None:
        gc.collect()
        assert captured
        assert not [ref for ref in captured if not ref.expired()]
        for layer in module.modules():
            assert not layer._forward_hooks
            assert not layer._forward_pre_hooks
            assert not layer._backward_hooks
        if "torch._dynamo" in sys.modules:
            assert torch._dynamo.eval_frame._stance.stance == "default"

    return check


@pytest.fixture(scope="session")
def moved() -> Callable[[Tensor], list[Tensor]]:
    """Makes clips twice that differ from others by a millionth of each sample at most."""

    def move(waveform: Tensor) -> list[Tensor]:
        noises = (torch.rand(waveform.shape, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
        return [waveform * (1 + 1e-6 * (2 * noise - 1)) for noise in noises]

    return move


@pytest.fixture
def assert_same_scores(left_out: Callable[[int, int, str], None]) -> Callable[..., None]:
    """Asserts that processes have the scores of one, where that one keeps its own when its clips are :func:`moved`."""

    def near(one: pd.DataFrame, other: pd.DataFrame, column: str) -> Any:
        both = one.merge(other, on=["layer", "unit", "feature", "level", "metric"], suffixes=("", "_other"))
        assert len(both) == len(one) == len(other)
        assert both["n_clips"].equals(both["n_clips_other"])
        # Clips are shared out differently: sums over 24 clips run in another order, and matrix products, too.
        return np.isclose(both[column], both[f"{column}_other"], rtol=1e-5, atol=1e-5, equal_nan=True)

    def check(one: pd.DataFrame, others: list[pd.DataFrame], when_moved: list[pd.DataFrame]) -> None:
        for column in ("score", "null", "effect"):
            # Below the clip level these are means over other pairs of clips, which batches make.
            rows = one["level"].eq("clip") | (column == "score")
            kept = np.all([near(one, table, column) for table in when_moved], axis=0)
            for table in others:
                assert near(one, table, column)[kept & rows].all(), column
            left_out(int((rows & ~kept).sum()), int(rows.sum()), f"rows by {column}")
            for metric in one["metric"][rows].unique():
                # Of SIFT's, one key point or match of 24 clips may come or go in each row.
                assert kept[rows & one["metric"].eq(metric)].mean() >= (0.5 if metric == "sift" else 0.98), metric

    return check


class Training(NamedTuple):
    """What a training is made of, and what is asked of it: the fixtures of these names, and two functions."""

    module: type[Module]
    data: Callable[[], DataLoader[Any]]
    callback: Callable[..., DissectCallback]
    trainer: Callable[..., pl.Trainer]
    assert_no_trace: Callable[[nn.Module], None]

    def watched(self, model: Any, watch: DissectCallback, **arguments: Any) -> Any:
        """Fit with the callback, assert that nothing of it stays, and return its labels."""
        self.trainer(watch, **arguments).fit(model, self.data(), self.data())
        self.assert_no_trace(model)
        assert watch.scores is not None
        return watch.scores.labels()

    def assert_same(self, train: Callable[[list[Any]], tuple[Any, pl.Trainer]], watch: DissectCallback) -> None:
        """Train from one seed without the callback and with it, and assert that both leave the same behind.

        Args:
            train: trains with some callbacks of ours, and returns the model and its trainer.
            watch: our callback.
        """
        left = []
        for own in ([], [watch]):
            pl.seed_everything(7, verbose=False)
            model, fit = train(own)
            left.append(
                {
                    "epoch": fit.current_epoch,
                    "weights": copy.deepcopy(model.state_dict()),
                    "gradients": {name: parameter.grad for name, parameter in model.named_parameters()},
                    "modes": {name: layer.training for name, layer in model.named_modules()},
                    "random": torch.get_rng_state(),
                    "logged": fit.callback_metrics,
                }
            )
        assert_equal(*left)
        self.assert_no_trace(model)


def assert_equal(plain: dict[str, Any], watched: dict[str, Any]) -> None:
    for what, before in plain.items():
        after = watched[what]
        if isinstance(before, dict):
            assert before.keys() == after.keys(), what
            pairs = [(before[key], after[key]) for key in before]
        else:
            pairs = [(before, after)]
        for a, b in pairs:
            assert torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b, what


@pytest.fixture
def training(module: Any, data: Any, callback: Any, trainer: Any, assert_no_trace: Any) -> Training:
    return Training(module, data, callback, trainer, assert_no_trace)
