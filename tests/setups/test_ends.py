"""However a run ends, nothing of the callback stays in the network."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn


class Failing(pl.Callback):
    """Raises at one of Lightning's hooks, at the second time that it gets there."""

    def __init__(self, hook: str, error: type[BaseException]) -> None:
        self.times = 0

        def fail(*_: Any) -> None:
            self.times += 1
            if self.times == 2:
                raise error("it went wrong")

        setattr(self, hook, fail)


def stopping_early() -> pl.Callback:
    return pl.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)


ENDS: dict[str, tuple[Callable[[], list[pl.Callback]], bool]] = {
    "normal end": (list, True),
    "early stop": (lambda: [stopping_early()], True),
    "exception in training": (lambda: [Failing("on_train_batch_start", ValueError)], False),
    "exception in validation": (lambda: [Failing("on_validation_batch_start", ValueError)], False),
    "exception after validation": (lambda: [Failing("on_validation_end", ValueError)], False),
    "interrupted in training": (lambda: [Failing("on_train_batch_start", KeyboardInterrupt)], False),
    "interrupted in validation": (lambda: [Failing("on_validation_batch_end", KeyboardInterrupt)], False),
}


@pytest.mark.parametrize("last", [False, True], ids=["before ours", "after ours"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_stays(end: str, last: bool, training: Any) -> None:
    others, finishes = ENDS[end]

    def train(own: list[Any]) -> tuple[Any, pl.Trainer]:
        model = training.module()
        model.network.norm.eval()
        callbacks = [*own, *others()] if last else [*others(), *own]
        fit = training.trainer(*callbacks, max_epochs=4 if end == "early stop" else 1)
        try:
            fit.fit(model, training.data(), training.data())
            ended = True
        except (ValueError, KeyboardInterrupt, SystemExit):
            ended = False
        assert ended == finishes
        return model, fit

    training.assert_same(train, training.callback(layers=["network.**"]))


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_nothing_stays_after_a_run_of_its_own(stage: str, training: Any) -> None:
    model, watch = training.module(), training.callback(layers=["network.**"])
    model.network.norm.eval()
    before = {name: layer.training for name, layer in model.named_modules()}
    getattr(training.trainer(watch), stage)(model, training.data(), verbose=False)
    assert watch.scores is not None
    assert {name: layer.training for name, layer in model.named_modules()} == before
    assert all(parameter.grad is None for parameter in model.parameters())
    training.assert_no_trace(model)


def test_nothing_stays_when_the_callback_fails_itself(training: Any) -> None:
    calls: list[int] = []

    def sometimes(batch: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("no audio any more")
        return batch[0]

    model = training.module()
    watch = training.callback(layers=["network.**"], waveform=sometimes, on_error="auto")
    with pytest.warns(UserWarning, match="no audio any more"):
        training.trainer(watch).fit(model, training.data(), training.data())
    training.assert_no_trace(model)


class Unhookable(nn.Linear):
    def register_forward_hook(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no hooks here")


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_nothing_stays_when_one_of_the_hooks_cannot_be_placed(
    on_error: str, data: Callable[[], Any], module: Any, callback: Callable[..., Any], trainer: Callable[..., Any]
) -> None:
    importlib.import_module("torch._dynamo")  # Or no stance would be taken.
    model, watch = module(), callback(layers=["network.*"], on_error=on_error)
    model.network.head = Unhookable(5, 2)
    reported = pytest.warns(UserWarning, match="switched off .* no hooks here")
    with reported if on_error == "warn" else pytest.raises(RuntimeError, match="no hooks here"):
        trainer(watch, max_epochs=1).fit(model, data(), data())
    assert not any(layer._forward_hooks for layer in model.modules())
    assert torch._dynamo.eval_frame._stance.stance == "default"
