import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lightning_dissect.cli import main
from lightning_dissect.cli.recordings import read_clip
from lightning_dissect.features import feature_names


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of A4 at an amplitude of 0.5."""
    path = tmp_path_factory.mktemp("tone") / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * 44_100) / 44_100), 44_100)
    return path


def test_features_of_a_tone(tone: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["features", str(tone), "--features", "rms", "chroma", "centroid", "--csv"]) == 0
    (tmp_path / "features.csv").write_text(capsys.readouterr().out)
    table = pd.read_csv(tmp_path / "features.csv").set_index("feature")
    # The root mean square of a sine is its amplitude / √2; frames at the ends hold silence.
    assert table.loc["rms", "largest"] == pytest.approx(0.5 / math.sqrt(2), rel=0.01)
    chroma = table[table.index.str.startswith("chroma")]
    assert chroma["mean"].idxmax() == "chroma[A]"
    assert len(chroma) == 12
    assert table.loc["centroid", "mean"] == pytest.approx(440, rel=0.1)


def test_all_features_are_printed(tone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", str(tone)]) == 0
    printed = {line.split()[0].split("[")[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert printed == {name for name in feature_names() if not name.endswith("_nnaudio")}


@pytest.mark.parametrize("name", ["input", "chroma", "loudness", "tempo"])
def test_a_feature_is_drawn(tone: Path, tmp_path: Path, name: str) -> None:
    picture = tmp_path / f"{name}.png"
    assert main(["features", str(tone), "--features", name, "--plot", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_an_unknown_feature_is_named(tone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", str(tone), "--features", "loundess"]) == 2
    assert "loundess" in capsys.readouterr().err


def test_the_middle_of_a_recording_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "steps.wav", np.repeat([0.1, 0.2, 0.3], 8_000), 8_000)
    clip = read_clip(tmp_path / "steps.wav", 4_000, 1.0)
    assert clip.shape == (4_000,)
    np.testing.assert_allclose(clip[100:-100], 0.2, atol=1e-3)  # 16 bits and the resampler's ripple


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan), 8_000, subtype="FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_clip(tmp_path / "nan.wav", 8_000, 1.0)
