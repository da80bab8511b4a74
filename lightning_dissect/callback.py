"""DissectCallback: Lightning's hooks, thin."""

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, cast

import pandas as pd
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import nn

from lightning_dissect.activations.capture import find_class_tokens, find_kinds, find_layers
from lightning_dissect.errors import text_of
from lightning_dissect.features.bank import FeatureBank
from lightning_dissect.features.feature import Feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.spectrograms import SpectrogramBank, check_values
from lightning_dissect.files.earlier import Earlier
from lightning_dissect.files.layout import Stage, score_file
from lightning_dissect.inputs import Lengths, Where, check_sample_rate, find_spectrogram, find_waveform
from lightning_dissect.loggers.folder import run_folder
from lightning_dissect.loggers.watch import check_layers, check_units
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.publish import publish
from lightning_dissect.run.clip_values import ClipValues
from lightning_dissect.run.comparison import find_metrics, without_metric
from lightning_dissect.run.dissection import Dissection, Keeper
from lightning_dissect.run.playlist import Playlist
from lightning_dissect.run.processes import check_clips_of_their_own, gather
from lightning_dissect.scores import Scores

DEFAULT_FEATURES = ("harmonic", "percussive", "chroma", "loudness", "onset_rate")
DEFAULT_METRICS = ("pearson", "euclidean", "sift")


def _callback_bases() -> tuple[type[Any], ...]:
    """``Callback`` of each installed Lightning: their copies are unrelated types, and users may hand us to either."""
    bases = []
    for package in ("pytorch_lightning", "lightning.pytorch"):
        try:
            bases.append(importlib.import_module(package).Callback)
        except ImportError:
            continue
    return tuple(bases)


