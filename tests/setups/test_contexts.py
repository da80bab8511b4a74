"""Trainings of many kinds: each finds the planted unit, and goes on as it would without the callback, to the bit."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LAYERS = ["network.conv", "network.relu", "network.level", "network.head"]


class Context(NamedTuple):
    """How a training differs from the plain one.

    Attributes:
        trainer: the Trainer's arguments.
        change: makes another module of the plain one.
        callbacks: makes callbacks that run before ours.
        loaders: makes what ``fit`` takes of a function that makes a data loader.
        arguments: our callback's arguments.
    """

    trainer: dict[str, Any] = {}  # noqa: RUF012
    change: Callable[[Any], Any] = lambda module: module
    callbacks: Callable[[], list[Any]] = list
    loaders: Callable[[Callable[[], Any]], Any] = lambda make: (make(), make())
    arguments: dict[str, Any] = {}  # noqa: RUF012


def compiled_inside(backend: str) -> Callable[[Any], Any]:
    def change(module: Any) -> Any:
        module.network = torch.compile(module.network, backend=backend)
        return module

    return change


def compiled_in_place(module: Any) -> Any:
    module.network.compile(backend="eager")
    return module


def checkpointed(reentrant: bool) -> Callable[[Any], Any]:
    class Checkpointed(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x.requires_grad_(self.training), use_reentrant=reentrant)

    def change(module: Any) -> Any:
        module.network = Checkpointed(module.network)
        return module

    return change


def with_lora(module: Any) -> Any:
    peft = pytest.importorskip("peft")
    module.network = peft.get_peft_model(module.network, peft.LoraConfig(r=2, target_modules=["head", "conv"]))
    return module


def frozen_in_part(module: Any) -> Any:
    module.network.conv.requires_grad_(False)
    module.network.norm.eval()
    module.network.drop.eval()
    return module


def expecting(dtype: torch.dtype) -> Callable[[Any], Any]:
    """Asserts that the network puts out numbers of a precision."""

    def change(module: Any) -> Any:
        def look(x: Tensor) -> Tensor:
            output = forward(x)
            assert output.dtype == dtype
            return output

        forward, module.network.forward = module.network.forward, look
        return module

    return change


def copying_itself(module: Any) -> Any:
    """Keeps and saves copies of the network while it is validated, as teachers and best models are."""

    def copy_itself(*_: Any) -> None:
        pickle.dumps(copy.deepcopy(module.network))
        torch.save(module.network, io.BytesIO())

    module.on_validation_batch_end = module.on_validation_epoch_end = copy_itself
    return module


class Cycle(nn.Module):
    """The same layer twice in one forward, and under two names."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.conv, self.relu, self.level, self.head = network.conv, network.relu, network.level, network.head
        self.mix = nn.Linear(4, 4)
        self.tied = self.mix

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.conv(x[:, None])).mean(-1)
        hidden = self.tied(torch.relu(self.mix(hidden)))
        return self.head(torch.cat([hidden, self.level(x.square().mean(1, keepdim=True).sqrt())], 1))


def tied(module: Any) -> Any:
    module.network = Cycle(module.network)
    return module


def paired(module: Any) -> Any:
    """Steps for batches of two loaders at once."""
    train, validate = module.training_step, module.validation_step
    module.training_step = lambda batch, batch_idx: train(batch["a"], batch_idx) + train(batch["b"], batch_idx)
    module.validation_step = lambda batch, batch_idx: validate(batch["a"], batch_idx)
    return module


def combined(make: Callable[[], Any]) -> Any:
    return tuple(CombinedLoader({"a": make(), "b": make()}, "max_size_cycle") for _ in range(2))


class Average(pl.callbacks.EMAWeightAveraging):
    def __init__(self) -> None:
        super().__init__(decay=0.5)


