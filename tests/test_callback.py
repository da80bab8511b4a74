"""The callback in real trainings."""

import copy
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_dissect.callback
from lightning_dissect import DissectCallback, FrequencyAxis, Scores
from lightning_dissect.features import Analysis
from lightning_dissect.metrics import PearsonSimilarity
from lightning_dissect.networks import CNNAT
from lightning_dissect.run.choice import DEFAULT_FEATURES
from lightning_dissect.run.playlist import Playlist, Playlists
from lightning_dissect.run.playlist_files import load_playlists

RATE = 8_000


class SmallCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.3)
        self.embedding = nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = torch.stft(waveform, 256, 128, window=torch.hann_window(256), return_complex=True).abs()
        x = self.conv(torch.log1p(spectrum)[:, None]).mean((2, 3))
        return self.head(self.drop(torch.relu(self.embedding(x))))


def module_of(package: Any) -> type[Any]:
    class Classifier(package.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self, fail_at: int | None = None) -> None:
            super().__init__()
            self.network, self.fail_at, self.steps = SmallCNN(), fail_at, 0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.steps += 1
            if self.fail_at is not None and self.steps > self.fail_at:
                raise RuntimeError("validation went wrong")
            self.log("val_loss", nn.functional.cross_entropy(self.network(batch[0]), batch[1]))

        test_step = validation_step

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    return Classifier


Classifier = module_of(pl)


@pytest.fixture(scope="module")
def data(clips: Callable[..., Tensor]) -> TensorDataset:
    waveform = clips(24, seconds=1.0, sample_rate=RATE)
    return TensorDataset(waveform, torch.arange(24) % 2)


