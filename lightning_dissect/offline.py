"""The dissection of a trained network, without a training script."""

import importlib
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from lightning_dissect.callback import DissectCallback
from lightning_dissect.inputs import find_waveform
from lightning_dissect.scores import Scores


def dissect(
    model: nn.Module,
    dataloader: Iterable[Any],
    sample_rate: int,
    *,
    forward: Callable[[Any], Any] | None = None,
    accelerator: str = "auto",
    progress: bool = True,
    **arguments: Any,
) -> Scores:
    """Compare the units of a trained network with audio features, over all clips of a data loader.

    Args:
        model: a LightningModule, whose ``validation_step`` is run, or any other module, which is called with the
            waveform (B, samples) of each batch. Modes, device and torch's random numbers are left as they were, also
            when something goes wrong.
        dataloader: gives batches with audio, like a validation data loader.
        sample_rate: of the audio, in Hz.
        forward: runs the network on a batch that is already on the device, instead of the above. Of a plain module
            that takes spectrograms, it is needed.
        accelerator: Lightning's: ``"auto"``, ``"cpu"``, ``"gpu"``, …
        progress: show a progress bar.
        arguments: those of :class:`~lightning_dissect.DissectCallback`, such as ``layers``, ``features``, ``metrics``,
            ``waveform``.

    Returns:
        The scores.

    Raises:
        ValueError: as :class:`~lightning_dissect.DissectCallback` does; or if a Trainer is at work on the model.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 256, 128), nn.ReLU())
        >>> clips = torch.randn(32, 8_000) * torch.rand(32, 1)
        >>> scores = dissect(net, DataLoader(clips, 8), 8_000, layers=["2"], features=["rms"], progress=False)
        >>> scores.labels()["feature"].tolist()
        ['rms', 'rms', 'rms', 'rms']
    """
    _check_free(model, sample_rate)
    lightning = _lightning_of(model)
    callback = _NetworkCallback(sample_rate, on_error="raise", **arguments)
    module = model
    is_plain = not isinstance(model, lightning.LightningModule)
    if is_plain and forward is None and arguments.get("spectrogram") is not None:
        raise ValueError(
            f"forward: how {type(model).__name__} takes spectrograms is not known. Give a function that runs it on a "
            "batch, such as forward=lambda batch: model(batch[0])."
        )
    if forward is not None or is_plain:
        run = forward or (lambda batch: model(find_waveform(batch, sample_rate, arguments.get("waveform"))))
        module = _wrap(model, run, lightning)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        callbacks=[callback],
    )
    with left_as_found(model):
        trainer.validate(module, dataloader, verbose=False)
    if callback.scores is None:
        raise ValueError("dataloader: it gave no batch, so there is nothing to compare. Is its data set empty?")
    return callback.scores


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Undo what Lightning does beside running a network, however the block ends.

    Each submodule gets its mode back, a network that was on one device that device (Lightning leaves it on the CPU),
    torch's random numbers their state, and Ctrl-C its meaning (Lightning ignores it from a first one on).

    Args:
        model: the network.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> with left_as_found(net):
        ...     _ = net.eval()
        >>> net.training
        True
    """
    modes = {module: module.training for module in model.modules()}
    devices = _devices(model)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        # A GPU that is not in use yet has no random numbers to keep, and asking for them would take memory.
        with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        if len(devices) == 1 and devices != _devices(model):
            model.to(devices.pop())
        if signal.getsignal(signal.SIGINT) != interrupt:
            signal.signal(signal.SIGINT, interrupt)


def _devices(model: nn.Module) -> set[torch.device]:
    return {tensor.device for tensor in chain(model.parameters(), model.buffers())}


def _check_free(model: nn.Module, sample_rate: int) -> None:
    """Refuse a model that a Trainer is at work on: a LightningModule has one, and would be lost to the new one."""
    for part in model.modules():
        trainer = getattr(part, "_trainer", None)  # `trainer` raises where there is none
        if getattr(getattr(trainer, "state", None), "status", None) == "running":
            raise ValueError(
                f"model: a Trainer is at work on this {type(part).__name__}, and would lose it to the one that "
                f"dissect makes. Give that Trainer a DissectCallback(sample_rate={sample_rate}), which does the same "
                "in each validation; or dissect a part of it that is no LightningModule, or the whole when the Trainer "
                "is done."
            )


class _NetworkCallback(DissectCallback):
    """Names the layers as the network itself does, without the wrapper around it."""

    def _network(self, pl_module: nn.Module) -> nn.Module:
        network: nn.Module = getattr(pl_module, "wrapped_network", pl_module)
        return network


def _lightning_of(model: nn.Module) -> Any:
    """The package whose LightningModule the model is; any installed one serves a plain module."""
    kinds = [kind.__module__ for kind in type(model).__mro__ if kind.__name__ == "LightningModule"]
    name = "lightning.pytorch" if any(kind.startswith("lightning.") for kind in kinds) else "pytorch_lightning"
    return importlib.import_module(name)


def _wrap(model: nn.Module, run: Callable[[Any], Any], lightning: Any) -> Any:
    class PlainModule(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.wrapped_network = model

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            run(batch)

    return PlainModule()
