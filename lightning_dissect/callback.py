"""DissectCallback: Lightning's hooks, thin."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pandas as pd
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import nn

from lightning_dissect.activations.layers import find_layers
from lightning_dissect.errors import text_of
from lightning_dissect.features.analysis import Analysis, as_analysis
from lightning_dissect.features.feature import Feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.spectrograms import AmplitudeScale
from lightning_dissect.files.earlier import Earlier
from lightning_dissect.files.layout import Stage
from lightning_dissect.frameworks import callback_bases
from lightning_dissect.inputs import Where
from lightning_dissect.loggers.watch import check_layers, check_units
from lightning_dissect.metrics import SimilarityMetric
from lightning_dissect.publish import Findings, publish
from lightning_dissect.run.choice import CONTROLS, DEFAULT_FEATURES, DEFAULT_METRICS
from lightning_dissect.run.clip_values import ClipValues
from lightning_dissect.run.coverage import check_coverage, remarks
from lightning_dissect.run.dissection import Dissection
from lightning_dissect.run.plan import Plan, known_number
from lightning_dissect.run.playlist import Playlist, Playlists
from lightning_dissect.run.processes import check_clips_of_their_own, gather
from lightning_dissect.scores import Scores
from lightning_dissect.untrained.baseline import check_baseline, find_or_make
from lightning_dissect.untrained.copies import check_untrained


class DissectCallback(*callback_bases()):  # type: ignore[misc]
    """Tells, at each validation run, which neurons behave like audio features that people understand.

    It dissects layers while the validation batches go through the network, computes the features of the same audio on
    the same device, and compares each unit with each feature. At the end of the run the scores go to every logger of
    the trainer and, as a Parquet file, into ``dissect/`` beside the logger's files (those of a test into
    ``dissect-test/``; a trainer's second callback writes into ``dissect2/``; without a logger nothing is written).
    Training is left as it would be without the callback, to the bit.

    Args:
        sample_rate: Of the audio, in Hz; not needed with ``analysis``.
        layers: Submodule names or globs (``"features.*"``); ``None`` takes the layers with parameters and says which.
        features: Names, or :class:`~lightning_dissect.features.Feature` objects. The default is Slizovskaia 2019's
            and ``harmonic_ratio``, which stands for both parts below maps.
        metrics: Names, or metrics made by yourself; the default is Slizovskaia 2019's. Each runs at every level that it
            works at, unless it was made for one, like ``PearsonSimilarity(level="clip")``.
        waveform: Where a batch holds the audio: a key, an index or a function of the batch; ``None`` recognises
            (B, samples) and (B, channels, samples) in tensors, tuples, mappings and dataclasses.
        spectrogram: For batches that hold spectrograms and no audio, what their values are: ``"magnitude"``,
            ``"power"`` or ``"db"`` (10 log10 of a power). ``waveform`` then says where they are, (B, bins, frames) or
            (B, 1, bins, frames), on the axes that ``analysis`` tells; a function of the batch undoes what was done to
            the values. Features that need the audio are refused, and there is no playlist.
        lengths: Where a padded batch holds the clips' lengths in samples (in frames, of spectrograms), or a mask: a
            key, an index or a function. Padding lies behind the clips; a mask that says otherwise is an error.
        every_n_epochs: Run in every n-th epoch of a fit, counted like ``ModelCheckpoint`` does: the n-th is the first.
        frequency: The frequency axis of the network's input, on which maps are compared; 128 mel bands by default.
        n_fft: Samples of a frame of the features. Give those of the network's input, with ``hop_length``, so that what
            is sharp in one map is sharp in the other.
        hop_length: Samples between frames of the features.
        axes: For layers whose output is not what their kind suggests, by name or glob, its axes in words, like
            ``{"blocks.*": "batch 1+time unit"}`` to leave out a class token; see
            :class:`~lightning_dissect.activations.axes.Axes`. How each was read stands in ``scores.settings["axes"]``.
        max_clips: How many clips of each data loader are compared in a run, in each process, spread over the batches
            where their number is known; ``None`` for all. The rest costs nothing.
        map_clips: How many of these are compared at map level, by SIFT and every other metric of maps; 0 for none.
        playlist: How many clips of each unit are kept, those that drive it most, with the audio of labelled units; 0
            for none. More can be said by :class:`~lightning_dissect.run.playlist.Playlists`.
        watch: Single units to follow as scalars, by the layer's name, like ``{"embedding": [12, 259]}``.
        on_error: What happens when something goes wrong in a run: ``"raise"``; ``"warn"`` and switch off; ``"auto"``
            raises until the first training step and warns after it, so that a long training never dies of its monitor.
        analysis: ``sample_rate``, ``n_fft``, ``hop_length`` and ``frequency`` in one, instead of these; a network of
            the papers has its own as ``network.analysis``.
        controls: Trivial explanations that are always compared beside the features, given like these: how loud a clip
            is, in dB, and the spectrogram itself. A label that one of them explains as well is called trivial.
        untrained: How many copies of the network with new weights are dissected once, before the first training step,
            on the clips of a validation: the baseline of what training makes. Each costs a validation run. ``"start"``
            takes the network as it comes: what does fine-tuning add? A function that builds such a network gives the
            weights of four copies, where layers cannot be initialised anew by their ``reset_parameters``.
        sift_clips: The former name of ``map_clips``.

    Attributes:
        scores: The :class:`~lightning_dissect.Scores` of the last run, ``None`` before the first.

    Raises:
        ValueError: If an argument cannot work. What depends on the network is checked when a fit or a validation
            starts, what depends on batches during sanity checking.

    Example:
        >>> callback = DissectCallback(sample_rate=16_000, layers=["features.*", "embedding"])
        >>> callback.scores is None
        True
    """

    def __init__(
        self,
        sample_rate: int | None = None,
        layers: Sequence[str] | None = None,
        features: Sequence[str | Feature] = DEFAULT_FEATURES,
        metrics: Sequence[str | SimilarityMetric] = DEFAULT_METRICS,
        waveform: Where | None = None,
        spectrogram: AmplitudeScale | None = None,
        lengths: Where | None = None,
        every_n_epochs: int = 1,
        frequency: FrequencyAxis | None = None,
        n_fft: int = 2048,
        hop_length: int = 512,
        axes: Mapping[str, str] | None = None,
        max_clips: int | None = None,
        map_clips: int = 16,
        playlist: int | Playlists = 3,
        watch: Mapping[str, Sequence[int]] | None = None,
        on_error: Literal["auto", "raise", "warn"] = "auto",
        analysis: Analysis | None = None,
        controls: Sequence[str | Feature] = CONTROLS,
        untrained: int | Literal["start"] | Callable[[], nn.Module] = 0,
        sift_clips: int | None = None,
    ) -> None:
        super().__init__()
        if sift_clips is not None:
            rank_zero_warn("sift_clips is called map_clips now, since it bounds every metric of maps.")
            map_clips = sift_clips
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs}: it is a number from 1 on.")
        if on_error not in ("auto", "raise", "warn"):
            raise ValueError(f"on_error={on_error!r} is none of 'auto', 'raise' and 'warn'.")
        check_untrained(untrained)
        self.analysis = as_analysis(sample_rate, n_fft, hop_length, frequency, analysis)
        self._plan = Plan.of(
            *(self.analysis, layers, features, metrics, waveform, spectrogram, lengths),
            *(axes, max_clips, map_clips, controls),
        )
        self.layers, self.every_n_epochs, self.untrained = layers, every_n_epochs, untrained
        self.map_clips = map_clips
        self.playlist = playlist if isinstance(playlist, Playlists) else Playlists(clips=playlist)
        self.watch, self.on_error = dict(watch or {}), on_error
        self.scores: Scores | None = None
        self._baseline: Scores | None = None
        self._run: Dissection | None = None
        self._values: ClipValues | None = None
        self._playlist: Playlist | None = None
        self._labelled: pd.DataFrame | None = None
        self._due = self._switched_off = self._announced = self._warned = False
        self._failure: str | None = None
        self._earlier = Earlier()

    def setup(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Switch on again, if the last fit or validation has switched the callback off."""
        self._switched_off, self._failure = False, None

    def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Check the processes and the layer names before the first training step."""
        self._baseline = None
        with self._guarded(trainer):
            check_clips_of_their_own(trainer)
            check_baseline(trainer, pl_module, self.untrained)
        check_layers(self.watch, list(find_layers(self._network(pl_module), self.layers)))

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Remember the step, by which the fit's score files are told from an older one's; dissect untrained copies."""
        self._earlier.begin(trainer.global_step)
        if self.untrained and not self._switched_off and trainer.enable_validation and not trainer.fast_dev_run:
            with self._guarded(trainer):
                untrained, index = self.untrained, self._index(trainer)
                self._baseline = find_or_make(trainer, pl_module, self._plan, untrained, index, self._earlier)

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Put the hooks in place, if this run is due."""
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        self._start(trainer, pl_module, batches)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: nn.Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compute the features of the batch."""
        if self._run is not None:
            with self._guarded(trainer):
                values, lengths = self._plan.inputs.find(batch, first=batch_idx == 0)
                self._run.begin(values, lengths, dataloader_idx)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compare what is left to compare, and report what went wrong while the network ran."""
        if self._run is not None:
            with self._guarded(trainer):
                self._run.end()
                if self._run.units and not self._announced:
                    self._announced = True
                    rank_zero_info(f"lightning_dissect {self._run.describe()}.")

    def on_validation_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Compute the scores and give them to the loggers."""
        if self._due:
            with self._guarded(trainer):
                self._plan.inputs.settle()
            with self._guarded(trainer):
                self._finish(trainer)
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

    @contextmanager
    def _guarded(self, trainer: Any) -> Iterator[None]:
        """If the block fails, raise, or warn and switch off, as ``on_error`` says."""
        try:
            yield
        except Exception as error:
            self._close()
            training = trainer.state.fn == "fit" and trainer.global_step > 0
            if self.on_error == "raise" or (self.on_error == "auto" and not training):
                raise
            self._switched_off, self._failure = True, text_of(error)
            rank_zero_warn(f"lightning_dissect is switched off for the rest of this training: {self._failure}")

    def _start(self, trainer: Any, pl_module: nn.Module, batches: Sequence[int | float]) -> None:
        self._close()
        in_fit = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._due = not self._switched_off and not (in_fit and (trainer.current_epoch + 1) % self.every_n_epochs)
        if not self._due:
            return
        with self._guarded(trainer):
            check_clips_of_their_own(trainer)
            network = self._network(pl_module)
            check_layers(self.watch, list(find_layers(network, self.layers)))
            self._values = self._playlist = None
            if trainer.loggers and not trainer.fast_dev_run:
                self._values = ClipValues(batches=known_number(batches))
                if self.playlist.clips and self._plan.inputs.spectrogram is None:
                    self._playlist = Playlist(self.analysis.sample_rate, self.playlist, favoured=self._labelled)
            keepers = [keeper for keeper in (self._values, self._playlist) if keeper is not None]
            # A sanity check only shows that everything fits together: one pair of maps is enough for that.
            map_clips = min(self.map_clips, 2) if trainer.sanity_checking else self.map_clips
            self._run = self._plan.begin(network, batches, keepers, map_clips)
            self._run.__enter__()

    def _finish(self, trainer: Any) -> None:
        # Before anything is computed together, processes tell each other whether one has failed.
        failures = [failure for failure in gather(self._failure) if failure is not None]
        run = self._run
        if run is None:
            return
        if failures:
            raise RuntimeError(f"in another process: {failures[0]}")
        run.share()
        check_coverage(run, self.layers)
        check_units(self.watch, run.units)
        if trainer.sanity_checking:
            return
        if not self._warned:
            self._warned = True
            network = self._network(trainer.lightning_module)
            for remark in remarks(run, self.layers, network, named_axes=bool(self._plan.axes)):
                rank_zero_warn(remark)
        settings = self._plan.settings(run) | {"playlist": self.playlist.clips}
        stage: Stage = "test" if trainer.testing else "validate"
        self.scores = run.scores(trainer.current_epoch, trainer.global_step, settings, stage)
        self.scores.baseline = None if trainer.testing else self._baseline  # the clips of a test are others
        if self._values is not None:
            labels = self.scores.labels()
            self._labelled = labels.dropna(subset="feature")[["layer", "unit"]]
            played = None if self._playlist is None else self._playlist.compute(self._labelled)
            findings = Findings(run, self.scores, labels, self._values, played)
            publish(findings, trainer, self._index(trainer), self._earlier, self.watch)

    def _index(self, trainer: Any) -> int:
        """Its place among the callbacks of its kind, each of which writes into a folder of its own."""
        return [callback for callback in trainer.callbacks if isinstance(callback, DissectCallback)].index(self)

    def _network(self, pl_module: nn.Module) -> nn.Module:
        """The module whose submodules are dissected."""
        return pl_module

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None
