"""What names of others may do to the terminal: nothing."""

import ast
import contextlib
from pathlib import Path

import pytest

import lightning_dissect.cli
from lightning_dissect import Scores
from lightning_dissect.cli import main
from lightning_dissect.cli.terminal import printable

HOSTILE = "\x1b]0;owned\x07\x1b[31m\r\n\u202e\x9b2J\udcff"


def is_clean(text: str) -> bool:
    return all(sign.isprintable() or sign == "\n" for sign in text)


@pytest.mark.parametrize("name", ["conv", "größe 1", "层", "features.0", "chroma[A♯]"])
def test_a_plain_name_stays(name: str) -> None:
    assert printable(name) == name


def test_what_a_terminal_obeys_is_escaped() -> None:
    assert printable(HOSTILE) == r"\x1b]0;owned\x07\x1b[31m\r\n\u202e\x9b2J\udcff"


@pytest.fixture
def hostile_run(run: Path, tmp_path: Path) -> Path:
    """A run in a folder, with layers, features and settings, of names that would steer a terminal."""
    scores = Scores.load(run)
    name = HOSTILE.removesuffix("\udcff")  # Parquet takes no halves of letters
    folder = tmp_path / name
    for epoch in range(2):
        table = scores.table[scores.table["epoch"] == epoch].drop(columns="q_value")
        for column in ("layer", "feature", "metric", "level"):
            table[column] = table[column].astype(str) + name
        Scores(table, {name: name}).save(folder / f"{epoch}.parquet")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["show", "{run}"],
        ["show", "{run}", "--csv"],
        ["show", "{run}", "--summary"],
        ["show", "{run}", "--summary", "--csv"],
        ["compare", "{run}/0.parquet", "{run}"],
        ["report", "{run}"],
        ["report", "{run}/missing"],
        ["show", "missing" + HOSTILE],
        ["show", "{run}", HOSTILE],
        ["features", "missing" + HOSTILE],
    ],
    ids=lambda command: " ".join(command).encode("unicode_escape").decode()[:40],
)
def test_nothing_reaches_the_terminal_raw(
    command: list[str], hostile_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):  # of options that do not exist
        main([part.format(run=hostile_run) for part in command])
    shown = capsys.readouterr()
    assert r"\x1b]0;owned\x07" in shown.out + shown.err
    assert is_clean(shown.out)
    assert is_clean(shown.err)


def test_one_module_prints() -> None:
    for file in Path(lightning_dissect.cli.__file__).parent.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Name)}
        assert ("print" in names) == (file.name == "terminal.py"), file
