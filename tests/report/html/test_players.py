import base64
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from lightning_dissect import Scores
from lightning_dissect.report.html.history import read_history
from lightning_dissect.report.html.players import load_players


def test_each_unit_has_its_clips_and_the_curve_of_its_feature(run: Path) -> None:
    players = load_players(run / "dissect", read_history(run))
    assert sorted(players.units) == ["0/0", "0/1"]
    first, second = players.units["0/0"]
    assert first["words"] == "1. Clip 3, 0.00 to 1.00 s, strongest at 0.25 s (activation 2)"
    assert (
        base64.b64decode(players.audio[first["audio"]]) == (run / "dissect/audio/clip00003-from0.00s.wav").read_bytes()
    )
    assert [first["feature"], second["feature"]] == ["onset_strength", "onset_strength"]
    # Two hits, at 0 and 0.5 s: the strength of onsets stands out there and nowhere else.
    curve = np.array(first["curve"])
    assert (curve.min(), curve.max()) == (0, 100)
    assert abs(curve.argmax() / len(curve) - 0.5) < 0.1 or curve.argmax() / len(curve) < 0.1
    assert np.median(curve) < 30
    # The same excerpt is embedded once, whatever drives it; one whose audio was not kept has no player.
    assert [entry["audio"] for entry in players.units["0/1"]] == [second["audio"]]
    assert players.units["0/1"][0]["feature"] == "chroma[B]"
    assert len(players.audio) == 2


def test_without_playlists_there_is_nothing_to_play(run: Path, tmp_path: Path) -> None:
    assert load_players(tmp_path, read_history(run)) == ({}, [])


def test_a_feature_of_ones_own_has_no_curve(run: Path, tmp_path: Path) -> None:
    scores = Scores.load(run)
    table = scores.last().assign(feature=scores.last()["feature"].astype(str).replace("onset_strength", "my_own"))
    history = read_history(Scores(table, scores.settings).save(tmp_path / "own.parquet"))
    players = load_players(run / "dissect", history)
    assert [set(entry) for entry in players.units["0/0"]] == [{"words", "audio"}] * 2
    assert "curve" in players.units["0/1"][0]


def test_features_of_maps_only_have_no_curve(run: Path, tmp_path: Path) -> None:
    scores = Scores.load(run)
    table = scores.last().assign(feature=scores.last()["feature"].astype(str).replace("onset_strength", "percussive"))
    history = read_history(Scores(table, scores.settings).save(tmp_path / "maps.parquet"))
    players = load_players(run / "dissect", history)
    assert [set(entry) for entry in players.units["0/0"]] == [{"words", "audio"}] * 2


def test_an_excerpt_of_which_the_feature_is_undefined_has_no_curve(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    with wave.open(str(folder / "dissect/audio/clip00003-from0.00s.wav"), "rb") as file:
        parameters, frames = file.getparams(), file.getnframes()
    with wave.open(str(folder / "dissect/audio/clip00003-from0.00s.wav"), "wb") as file:
        file.setparams(parameters)
        file.writeframes(bytes(2 * frames))
    scores = Scores.load(run)
    feature = scores.last()["feature"].astype(str).replace("onset_strength", "harmonic_ratio")
    history = read_history(Scores(scores.last().assign(feature=feature), scores.settings).save(tmp_path / "s.parquet"))
    silent, tone = load_players(folder / "dissect", history).units["0/0"]
    assert set(silent) == {"words", "audio"}
    assert tone["feature"] == "harmonic_ratio"


@pytest.mark.parametrize("settings", [{}, {"sample_rate": 8_000, "n_fft": 512, "hop_length": 256}])
def test_curves_follow_the_settings_of_the_run(settings: dict[str, int], run: Path, tmp_path: Path) -> None:
    history = read_history(Scores(Scores.load(run).last(), settings).save(tmp_path / "other.parquet"))
    entry = load_players(run / "dissect", history).units["0/0"][0]
    # 1 s in hops of 256 samples is 32 frames.
    assert len(entry.get("curve", [])) == (32 if settings else 0)