def loader(data: Any, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(data, batch_size=8, shuffle=shuffle)


def callback(**arguments: Any) -> DissectCallback:
    defaults: dict[str, Any] = {"frequency": FrequencyAxis("linear", 64), "map_clips": 4, "on_error": "raise"}
    return DissectCallback(**{"sample_rate": RATE, **defaults, **arguments})


def trainer(folder: Path, callbacks: Any, package: Any = pl, **arguments: Any) -> Any:
    defaults: dict[str, Any] = {
        "max_epochs": 1,
        "logger": TensorBoardLogger(folder) if package is pl else True,
        "default_root_dir": folder,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "log_every_n_steps": 1,
    }
    return package.Trainer(callbacks=callbacks, **{**defaults, **arguments})


def count_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def events(folder: Path) -> EventAccumulator:
    (file,) = folder.rglob("events.out.tfevents*")
    return EventAccumulator(str(file), size_guidance={"histograms": 0, "images": 0, "scalars": 0}).Reload()


def test_one_line_gives_scores_logs_and_a_file(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback()
    trainer(tmp_path, watch, max_epochs=2).fit(Classifier(), loader(data, shuffle=True), loader(data))
    assert watch.scores is not None
    table = watch.scores.table
    assert table["layer"].unique().tolist() == ["network.conv.0", "network.embedding", "network.head"]
    assert set(table["metric"]) == {"pearson", "euclidean", "sift"}
    assert table.groupby("layer", observed=True)["unit"].nunique().to_dict() == {
        "network.conv.0": 6, "network.embedding": 5, "network.head": 2,
    }  # fmt: skip
    assert (table["n_clips"] <= 24).all()
    assert table["epoch"].unique().tolist() == [1]
    joined = Scores.load(tmp_path)
    assert joined.table["epoch"].unique().tolist() == [0, 1]
    assert joined.settings["features"] == list(DEFAULT_FEATURES)
    logged = events(tmp_path)
    assert "dissect.network.conv.0/harmonic/sift.map/best" in logged.Tags()["scalars"]
    assert "dissect/labelled_loudness/network.embedding" in logged.Tags()["scalars"]
    assert "dissect.network.embedding/loudness/pearson.clip" in logged.Tags()["histograms"]
    assert "dissect/overview" in logged.Tags()["images"]
    assert "dissect.network.embedding/units" in logged.Tags()["images"]
    assert "dissect.network.conv.0/sift" in logged.Tags()["images"]
    (first, second) = logged.Scalars("dissect.network.embedding/loudness/pearson.clip/mean")
    assert (first.step, second.step) == (3, 6)
    assert second.value == pytest.approx(
        table[(table["layer"] == "network.embedding") & (table["feature"] == "loudness")
              & (table["metric"] == "pearson") & (table["level"] == "clip")]["score"].mean()
    )  # fmt: skip


@pytest.mark.parametrize("package", [pl, lightning.pytorch])
def test_both_lightning_packages_take_the_callback_without_a_list(
    package: Any, data: TensorDataset, tmp_path: Path
) -> None:
    watch = callback(metrics=["pearson"])
    trainer(tmp_path, watch, package, logger=False).fit(module_of(package)(), loader(data), loader(data))
    assert watch.scores is not None
    assert len(watch.scores)
    assert not list(tmp_path.rglob("*.parquet"))


def test_training_is_the_same_to_the_bit(data: TensorDataset, tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [callback()]):
        pl.seed_everything(7, verbose=False)
        module = Classifier()
        fit = trainer(tmp_path / str(len(callbacks)), callbacks, max_epochs=2)
        fit.fit(module, loader(data, shuffle=True), loader(data, shuffle=False))
        weights.append((copy.deepcopy(module.state_dict()), torch.get_rng_state(), fit.callback_metrics))
    (plain, plain_random, plain_metrics), (watched, watched_random, watched_metrics) = weights
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert torch.equal(plain_random, watched_random)
    assert plain_metrics == watched_metrics


def test_sanity_checking_logs_nothing(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback()
    with pytest.raises(RuntimeError, match="validation went wrong"):
        # Two sanity batches pass, and the first batch of the real validation raises.
        trainer(tmp_path, watch).fit(Classifier(fail_at=2), loader(data), loader(data))
    assert watch.scores is None
    assert not list(tmp_path.rglob("*.parquet"))
    assert not [tag for tag in events(tmp_path).Tags()["scalars"] if tag.startswith("dissect")]


def test_every_n_epochs_holds(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback(every_n_epochs=2, metrics=["pearson"])
    trainer(tmp_path, watch, max_epochs=5).fit(Classifier(), loader(data), loader(data))
    assert Scores.load(tmp_path).table["epoch"].unique().tolist() == [1, 3]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_no_hook_behind(
    error: type[BaseException], data: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, hooks = Classifier(), []

    def fail(*_: Any) -> None:
        hooks.append(count_hooks(module))
        raise error

    monkeypatch.setattr(module, "validation_step", fail)
    with pytest.raises((error, SystemExit)):
        trainer(tmp_path, callback()).fit(module, loader(data), loader(data))
    assert hooks[0] > 0
    assert count_hooks(module) == 0


def test_validate_and_test_give_scores_too(data: TensorDataset, tmp_path: Path) -> None:
    for name in ("validate", "test"):
        watch, module = callback(metrics=["pearson"]), Classifier()
        getattr(trainer(tmp_path / name, watch), name)(module, loader(data), verbose=False)
        assert watch.scores is not None
        assert watch.scores.table["n_clips"].max() == 24
        assert count_hooks(module) == 0


def test_several_loaders_are_kept_apart(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback(metrics=["pearson"])
    half = torch.utils.data.Subset(data, range(12))
    trainer(tmp_path, watch).validate(Classifier(), [loader(data), loader(half)], verbose=False)
    assert watch.scores is not None
    clips_counted = watch.scores.table.groupby("dataloader")["n_clips"].max()
    assert clips_counted.to_dict() == {0: 24, 1: 12}
    assert any(".dataloader1/" in tag for tag in events(tmp_path).Tags()["scalars"])


@pytest.mark.parametrize("rate", [0, -16_000, None])
def test_a_wrong_sample_rate_is_refused_at_once(rate: Any) -> None:
    with pytest.raises(ValueError, match="sample_rate"):
        DissectCallback(sample_rate=rate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ["harmonic", "loudnes"]}, r"loudnes.*loudness"),
        ({"metrics": ["pearsn"]}, r"'pearsn' is unknown. Known are pearson, spearman, euclidean, sift"),
        ({"metrics": "pearson"}, r"use \['pearson'\]"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"map_clips": -1}, "map_clips=-1"),
        ({"max_clips": 0}, "max_clips=0"),
        ({"metrics": ["sift"], "features": ["loudness"]}, r"sift.map have no level in common with .* loudness"),
        ({"metrics": ["sift"], "map_clips": 0}, r"sift.map have no level in common"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
    ],
)
def test_unknown_names_are_refused_with_the_valid_ones(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        callback(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["network.embeding"]}, r"'network.embeding' matches no submodule. Did you mean: network.embedding"),
        ({"waveform": "audio"}, r"waveform='audio' is not in the batch, which holds 0: float32 \(8, 8000\); 1: int64"),
        ({"axes": {"network.conv.0": "batch unit"}}, r"its output \(8, 6, 129, 63\)(.|\n)*layer 'network.conv.0'"),
    ],
)
def test_what_cannot_work_raises_before_the_first_training_step(
    arguments: dict[str, Any], message: str, data: TensorDataset, tmp_path: Path
) -> None:
    fit = trainer(tmp_path, callback(**{**arguments, "on_error": "auto"}))
    with pytest.raises(ValueError, match=message):
        fit.fit(Classifier(), loader(data), loader(data))
    assert fit.global_step == 0


def test_a_batch_without_audio_raises_before_the_first_training_step(tmp_path: Path) -> None:
    spectrograms = TensorDataset(torch.randn(8, 1, 64, 63), torch.zeros(8, dtype=torch.long))
    fit = trainer(tmp_path, DissectCallback(sample_rate=RATE))
    with pytest.raises(ValueError, match=r"waveform=None: no tensor has the shape of audio"):
        fit.fit(Classifier(), loader(spectrograms), loader(spectrograms))
    assert fit.global_step == 0


def test_an_error_under_way_warns_and_training_goes_on(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback(waveform="audio", on_error="auto")
    fit = trainer(tmp_path, watch, num_sanity_val_steps=0, max_epochs=2)
    with pytest.warns(UserWarning, match="switched off for the rest of this training: waveform='audio'") as caught:
        fit.fit(Classifier(), loader(data), loader(data))
    assert len([w for w in caught if "switched off" in str(w.message)]) == 1
    assert fit.current_epoch == 2
    assert watch.scores is None


class Unreadable(PearsonSimilarity):
    """Raises what cannot be made again from its text alone."""

    def update(self, activations: Tensor, features: Tensor, mask: Tensor | None = None) -> None:
        json.loads("{")


def test_any_error_of_a_metric_warns_with_the_layer_and_training_goes_on(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback(metrics=[Unreadable()], layers=["network.head"], on_error="warn")
    fit = trainer(tmp_path, watch, max_epochs=2)
    with pytest.warns(UserWarning, match=r"switched off for the rest .*: layer 'network.head': Expecting"):
        fit.fit(Classifier(), loader(data), loader(data))
    assert fit.current_epoch == 2
    assert watch.scores is None


def test_layers_that_do_not_run_are_named(data: TensorDataset, tmp_path: Path) -> None:
    module = Classifier()
    module.unused = nn.Linear(2, 2)
    watch = callback(metrics=["pearson"])
    with pytest.warns(UserWarning, match=r"did not run in this validation and have no scores: unused"):
        trainer(tmp_path, watch).fit(module, loader(data), loader(data))
    with pytest.raises(RuntimeError, match=r"None of the chosen layers ran during validation: unused"):
        trainer(tmp_path, callback(layers=["unused"])).validate(module, loader(data), verbose=False)


def test_nan_and_silent_clips_neither_stop_training_nor_label(data: TensorDataset, tmp_path: Path) -> None:
    waveform = data.tensors[0].clone()
    waveform[3] = torch.nan
    waveform[4] = 0
    mixed = TensorDataset(waveform, data.tensors[1])
    watch = callback()
    fit = trainer(tmp_path, watch)
    fit.fit(Classifier(), loader(data), loader(mixed))
    assert fit.global_step == 3
    assert watch.scores is not None
    clip = watch.scores.table.query("level == 'clip'")
    assert clip["score"].notna().any()
    # The silent clip has no ratio of its parts.
    assert (clip["n_clips"] == 23 - (clip["feature"] == "harmonic_ratio")).all()

    for broken in (torch.full_like(waveform, torch.nan), torch.zeros_like(waveform)):
        watch = callback()
        trainer(tmp_path / "broken", watch).fit(
            Classifier(), loader(data), loader(TensorDataset(broken, data.tensors[1]))
        )
        assert watch.scores is not None
        assert watch.scores.table["score"].isna().all()
        assert watch.scores.labels()["feature"].isna().all()


def test_other_loggers_get_the_scalars(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback(metrics=["pearson"])
    csv = CSVLogger(tmp_path)
    trainer(tmp_path, watch, logger=csv, max_epochs=2).fit(Classifier(), loader(data), loader(data))
    text = (Path(csv.log_dir) / "metrics.csv").read_text()
    assert "dissect.network.embedding/loudness/pearson.clip/best" in text
    assert Scores.load(csv.log_dir).table["epoch"].nunique() == 2


def test_fast_dev_run_works_and_writes_nothing(data: TensorDataset, tmp_path: Path) -> None:
    watch = callback()
    trainer(tmp_path, watch, fast_dev_run=True).fit(Classifier(), loader(data), loader(data))
    assert watch.scores is not None
    assert not list(tmp_path.rglob("*.parquet"))


def test_units_that_were_labelled_are_favoured_by_the_next_playlist(
    data: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    favoured: list[Any] = []

    class Noting(Playlist):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            favoured.append(more["favoured"])

    monkeypatch.setattr(lightning_dissect.callback, "Playlist", Noting)
    watch = callback(metrics=["pearson"], features=["rms", "loudness"])
    trainer(tmp_path, watch, max_epochs=2, num_sanity_val_steps=0).fit(Classifier(), loader(data), loader(data))
    first, second = favoured
    assert first is None
    labels = Scores.load(tmp_path).filter(epoch=0).labels().dropna(subset="feature")
    assert len(labels)
    assert second.astype(str).values.tolist() == labels[["layer", "unit"]].astype(str).values.tolist()


def test_no_warning_is_given_where_nothing_is_to_be_done(data: TensorDataset, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, callback()).fit(Classifier(), loader(data), loader(data))
    assert not [w for w in caught if "lightning_dissect" in f"{w.filename}{w.message}"]


def test_no_more_clips_than_the_budget_are_compared_spread_over_the_batches(
    data: TensorDataset, tmp_path: Path
) -> None:
    seen = []

    class Watching(DissectCallback):
        def on_validation_batch_start(self, *arguments: Any) -> None:
            super().on_validation_batch_start(*arguments)
            assert self._run is not None
            seen.append(self._run._batch is not None)

    arguments: dict[str, Any] = {"frequency": FrequencyAxis("linear", 64), "map_clips": 4, "on_error": "raise"}
    for budget, expected in ((9, [True, True, True]), (4, [True, True, False]), (2, [True, False, False])):
        seen.clear()
        watch = Watching(RATE, max_clips=budget, **arguments)
        trainer(tmp_path, watch).validate(Classifier(), loader(data), verbose=False)
        assert seen == expected
        assert watch.scores is not None
        assert watch.scores.table["n_clips"].max() == budget
        assert watch.scores.settings["max_clips"] == budget

    # The clips that are compared are compared as if they were the only ones.
    some = torch.utils.data.Subset(data, [0, 1, 2, 8, 9, 10, 16, 17, 18])
    module = Classifier()
    tables = []
    for dataset, size, budget in ((data, 8, 9), (some, 3, None)):
        watch = callback(max_clips=budget, metrics=["pearson", "euclidean"])
        trainer(tmp_path, watch).validate(module, DataLoader(dataset, size), verbose=False)
        assert watch.scores is not None
        tables.append(watch.scores.table)
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)


def test_one_line_says_what_is_compared_and_what_it_costs(
    data: TensorDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        trainer(tmp_path, callback(metrics=["pearson"]), max_epochs=2).fit(Classifier(), loader(data), loader(data))
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lightning_dissect")]
    assert "compares 13 units of 3 layers" in line
    assert "batch unit frequency time: network.conv.0 (6); batch unit: network.embedding (5), network.head (2)" in line
    assert f"{', '.join(DEFAULT_FEATURES)} by pearson.clip, pearson.frame, pearson.map" in line
    assert "controls: rms_db, input;" in line
    assert re.search(r"its state takes [\d.]+ MB, however many clips there are", line)


def test_features_and_layers_that_no_metric_can_compare_are_named(data: TensorDataset, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"No metric works at a level that these features have: loudness\."):
        watch = callback(metrics=["sift"], features=["harmonic", "loudness"])
    with pytest.warns(UserWarning, match="no level that a metric and a feature have") as caught:
        trainer(tmp_path, watch, max_epochs=2).fit(Classifier(), loader(data), loader(data))
    (warning,) = [str(w.message) for w in caught if "no level" in str(w.message)]
    assert warning.endswith("network.embedding, network.head.")
    assert watch.scores is not None
    assert watch.scores.table["layer"].unique().tolist() == ["network.conv.0"]
    assert not [w for w in caught if "did not run" in str(w.message)]


def test_an_analysis_stands_for_the_rate_the_frames_and_the_axis() -> None:
    analysis = Analysis(RATE, 512, 128, FrequencyAxis("linear", 64))
    for given in (
        DissectCallback(analysis=analysis),
        DissectCallback(RATE, analysis=analysis),
        DissectCallback(RATE, n_fft=512, hop_length=128, frequency=FrequencyAxis("linear", 64)),
    ):
        assert given.analysis == analysis
    for beside in ({"n_fft": 1024}, {"hop_length": 64}, {"frequency": FrequencyAxis("mel", 32)}):
        with pytest.raises(ValueError, match="n_fft, hop_length and frequency are those of the Analysis"):
            DissectCallback(analysis=analysis, **beside)
    with pytest.raises(ValueError, match=r"sample_rate=44100 is not that of analysis=Analysis\(sample_rate=8000"):
        DissectCallback(44_100, analysis=analysis)
    assert DissectCallback(analysis=CNNAT(n_classes=2).analysis).analysis.sample_rate == CNNAT.sample_rate


def test_the_former_name_of_map_clips_warns() -> None:
    with pytest.warns(UserWarning, match="sift_clips is called map_clips now"):
        assert callback(map_clips=16, sift_clips=5).map_clips == 5


def test_playlists_are_told_by_a_number_or_in_full(data: TensorDataset, tmp_path: Path) -> None:
    assert callback(playlist=2).playlist == Playlists(clips=2)
    with pytest.raises(ValueError, match="playlist=-1: it counts clips a unit"):
        callback(playlist=-1)
    arguments: dict[str, Any] = {"metrics": ["pearson"], "features": ["rms"]}
    trainer(tmp_path, callback(playlist=Playlists(clips=1, seconds=0.25), **arguments)).validate(
        Classifier(), loader(data), verbose=False
    )
    table = load_playlists(next(tmp_path.rglob("playlist.parquet")).parent)
    assert table["rank"].max() == 1
    assert (table["end"] - table["start"]).max() == pytest.approx(0.25)
