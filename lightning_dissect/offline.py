"""The dissection of a trained network, without a training script."""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from lightning_dissect.callback import DEFAULT_FEATURES, DEFAULT_METRICS, DissectCallback
from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.feature import Feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.spectrograms import AmplitudeScale
from lightning_dissect.frameworks import lightning_of
from lightning_dissect.inputs import Where, find_waveform
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.run.plan import CONTROLS
from lightning_dissect.scores import Scores


def dissect(  # noqa: D417, since the other arguments are described where they belong
    model: nn.Module,
    dataloader: Iterable[Any],
    sample_rate: int | None = None,
    *,
    forward: Callable[[Any], Any] | None = None,
    accelerator: str = "auto",
    progress: bool = True,
    layers: Sequence[str] | None = None,
    features: Sequence[str | Feature] = DEFAULT_FEATURES,
    metrics: Sequence[str | SimilarityMetric] = DEFAULT_METRICS,
    waveform: Where | None = None,
    spectrogram: AmplitudeScale | None = None,
    lengths: Where | None = None,
    frequency: FrequencyAxis | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    axes: Mapping[str, str] | None = None,
    max_clips: int | None = None,
    map_clips: int = 16,
    analysis: Analysis | None = None,
    controls: Sequence[str | Feature] = CONTROLS,
    sift_clips: int | None = None,
) -> Scores:
    """Compare the units of a trained network with audio features, over all clips of a data loader.

    Arguments that are not described here are those of :class:`~lightning_dissect.DissectCallback`.

    Args:
        model: A LightningModule, whose ``validation_step`` is run, or any other module, which is called with the
            waveform (clips, samples) of each batch. Modes, device and torch's random numbers are left as they were,
            also when something goes wrong.
        dataloader: Gives batches with audio, like a validation data loader.
        sample_rate: Of the audio, in Hz.
        forward: Runs the network on a batch that is already on the device, instead of the above. Of a plain module
            that takes spectrograms, it is needed.
        accelerator: Lightning's: ``"auto"``, ``"cpu"``, ``"gpu"``, …
        progress: Show a progress bar.

    Returns:
        The scores.

    Raises:
        ValueError: As :class:`~lightning_dissect.DissectCallback` does; or if a Trainer is at work on the model.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 256, 128), nn.ReLU())
        >>> clips = torch.randn(32, 8_000) * torch.rand(32, 1)
        >>> scores = dissect(net, DataLoader(clips, 8), 8_000, layers=["2"], features=["rms"], progress=False)
        >>> scores.labels()["feature"].tolist()
        ['rms', 'rms', 'rms', 'rms']
    """
    callback = _NetworkCallback(
        sample_rate,
        layers,
        features,
        metrics,
        waveform,
        spectrogram,
        lengths,
        frequency=frequency,
        n_fft=n_fft,
        hop_length=hop_length,
        axes=axes,
        max_clips=max_clips,
        map_clips=map_clips,
        on_error="raise",
        analysis=analysis,
        controls=controls,
        sift_clips=sift_clips,
    )
    _check_free(model, callback.analysis.sample_rate)
    lightning = lightning_of(model)
    module = model
    is_plain = not isinstance(model, lightning.LightningModule)
    if is_plain and forward is None and spectrogram is not None:
        raise ValueError(
            f"forward: how {type(model).__name__} takes spectrograms is not known. Give a function that runs it on a "
            "batch, such as forward=lambda batch: model(batch[0])."
        )
    if forward is not None or is_plain:
        run = forward or (lambda batch: model(find_waveform(batch, callback.analysis.sample_rate, waveform)))
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
        model: The network.

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


def _wrap(model: nn.Module, run: Callable[[Any], Any], lightning: Any) -> Any:
    class PlainModule(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.wrapped_network = model

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            run(batch)

    return PlainModule()