CONTEXTS = {
    "plain": Context(),
    "16-mixed": Context({"precision": "16-mixed"}),
    "float16 autocast": Context({"plugins": [MixedPrecision("16-mixed", "cpu")]}, change=expecting(torch.float16)),
    "16-true": Context({"precision": "16-true"}),
    "bf16-mixed": Context({"precision": "bf16-mixed"}, change=expecting(torch.bfloat16)),
    "bf16-true": Context({"precision": "bf16-true"}),
    "64-true": Context({"precision": "64-true"}),
    "validation within an epoch": Context({"val_check_interval": 0.5}),
    "validation every second epoch": Context({"check_val_every_n_epoch": 2}),
    "limited validation": Context({"limit_val_batches": 3}),
    "overfitting": Context({"overfit_batches": 3}),
    "fast_dev_run": Context({"fast_dev_run": 3}),
    "accumulated gradients": Context({"accumulate_grad_batches": 2}),
    "clipped gradients": Context({"gradient_clip_val": 0.1}),
    "no inference mode": Context({"inference_mode": False}),
    "several validation loaders": Context(loaders=lambda make: (make(), [make(), make()])),
    "CombinedLoader": Context(
        change=paired, loaders=combined, arguments={"waveform": lambda batch: batch["a"][0]}
    ),
    "compiled network, eager": Context(change=compiled_inside("eager")),
    "compiled network, aot_eager": Context(change=compiled_inside("aot_eager")),
    "network compiled in place": Context(change=compiled_in_place),
    "compiled LightningModule": Context(change=lambda module: torch.compile(module, backend="eager")),
    "gradient checkpointing": Context(change=checkpointed(False), arguments={"layers": ["network.inner.*"]}),
    "reentrant checkpointing": Context(change=checkpointed(True), arguments={"layers": ["network.inner.*"]}),
    "stochastic weight averaging": Context(
        {"max_epochs": 3}, callbacks=lambda: [pl.callbacks.StochasticWeightAveraging(1e-3, swa_epoch_start=1)]
    ),
    "moving average of weights": Context(callbacks=lambda: [Average()]),
    "LoRA": Context(change=with_lora, arguments={"layers": ["**.conv", "**.level", "**.head"]}),
    "frozen and partly in eval mode": Context(change=frozen_in_part),
    "copies in validation": Context(change=copying_itself),
    "tied layers": Context(change=tied, arguments={"layers": [*LAYERS, "network.tied"]}),
}  # fmt: skip


# Close to others that always run.
SLOW = {
    "accumulated gradients", "bf16-mixed", "clipped gradients", "compiled network, aot_eager", "no inference mode",
    "reentrant checkpointing",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CONTEXTS]
)
def test_training_is_the_same_to_the_bit_and_the_planted_unit_is_found(name: str, training: Any) -> None:
    context = CONTEXTS[name]
    watch = training.callback(**{"layers": LAYERS, **context.arguments})

    def train(own: list[Any]) -> tuple[Any, pl.Trainer]:
        model = context.change(training.module())
        fit = training.trainer(*context.callbacks(), *own, **copy.deepcopy(context.trainer))
        fit.fit(model, *context.loaders(training.data))
        return model, fit

    training.assert_same(train, watch)
    assert watch.scores is not None
    labels = watch.scores.labels()
    planted = labels[labels["layer"].astype(str).str.endswith(".level")]
    assert planted["feature"].tolist() == ["rms"]
    assert not labels["layer"].astype(str).str.contains("_orig_mod").any()


def test_a_resumed_training_is_the_same_to_the_bit(training: Any, tmp_path: Path) -> None:
    first, path = training.trainer(max_epochs=1), tmp_path / "first.ckpt"
    first.fit(training.module(), training.data(), training.data())
    first.save_checkpoint(path)
    watch = training.callback(layers=LAYERS)

    def train(own: list[Any]) -> tuple[Any, pl.Trainer]:
        model, fit = training.module(), training.trainer(*own, max_epochs=3)
        fit.fit(model, training.data(), training.data(), ckpt_path=path)
        return model, fit

    training.assert_same(train, watch)
    assert watch.scores is not None
    assert watch.scores.table["epoch"].unique().tolist() == [2]


def test_training_is_the_same_to_the_bit_with_several_callbacks(training: Any) -> None:
    other = training.callback(layers=["network.**"], metrics=["euclidean"], every_n_epochs=2)

    def train(own: list[Any]) -> tuple[Any, pl.Trainer]:
        model, fit = training.module(), training.trainer(*own, *([other] if own else []))
        fit.fit(model, training.data(), training.data())
        return model, fit

    training.assert_same(train, training.callback(layers=LAYERS))
    assert other.scores is not None
