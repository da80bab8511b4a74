"""The baseline of a training: the scores of untrained copies, on the clips of its validation."""

import copy
import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from lightning_utilities.core import rank_zero
from torch import nn

from lightning_dissect.errors import text_of
from lightning_dissect.files.earlier import Earlier
from lightning_dissect.frameworks import callback_bases, lightning_of
from lightning_dissect.publish import find_baseline, publish_baseline
from lightning_dissect.run.coverage import check_coverage
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.run.plan import Plan
from lightning_dissect.run.processes import gather
from lightning_dissect.scores import Scores
from lightning_dissect.untrained.copies import Untrained, check_copies, describe_untrained, make_copies
from lightning_dissect.untrained.surroundings import data_as_found, random_numbers_as_found

_SHARDED = ("FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy", "XLAFSDPStrategy")
_DONE_ALREADY = ("prepare_data", "setup", "configure_model", "teardown", "configure_callbacks")
"""What Lightning asks of a module before it is run, and what the training has asked of the one that is copied."""


def check_baseline(trainer: Any, module: nn.Module, untrained: Untrained) -> None:
    """Raise if copies are asked for and cannot be made, as can be known before a training begins.

    Raises:
        ValueError: If submodules cannot be initialised anew, which it names; or if each process has but a part of the
            weights.
    """
    kinds = {kind.__name__ for kind in type(trainer.strategy).__mro__}
    if untrained and kinds & set(_SHARDED):
        raise ValueError(
            f"untrained={describe_untrained(untrained)}: with {type(trainer.strategy).__name__} each process has a "
            "part of the weights, of which no copies can be made. Train with untrained=0, and get the baseline in one "
            "process: lightning_dissect.dissect(model, dataloader, …, untrained=…)."
        )
    check_copies(module, untrained)


def find_or_make(trainer: Any, module: Any, plan: Plan, untrained: Untrained, index: int, earlier: Earlier) -> Scores:
    """The baseline of a training that is about to begin: that of its first part, if it goes on; else it is made.

    Args:
        trainer: See :func:`dissect_copies`.
        module: The LightningModule.
        plan: What is compared.
        untrained: See :func:`~lightning_dissect.untrained.copies.make_copies`.
        index: That of the callback among those of its kind.
        earlier: Sets what is of an earlier training aside, where the baseline is written.
    """
    settings = plan.settings(plan.begin(module, [])) | {"untrained": describe_untrained(untrained)}
    known = {name: value for name, value in settings.items() if name not in ("axes", "versions")}
    baseline = find_baseline(trainer, index, known)
    if baseline is None:
        baseline = dissect_copies(trainer, module, plan, untrained)
        publish_baseline(baseline, trainer, index, earlier)
    return baseline


def dissect_copies(trainer: Any, module: Any, plan: Plan, untrained: Untrained) -> Scores:
    """Dissect untrained copies before a training begins, on the clips of a validation, and leave everything as it is.

    Args:
        trainer: About to train; in each process on its share of the clips.
        module: The LightningModule; its copies are run by a Trainer of their own, which logs nothing.
        plan: What is compared.
        untrained: See :func:`~lightning_dissect.untrained.copies.make_copies`.

    Raises:
        ValueError: As that does.
        RuntimeError: If a copy cannot be run in another process.
    """
    rank_zero.rank_zero_info("lightning_dissect looks at untrained copies of the network before the training begins.")
    listener = _Listener(plan)
    aside = _trainer_aside(trainer, module, listener)
    runs = []
    with random_numbers_as_found(), _validation_data(trainer) as data:
        for untrained_copy in make_copies(module, untrained):
            with random_numbers_as_found(), data_as_found(data.flattened) as loaders:
                failure = _run(aside, _without_setup(_uncompiled(untrained_copy)), _source(trainer, data, loaders))
            runs.append(_scores_of(listener, failure))
    return join_copies(runs, untrained)


def join_copies(runs: Sequence[Scores], untrained: Untrained) -> Scores:
    """The baseline of the runs of all copies, in which the epoch is a copy's number."""
    tables = [run.table.assign(epoch=number, step=0) for number, run in enumerate(runs)]
    return Scores(pd.concat(tables), runs[0].settings | {"untrained": describe_untrained(untrained)})


