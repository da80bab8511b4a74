"""What lies where in a run's folder."""

from pathlib import Path

import pytest

from lightning_dissect.files import Place, find_place, whole
from lightning_dissect.files.layout import list_scores, picture_file, score_file, set_aside

NAMES = [
    "epoch=0000-step=00000004.parquet",
    "epoch=0001-step=00000008.parquet",
    "playlist.parquet",
    ".epoch=0001-step=00000008.parquet.7.partial",
    "test-epoch=0001-step=00000008.parquet",
    "mine.parquet",
]


@pytest.fixture(params=["{tmp_path}", "memory://layout{tmp_path}"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    folder = find_place(request.param.format(tmp_path=tmp_path))
    for name in NAMES:
        with whole(folder / "dissect" / name) as file:
            file.write(name.encode())
    return folder


def test_tests_are_listed_where_they_are_asked_for_or_alone(folder: Place) -> None:
    validations = [NAMES[0], NAMES[1], "mine.parquet"]
    assert [file.name for file in list_scores(folder)] == validations
    assert [file.name for file in list_scores(folder, "validate")] == validations
    assert [file.name for file in list_scores(folder, "test")] == [score_file("test", 1, 8)]
    for file in list_scores(folder, "validate"):
        file.unlink()
    assert [file.name for file in list_scores(folder)] == [score_file("test", 1, 8)]


@pytest.mark.parametrize(
    ("start", "kept"),
    [(0, []), (3, []), (4, [NAMES[0]]), (7, [NAMES[0]]), (8, [NAMES[0], NAMES[1], NAMES[4]])],
)
def test_what_a_fit_does_not_continue_is_renamed(start: int, kept: list[str], folder: Place) -> None:
    before = len(list(folder.rglob("*")))
    if len(kept) < 3:
        with pytest.warns(UserWarning, match=f"{3 - len(kept)} score files of an earlier training"):
            set_aside([folder / "dissect", folder / "missing"], start)
    else:
        set_aside([folder / "dissect"], start)
    left = [file.name for file in sorted((folder / "dissect").glob("*.parquet"), key=str)]
    assert left == sorted([*kept, "mine.parquet", "playlist.parquet"])
    for file in (folder / "dissect").glob("*.old"):
        assert file.open("rb").read().decode() + ".old" == file.name
    assert len(list(folder.rglob("*"))) == before


def test_nothing_that_was_set_aside_is_written_over(folder: Place) -> None:
    for content in (b"1", b"2", b"3"):
        with whole(folder / "dissect" / NAMES[0]) as file:
            file.write(content)
        with pytest.warns(UserWarning, match="set aside"):
            set_aside([folder / "dissect"], 0)
    aside = sorted((folder / "dissect").glob(f"{NAMES[0]}.old*"), key=str)
    assert [file.name.partition(".parquet")[2] for file in aside] == [".old", ".old2", ".old3"]
    assert [file.open("rb").read() for file in aside] == [b"1", b"2", b"3"]


def test_pictures_have_a_folder_for_each_layer() -> None:
    assert picture_file("overview") == "pictures/overview.png"
    assert picture_file("units", "features.0") == "pictures/features.0/units.png"
    # A name that is a path, or that of a picture
    for layer in ("../../x", "/etc", "overview.png"):
        pictures, folder, name = picture_file("units", layer).split("/")
        assert (pictures, name) == ("pictures", "units.png")
        assert folder not in (".", "..", "overview.png")
