"""The dissection of a trained network, without a training script."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lightning_dissect.callback import DissectCallback
from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.feature import Feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.spectrograms import AmplitudeScale
from lightning_dissect.frameworks import lightning_of
from lightning_dissect.inputs import Where, find_waveform
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.run.choice import CONTROLS, DEFAULT_FEATURES, DEFAULT_METRICS
from lightning_dissect.scores import Scores
from lightning_dissect.untrained.baseline import join_copies
from lightning_dissect.untrained.copies import check_copies, check_untrained, make_copies
from lightning_dissect.untrained.surroundings import data_as_found, left_as_found


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
    untrained: int | Callable[[], nn.Module] = 0,
    analysis: Analysis | None = None,
    controls: Sequence[str | Feature] = CONTROLS,
    sift_clips: int | None = None,
) -> Scores:
    """Compare the units of a trained network with audio features, over all clips of a data loader.

    Arguments that are not described here are those of :class:`~lightning_dissect.DissectCallback`.

    Args:
        model: A LightningModule, whose ``validation_step`` is run, or any other module, which is called with the
            waveform (clips, samples) of each batch. Modes, device, weights and random numbers are left as they were,
            also when something goes wrong.
        dataloader: Gives batches with audio, like a validation data loader.
        sample_rate: Of the audio, in Hz.
        forward: Runs the network on a batch that is already on the device, instead of the above. Of a plain module
            that takes spectrograms, it is needed.
        accelerator: Lightning's: ``"auto"``, ``"cpu"``, ``"gpu"``, …
        progress: Show a progress bar.
        untrained: How many copies of the network with new weights are dissected, too, on the same clips: the
            ``baseline`` of the scores. A function that builds such a network gives the weights of four copies.

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
    if isinstance(untrained, str):
        raise ValueError(f"untrained={untrained!r}: it is a number of copies, or a function that builds the network.")
    check_untrained(untrained)
    _check_free(model, callback.analysis.sample_rate)
    check_copies(model, untrained)
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

    def scores_of_model() -> Scores:
        with left_as_found(model), data_as_found(dataloader) as batches:
            trainer.validate(module, batches, verbose=False)
        if callback.scores is None:
            raise ValueError("dataloader: it gave no batch, so there is nothing to compare. Is its data set empty?")
        return callback.scores

    scores = scores_of_model()
    if untrained:
        runs = []
        for untrained_copy in make_copies(model, untrained):
            with _lend(untrained_copy, model):
                runs.append(scores_of_model())
        scores.baseline = join_copies(runs, untrained)
    return scores


@contextmanager
def _lend(weights: nn.Module, model: nn.Module) -> Iterator[None]:
    """Give a network the weights and buffers of a copy of it for a while: `forward` knows no other network."""
    own = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
    try:
        _fill(model, _tensors(weights))
        yield
    finally:
        _fill(model, own)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(chain(model.named_parameters(), model.named_buffers()))


@torch.no_grad()
def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in _tensors(model).items():
        if name in tensors:
            tensor.copy_(tensors[name])


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