class _Listener(*callback_bases()):  # type: ignore[misc]
    """Dissects whatever module its Trainer validates."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.run: Dissection | None = None

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Put the hooks in place."""
        self.run = self.plan.begin(pl_module, trainer.num_val_batches)
        self.run.__enter__()

    def on_validation_batch_start(
        self, trainer: Any, pl_module: nn.Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compute the features of the batch."""
        assert self.run is not None
        self.run.begin(*self.plan.inputs.find(batch, first=batch_idx == 0), dataloader_idx)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compare what is left to compare."""
        assert self.run is not None
        self.run.end()

    def on_validation_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Look at what could not be waited for."""
        self.plan.inputs.settle()


def _run(trainer: Any, module: Any, source: dict[str, Any]) -> Exception | None:
    """Validate a copy, and return what went wrong: the other processes wait for this one."""
    listener = next(callback for callback in trainer.callbacks if isinstance(callback, _Listener))
    try:
        trainer.validate(module, verbose=False, **source)
    except Exception as error:
        return error
    finally:
        if listener.run is not None:
            listener.run.close()
    return None


def _scores_of(listener: _Listener, failure: Exception | None) -> Scores:
    failures = [text for text in gather(None if failure is None else text_of(failure)) if text is not None]
    if failure is not None:
        raise failure
    if failures:
        raise RuntimeError(f"in another process: {failures[0]}")
    run = listener.run
    assert run is not None
    run.share()
    check_coverage(run, listener.plan.layers)
    return run.scores(settings=listener.plan.settings(run))


def _trainer_aside(trainer: Any, module: Any, listener: _Listener) -> Any:
    """A Trainer that runs modules on the device of this process as another one does, and leaves nothing behind."""
    lightning = lightning_of(module)
    environments = importlib.import_module(f"{lightning.__name__}.plugins.environments")
    device = trainer.strategy.root_device
    level = rank_zero.log.level
    rank_zero.log.setLevel(logging.ERROR)  # what devices there are has been said
    try:
        return lightning.Trainer(
            accelerator=device.type,
            strategy=lightning.strategies.SingleDeviceStrategy(device),
            devices=1,
            # Not the environment that tells processes apart, such as torchrun's: this Trainer knows of one alone.
            plugins=[trainer.precision_plugin, environments.LightningEnvironment()],
            logger=lightning.loggers.logger.DummyLogger(),
            callbacks=[listener],
            limit_val_batches=trainer.limit_val_batches,
            inference_mode=False,  # as in the validations of a fit
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            default_root_dir=trainer.default_root_dir,
        )
    finally:
        rank_zero.log.setLevel(level)


@contextmanager
def _validation_data(trainer: Any) -> Iterator[Any]:
    """The combined data loaders of the validations to come; if there are none yet, some that are made for this."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    made, reloaded = loop._combined_loader, loop._last_val_dl_reload_epoch
    if made is None:
        trainer.validating = True
        loop.setup_data()
        trainer.training = True
    try:
        yield loop._combined_loader
    finally:
        loop._combined_loader, loop._last_val_dl_reload_epoch = made, reloaded


def _source(trainer: Any, data: Any, loaders: list[Any]) -> dict[str, Any]:
    """What a Trainer's ``validate`` takes: other data loaders, in the data module where that has a say in batches."""
    combined = copy.copy(data)
    combined.flattened = loaders
    if trainer.datamodule is None:
        return {"dataloaders": combined}
    module = _without_setup(copy.copy(trainer.datamodule))
    vars(module)["val_dataloader"] = lambda: combined
    return {"datamodule": module}


def _uncompiled(module: Any) -> Any:
    """Let a LightningModule that was compiled as a whole run its own code: what was compiled is its original's."""
    if getattr(module, "_compiler_ctx", None) is not None:
        module = importlib.import_module(f"{lightning_of(module).__name__}.utilities.compile").to_uncompiled(module)
    return module


def _without_setup(module: Any) -> Any:
    """Let a module, or a data module, not be set up again: its original was."""
    for hook in _DONE_ALREADY:
        if hasattr(module, hook):
            vars(module)[hook] = _do_nothing
    return module


def _do_nothing(*_: Any, **__: Any) -> tuple[()]:
    return ()
