"""However a run ends, nothing of the callback stays in the network."""

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


def modes(module: nn.Module) -> dict[str, bool]:
    return {name: layer.training for name, layer in module.named_modules()}


@pytest.mark.parametrize("last", [False, True], ids=["before ours", "after ours"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_stays(
    end: str,
    last: bool,
    module: Any,
    data: Callable[[], Any],
    callback: Callable[..., Any],
    trainer: Callable[..., pl.Trainer],
    assert_no_trace: Callable[[nn.Module], None],
) -> None:
    others, finishes = ENDS[end]
    found: list[Any] = []
    for own in ([], [callback(layers=["network.**"])]):
        pl.seed_everything(7, verbose=False)
        model = module()
        model.network.norm.eval()
        callbacks = [*own, *others()] if last else [*others(), *own]
        fit = trainer(*callbacks, max_epochs=4 if end == "early stop" else 1)
        try:
            fit.fit(model, data(), data())
            ended = True
        except (ValueError, KeyboardInterrupt, SystemExit):
            ended = False
        assert ended == finishes
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append((fit.current_epoch, modes(model), model.state_dict(), gradients))
    (epoch, plain_modes, plain, plain_gradients), (watched_epoch, watched_modes, watched, watched_gradients) = found
    assert watched_epoch == epoch
    assert watched_modes == plain_modes
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    for name, gradient in plain_gradients.items():
        other = watched_gradients[name]
        assert (gradient is None) == (other is None)
        assert gradient is None or torch.equal(gradient, other)
    assert_no_trace(model)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_nothing_stays_after_a_run_of_its_own(
    stage: str,
    module: Any,
    data: Callable[[], Any],
    callback: Callable[..., Any],
    trainer: Callable[..., pl.Trainer],
    assert_no_trace: Callable[[nn.Module], None],
) -> None:
    model, watch = module(), callback(layers=["network.**"])
    model.network.norm.eval()
    before = modes(model)
    getattr(trainer(watch), stage)(model, data(), verbose=False)
    assert watch.scores is not None
    assert modes(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert_no_trace(model)


def test_nothing_stays_when_the_callback_fails_itself(
    module: Any,
    data: Callable[[], Any],
    callback: Callable[..., Any],
    trainer: Callable[..., pl.Trainer],
    assert_no_trace: Callable[[nn.Module], None],
) -> None:
    calls: list[int] = []

    def sometimes(batch: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("no audio any more")
        return batch[0]

    model, watch = module(), callback(layers=["network.**"], waveform=sometimes, on_error="auto")
    with pytest.warns(UserWarning, match="no audio any more"):
        trainer(watch).fit(model, data(), data())
    assert_no_trace(model)
