import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from instruments import INSTRUMENTS, InstrumentData, render_clip
from paper1_slizovskaia import dissect_network, studies
from train_instruments import best_units, main

from lightning_dissect import Scores
from lightning_dissect.networks import CNNAT

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script, *arguments, cwd):
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)


def scores(rows):
    columns = ["layer", "unit", "feature", "score", "p_value", "lower_p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return Scores(
        table.assign(
            epoch=0, step=0, dataloader=0, level="clip", metric="pearson", null=0.0, effect=table["score"], n_clips=50
        )
    )


def test_table_has_the_best_unit_of_each_layer_and_feature():
    table = best_units(
        scores(
            [
                ("conv1", 0, "loudness", 0.5, 1e-6, 1.0),
                ("conv1", 1, "loudness", 0.7, 1e-9, 1.0),
                ("conv1", 2, "onset_rate", 0.4, 1e-4, 1.0),
                ("conv1", 3, "onset_rate", math.nan, math.nan, math.nan),
                ("conv1", 4, "chroma", 0.7, 1e-9, 1.0),
                ("conv1", 4, "loudness", 0.6, 1e-9, 0.6),  # as good: chroma does not set the unit apart
                ("embedding", 7, "loudness", 0.1, 0.9, math.nan),
                ("embedding", 8, "loudness", 0.6, 1e-8, 1.0),
            ]
        )
    )
    rows = [line.split()[:3] for line in table.splitlines()[1:]]
    assert rows == [["conv1", "1", "loudness"], ["conv1", "2", "onset_rate"], ["embedding", "8", "loudness"]]


def test_table_without_support_says_so():
    assert "No feature sets a unit apart" in best_units(scores([("conv1", 0, "loudness", 0.1, 0.5, math.nan)]))


def test_a_folder_with_one_class_is_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "recordings" / "only").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["train_instruments.py", "--audio", str(tmp_path / "recordings")])
    with pytest.raises(SystemExit) as raised:
        main()
    assert re.match(r"error: audio: .*recordings has 0 usable classes, at least two are needed", raised.value.code)


def test_too_few_clips_are_refused_before_anything_is_rendered(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_instruments.py", "--limit", "1"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--limit at least 12" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_training_on_own_recordings(tmp_path):
    for instrument in INSTRUMENTS[:2]:
        (tmp_path / "recordings" / instrument.name).mkdir(parents=True)
        for n in range(20):
            clip = render_clip(instrument, "train", np.random.default_rng(n), 44_100, 3.0)
            soundfile.write(tmp_path / "recordings" / instrument.name / f"{n}.flac", clip, 44_100)
    (tmp_path / "recordings" / "piano" / "broken.mp3").write_text("not audio")
    finished = run("train_instruments.py", "--audio", "recordings", "--epochs", 1, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "skipped recordings/piano/broken.mp3: unreadable" in finished.stdout
    assert "The units that a feature sets apart on the best support" in finished.stdout
    log_dir = tmp_path / re.search(r"tensorboard --logdir (\S+)", finished.stdout)[1]
    assert list(log_dir.glob("events.out.tfevents.*"))
    assert (log_dir / "dissect" / "report.html").stat().st_size > 1e6
    table = Scores.load(log_dir).table
    assert set(table["layer"]) == {f"network.{layer}" for layer in CNNAT(2, n_embedding=128).layers}
    assert table.loc[table["metric"] == "pearson", "n_clips"].max() == 8


def test_paper1_trains_the_network_in_training_mode():
    study = studies(None)["CNN-AT"]
    network = study.make()
    dissect_network(network, study, InstrumentData(n_train=10, n_validation=10), map_clips=0)
    assert all(module.training for module in network.modules())


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_paper1_writes_a_summary(tmp_path):
    options = ("--epochs", 1, "--limit", 30, "--map-clips", 4, "--copies", 2)
    finished = run("paper1_slizovskaia.py", "--folder", "out", *options, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    summary = (tmp_path / "out" / "summary.md").read_text()
    for network in ("CNN-AT", "MM-CNN", "VGGish"):
        assert f"**{network}**" in summary
        assert (tmp_path / "out" / f"{network}-histograms.png").stat().st_size > 10_000
    assert summary.count("\n## ") == 3
    tables = re.findall(r"(?:^\|.*\n)+", summary, re.MULTILINE)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
