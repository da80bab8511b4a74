"""What a run from elsewhere names or links to beside its own files stays out of the report."""

import base64
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lightning_dissect.files.layout import PICTURES
from lightning_dissect.report.html import write_report
from lightning_dissect.report.html.pictures import load_pictures
from lightning_dissect.run.playlist_files import load_playlists

SECRET = b"nobody may read this, neither as sound nor as a picture" * 9


@pytest.fixture
def folder(make_run: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a run's scores; beside the run a private WAV file and a private folder."""
    with wave.open(str(tmp_path / "private.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(SECRET * 2)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "clips.png").write_bytes(SECRET)
    shutil.copy(tmp_path / "private.wav", tmp_path / "private" / "clip00003-from0.00s.wav")
    return make_run(tmp_path / "run", epochs=1) / "dissect"


def name_a_sound(name: str) -> Callable[[Path, str], None]:
    def change(folder: Path, layer: str) -> None:
        table = load_playlists(folder)
        table["file"] = name.format(folder=folder.parent.parent)
        table.to_parquet(folder / "playlist.parquet")

    return change


def link(place: str, target: str) -> Callable[[Path, str], None]:
    def change(folder: Path, layer: str) -> None:
        path = folder / place.format(layer=layer)
        if path.is_dir():
            path.rename(path.with_name("moved"))
        path.unlink(missing_ok=True)
        path.symlink_to(folder.parent.parent / target)

    return change


def link_playlist(folder: Path, layer: str) -> None:
    outside = folder.parent.parent / "private" / "playlist.parquet"
    (folder / "playlist.parquet").rename(outside)
    (folder / "playlist.parquet").symlink_to(outside)


ATTACKS = {
    "an absolute name": name_a_sound("{folder}/private.wav"),
    "a name with dots": name_a_sound("../../private.wav"),
    "a name with dots behind a folder": name_a_sound("audio/../../../private.wav"),
    "a linked sound": link("audio/clip00003-from0.00s.wav", "private.wav"),
    "a linked folder of sounds": link("audio", "private"),
    "a linked picture": link(f"{PICTURES}/embedding/clips.png", "private/clips.png"),
    "a linked folder of pictures": link(f"{PICTURES}/embedding", "private"),
    "linked scores": link("epoch=9999.parquet", "private/clips.png"),
    "a linked playlist": link_playlist,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_private_files_stay_out(attack: Callable[[Path, str], None], folder: Path, evil: str) -> None:
    attack(folder, evil)
    with pytest.warns(UserWarning, match="is left out: only regular files inside"):
        page = write_report(folder.parent).read_text()
    for file in folder.parent.parent.glob("private/*"):
        assert base64.b64encode(file.read_bytes()).decode() not in page
    assert "nobody may read this" not in page


@pytest.mark.filterwarnings("ignore:.* is left out")
@pytest.mark.parametrize("layer", ["{folder}/private", "../../../private", "..", "a\0b", "n" * 5_000])
def test_a_layer_that_is_called_like_a_path_has_no_pictures(layer: str, folder: Path) -> None:
    assert load_pictures(folder, [layer.format(folder=folder.parent.parent)]) == {}


def test_names_in_playlists_may_lack_files(folder: Path) -> None:
    table = pd.read_parquet(folder / "playlist.parquet")
    table["file"] = [None, "missing.wav", "a\0b", ""]
    table.to_parquet(folder / "playlist.parquet")
    with pytest.warns(UserWarning, match="is left out"):  # the folder itself
        assert "<audio" not in write_report(folder.parent).read_text()