class DissectCallback(*_callback_bases()):  # type: ignore[misc]
    """Tells, at each validation run, which neurons behave like audio features that people understand.

    It watches layers while the validation batches go through the network, computes the features of the same audio on
    the same device, and compares each unit with each feature. At the end of the run the scores go to every logger of
    the trainer and, as a Parquet file, into ``dissect/`` beside the logger's files (those of a test into
    ``dissect-test/``; a trainer's second callback writes into ``dissect2/``; without a logger nothing is written).
    Training is left as it would be without the callback, to the bit.

    Args:
        sample_rate: of the audio, in Hz.
        layers: submodule names or globs (``"features.*"``); ``None`` takes the layers with parameters and says which.
        features: names, or :class:`~lightning_dissect.features.Feature` objects. The default is that of Slizovskaia
            2019.
        metrics: names, or metrics made by yourself. The default is that of Slizovskaia 2019.
        waveform: where a batch holds the audio: a key, an index or a function of the batch; ``None`` recognises
            (B, samples) and (B, channels, samples) in tensors, tuples, mappings and dataclasses.
        spectrogram: for batches that hold spectrograms and no audio, what their values are: ``"magnitude"``,
            ``"power"`` or ``"db"`` (10 log10 of a power). Features are then computed from these, and ``waveform``
            says where they are: (B, bins, frames) or (B, 1, bins, frames). Their axes are those of ``frequency``,
            ``n_fft`` and ``hop_length``. What was done to the values (standardising, another logarithm) has to be
            undone by a function. ``harmonic``, ``percussive`` and ``mel`` can be had on any axis; the features of the
            spectrum on one with all its bins; those of the audio are refused. There is no playlist without audio.
        lengths: where a padded batch holds the clips' lengths in samples (in frames, of spectrograms), or a mask: a
            key, an index or a function. Padding lies behind the clips; a mask that says otherwise is an error.
        every_n_epochs: run in every n-th epoch of a fit, counted like ``ModelCheckpoint`` does: the n-th is the first.
        frequency: the frequency axis of the network's input, on which maps are compared; ``None`` takes 128 mel bands
            up to half the sample rate.
        n_fft: samples of a frame of the features. Give those of the network's input, with ``hop_length``, so that what
            is sharp in one map is sharp in the other.
        hop_length: samples between frames of the features.
        axes: for layers whose output is not what their kind suggests, by name or glob, the axes in words, like
            ``{"blocks.*": "batch unit time frequency"}`` or ``{"blocks.*": "batch 1+time unit"}`` to leave out a class
            token, or ``"call batch time unit"`` to join the runs of a layer that is fed in chunks; see
            :class:`~lightning_dissect.activations.axes.Axes`. How each was read stands in ``scores.settings["axes"]``.
        max_clips: how many clips of each data loader are compared in a run, in each process; ``None`` for all. They
            are spread over the batches if there is a number of these, or else are the first. The rest costs nothing.
        sift_clips: how many clips of a run are compared at map level (SIFT); 0 for none. They are spread over the
            batches, too.
        playlist: how many clips of each unit are kept as its playlist, those that drive it most, with the audio of
            labelled units; 0 for none. See :class:`~lightning_dissect.run.playlist.Playlist`.
        watch: single units to follow as scalars, by the layer's name, like ``{"embedding": [12, 259]}``.
        on_error: what happens when something goes wrong in a run: ``"raise"``; ``"warn"`` and switch off; ``"auto"``
            raises until the first training step and warns after it, so that a long training never dies of its monitor.

    Attributes:
        scores: the :class:`~lightning_dissect.Scores` of the last run, ``None`` before the first.

    Raises:
        ValueError: if an argument cannot work. What depends on the network is checked when a fit or a validation
            starts, what depends on batches during sanity checking.

    Example:
        >>> callback = DissectCallback(sample_rate=16_000, layers=["features.*", "embedding"])
        >>> callback.scores is None
        True
    """

    def __init__(
        self,
        sample_rate: int,
        layers: Sequence[str] | None = None,
        features: Sequence[str | Feature] = DEFAULT_FEATURES,
        metrics: Sequence[str | SimilarityMetric] = DEFAULT_METRICS,
        waveform: Where | None = None,
        spectrogram: Literal["magnitude", "power", "db"] | None = None,
        lengths: Where | None = None,
        every_n_epochs: int = 1,
        frequency: FrequencyAxis | None = None,
        n_fft: int = 2048,
        hop_length: int = 512,
        axes: Mapping[str, str] | None = None,
        max_clips: int | None = None,
        sift_clips: int = 16,
        playlist: int = 3,
        watch: Mapping[str, Sequence[int]] | None = None,
        on_error: Literal["auto", "raise", "warn"] = "auto",
    ) -> None:
        super().__init__()
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs}: it counts epochs, from 1 on.")
        if max_clips is not None and max_clips < 1:
            raise ValueError(f"max_clips={max_clips}: it counts clips, from 1 on; None takes all.")
        if sift_clips < 0:
            raise ValueError(f"sift_clips={sift_clips}: it counts clips, from 0 on.")
        if playlist < 0:
            raise ValueError(f"playlist={playlist}: it counts clips a unit, from 0 on.")
        if on_error not in ("auto", "raise", "warn"):
            raise ValueError(f"on_error={on_error!r} is none of 'auto', 'raise' and 'warn'.")
        self.sample_rate = sample_rate
        self.layers = layers
        self.every_n_epochs = every_n_epochs
        self.max_clips = max_clips
        self.sift_clips = sift_clips
        self.playlist = playlist
        self.watch = dict(watch or {})
        self.on_error = on_error
        self.scores: Scores | None = None
        self._frequency = frequency or FrequencyAxis()
        analysis = (features, sample_rate, n_fft, hop_length, self._frequency)
        self._bank = FeatureBank(*analysis) if spectrogram is None else SpectrogramBank(spectrogram, *analysis)
        self._metrics = find_metrics(metrics)
        self._check_levels()
        self._waveform, self._spectrogram, self._lengths = waveform, spectrogram, Lengths(lengths)
        self._axes = dict(axes or {})
        self._run: Dissection | None = None
        self._labelled: pd.DataFrame | None = None
        self._due = self._switched_off = False
        self._failure: str | None = None
        self._announced = self._warned = False
        self._earlier = Earlier()

    def setup(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Switch on again, if the last fit or validation has switched the callback off."""
        self._switched_off, self._failure = False, None

    def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Check the processes and the layer names before the first training step."""
        self._guard(trainer, check_clips_of_their_own, trainer)
        check_layers(self.watch, list(find_layers(self._network(pl_module), self.layers)))

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Remember at which step the fit begins, by which its score files are told from those of an older one."""
        self._earlier.begin(trainer.global_step)

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Put the hooks in place, if this run is due."""
        self._start(
            trainer, pl_module, trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        )

    def on_validation_batch_start(
        self, trainer: Any, pl_module: nn.Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compute the features of the batch."""
        self._guard(trainer, self._begin, batch, batch_idx, dataloader_idx)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Report what went wrong while the network ran."""
        self._guard(trainer, self._end)

    def on_validation_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Compute the scores and give them to the loggers."""
        if self._due:
            self._guard(trainer, self._settle)
            self._guard(trainer, self._finish, trainer)
        self._close()

    def on_test_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """As for validation."""
        self._start(trainer, pl_module, trainer.num_test_batches)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        """Remove the hooks: ``teardown`` is not called after an exception."""
        self._close()

    def teardown(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Remove the hooks."""
        self._close()

    def _start(self, trainer: Any, pl_module: nn.Module, batches: Sequence[int | float]) -> None:
        self._close()
        in_fit = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._due = not self._switched_off and not (in_fit and (trainer.current_epoch + 1) % self.every_n_epochs)
        if self._due:
            self._guard(trainer, self._open, trainer, pl_module, batches)

    def _open(self, trainer: Any, pl_module: nn.Module, batches: Sequence[int | float]) -> None:
        check_clips_of_their_own(trainer)
        # A sanity check only shows that everything fits together: one pair of maps is enough for that.
        sift_clips = min(self.sift_clips, 2) if trainer.sanity_checking else self.sift_clips
        self._lengths = Lengths(self._lengths.where)
        network = self._network(pl_module)
        layers = find_layers(network, self.layers)
        axes = {name: words for glob, words in self._axes.items() for name in find_layers(network, [glob])}
        fewest = min(batches, default=0)
        known = int(fewest) if 0 < fewest < float("inf") else None
        check_layers(self.watch, list(layers))
        heard = self.playlist and self._spectrogram is None
        playlists = [Playlist(self.sample_rate, self.playlist, favoured=self._labelled)] if heard else []
        keepers: list[Keeper] = [ClipValues(batches=known), *playlists] if self._publishes(trainer) else []
        self._run = Dissection(
            layers,
            self._bank,
            self._metrics,
            max_clips=self.max_clips,
            sift_clips=sift_clips,
            batches=known,
            axes=axes,
            kinds=find_kinds(network, layers),
            strict=self.layers is not None,
            keepers=keepers,
        )
        self._run.__enter__()

    def _begin(self, batch: Any, batch_idx: int, dataloader: int) -> None:
        if self._run is not None:
            # Looking at a number on an accelerator waits for it, so only the first batch may.
            first = batch_idx == 0
            check_sample_rate(batch, self.sample_rate, wait=first)
            if self._spectrogram is None:
                heard = find_waveform(batch, self.sample_rate, self._waveform)
            else:
                heard = find_spectrogram(batch, self._frequency.n_bins, self._waveform)
                if first:
                    check_values(heard, self._spectrogram)
            self._run.begin(heard, self._lengths.find(batch, heard, wait=first), dataloader)

    def _end(self) -> None:
        if self._run is not None:
            self._run.end()
            if self._run.units and not self._announced:
                self._announced = True
                rank_zero_info(f"lightning_dissect {self._run.describe()}.")

    def _settle(self) -> None:
        # Before processes tell each other whether one has failed.
        if self._run is not None:
            self._lengths.settle()
            self._run.settle()

    def _finish(self, trainer: Any) -> None:
        failures = [failure for failure in gather(self._failure) if failure is not None]
        run = self._run
        if run is None:
            return
        if failures:
            raise RuntimeError(f"in another process: {failures[0]}")
        run.share()
        self._check_layers(trainer, run)
        check_units(self.watch, run.units)
        if trainer.sanity_checking:
            return
        self.scores = run.scores(trainer.current_epoch, trainer.global_step, self._settings(run), _stage(trainer))
        if self._publishes(trainer):
            self._publish(trainer, run, self.scores)

    def _publishes(self, trainer: Any) -> bool:
        return bool(trainer.loggers) and not trainer.fast_dev_run

    def _publish(self, trainer: Any, run: Dissection, scores: Scores) -> None:
        labels = scores.labels()
        values, *playlists = cast(tuple[Any, ...], run.keepers)
        self._labelled = labels.dropna(subset="feature")[["layer", "unit"]]
        played = playlists[0].compute(self._labelled) if playlists else None
        if trainer.is_global_zero:
            name, logs = self._name(trainer), run_folder(trainer.loggers[0], trainer.default_root_dir)
            folders = {"validate": logs / name, "test": logs / f"{name}-test"}
            stage = _stage(trainer)
            file = folders[stage] / score_file(stage, trainer.current_epoch, trainer.global_step)
            self._earlier.make_way(file, list(folders.values()), fitting=trainer.state.fn == "fit")
            publish(trainer.loggers, file, scores, labels, run, values, played, self.watch)

    def _name(self, trainer: Any) -> str:
        """``dissect``, or ``dissect2``, … for a trainer's second callback, so that neither overwrites the other."""
        mine = [callback for callback in trainer.callbacks if isinstance(callback, DissectCallback)]
        return "dissect" if mine[0] is self else f"dissect{mine.index(self) + 1}"

    def _settings(self, run: Dissection) -> dict[str, Any]:
        packages = ("lightning-dissect", "torch", "pytorch-lightning", "torchmetrics")
        return {
            "versions": {package: version(package) for package in packages},
            "sample_rate": self.sample_rate,
            "frequency": self._frequency.settings,
            "n_fft": self._bank.analysis.n_fft,
            "hop_length": self._bank.analysis.hop_length,
            "spectrogram": self._spectrogram,
            "layers": list(run.layers),
            "axes": {layer: str(axes) for layer, axes in run.axes.items()},
            "features": list(self._bank.names),
            "metrics": [f"{metric.name}.{metric.level}" for metric in self._metrics],
            "max_clips": self.max_clips,
            "sift_clips": self.sift_clips,
            "playlist": self.playlist,
        }

    def _network(self, pl_module: nn.Module) -> nn.Module:
        """The module whose submodules are watched."""
        return pl_module

    def _check_levels(self) -> None:
        levels = self._bank.levels
        alone = without_metric(levels, self._metrics, maps=self.sift_clips > 0)
        if len(alone) == len(levels):
            raise ValueError(
                f"metrics: {', '.join(f'{metric.name}.{metric.level}' for metric in self._metrics)} have no level in "
                f"common with the features {', '.join(alone)}. Add 'pearson', which works at every level."
            )
        if alone:
            rank_zero_warn(f"No metric works at a level that these features have: {', '.join(alone)}.")

    def _check_layers(self, trainer: Any, run: Dissection) -> None:
        """Say once which layers have no scores, and why; raise if none has."""
        left_out = [f"layer {name!r}: {reason}" for name, reason in run.left_out.items()]
        unseen, uncompared = ", ".join(run.unseen()), ", ".join(run.uncompared())
        if len(run.unseen()) == len(run.layers):
            raise RuntimeError(
                f"None of the watched layers ran during validation: {unseen}. Watch layers that the "
                "network's forward calls. Layers inside torch.compile are watched from torch 2.6 on."
            )
        if left_out and len(left_out) + len(run.unseen()) == len(run.layers):
            raise ValueError(f"layers={self.layers}: no layer can be compared with features. {left_out[0]}")
        if trainer.sanity_checking or self._warned:
            return
        self._warned = True
        if left_out:
            rank_zero_warn(
                f"layers={self.layers} leaves out what cannot be compared with features: {' '.join(left_out)}"
            )
        if unseen:
            rank_zero_warn(f"These watched layers did not run in this validation and have no scores: {unseen}.")
        if uncompared:
            rank_zero_warn(f"These layers have no level that a metric and a feature have, too: {uncompared}.")
        if run.repeated:
            times = ", ".join(f"{name!r} ({runs} times)" for name, runs in run.repeated.items())
            name = next(iter(run.repeated))
            rank_zero_warn(
                f"These layers run several times in a batch, and only the first run is compared: {times}. Where each "
                "run gets a part of the clips, join the runs along time with the argument `axes`, for example "
                f"{name!r}: 'call {run.axes[name]}'; for another run, watch the layer around it."
            )
        tokens = find_class_tokens(self._network(trainer.lightning_module))
        layers = [name for name, axes in run.axes.items() if str(axes) == "batch time unit"]
        if tokens and layers and not self._axes:
            rank_zero_warn(
                f"The network has {', '.join(tokens)}, and in these layers tokens and patches are taken for frames: "
                f"{', '.join(layers)}. Say what they are with the argument `axes`, for example {layers[-1]!r}: "
                f"'batch {len(tokens)}+time unit', or 'batch {len(tokens)}+(frequency=12 time) unit' for 12 patches "
                "along the frequency axis."
            )

    def _guard(self, trainer: Any, action: Any, *args: Any) -> None:
        """Do something; if it fails, raise or warn and switch off, as ``on_error`` says."""
        try:
            action(*args)
        except Exception as error:
            self._close()
            training = trainer.state.fn == "fit" and trainer.global_step > 0
            if self.on_error == "raise" or (self.on_error == "auto" and not training):
                raise
            self._switched_off, self._failure = True, text_of(error)
            rank_zero_warn(f"lightning_dissect is switched off for the rest of this training: {self._failure}")

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None


def _stage(trainer: Any) -> Stage:
    return "test" if trainer.testing else "validate"
