"""The commands that read runs, and what every command answers to wrong use."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest

from lightning_dissect import Scores
from lightning_dissect.cli import COMMANDS, main, show


def test_show_prints_the_labels(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["layer", "unit", "feature"]
    assert [line.split()[1:3] for line in lines[1:]] == [
        ["0", "percussive"],
        ["1", "percussive"],
        ["4", "loudness"],
    ] * 2


@pytest.mark.parametrize(
    ("options", "units"),
    [
        (["--feature", "loudness"], 2),
        (["--feature", "chroma*"], 0),
        (["--layer", "emb*"], 3),
        (["--layer", "emb*", "--all"], 6),
        (["--summary"], 2),
    ],
)
def test_show_chooses(options: list[str], units: int, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), *options]) == (0 if units else 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["No unit is like that."] if not units else len(lines) == units + 1


def test_show_prints_values_for_other_programs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--csv"]) == 0
    (tmp_path / "labels.csv").write_text(capsys.readouterr().out)
    table = pd.read_csv(tmp_path / "labels.csv")
    assert table["feature"].tolist() == ["percussive", "percussive", "loudness"] * 2
    assert table["effect"].tolist() == pytest.approx([0.8] * 6)


def test_compare_prints_what_changed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = sorted(run.rglob("*.parquet"))[0]
    assert main(["compare", str(first), str(run)]) == 0
    assert "2 of 12 units changed their label." in capsys.readouterr().out
    assert main(["compare", str(run), str(run)]) == 1
    assert capsys.readouterr().out == "None of 12 units changed its label.\n"


def test_report_writes_the_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "page.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "6 of 12 units (50%)" in page.read_text()


WRONG = {
    "missing run": (["show", "missing"], "missing: no such folder"),
    "empty run": (["report", "empty"], "no scores here"),
    "corrupt": (["report", "corrupt.parquet"], "corrupt.parquet cannot be read as scores"),
    "foreign": (["show", "foreign.parquet"], "were not written by lightning_dissect"),
    "unwritable": (["report", "run", "--out", "file/page.html"], "file"),
    "rate": (["show", "run", "-q", "2"], "2 is no rate between 0 and 1"),
    "command": (["shwo"], "invalid choice: 'shwo'"),
    "no audio": (["features", "file"], "file cannot be read as audio"),
    "no file": (["features", "missing.wav"], "missing.wav: no such file"),
    "few clips": (["demo", "--clips", "3"], "--clips: 3 is no whole number from 48 on"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_answered_in_one_line(
    arguments: list[str],
    words: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)
    (tmp_path / "empty").mkdir()
    (tmp_path / "corrupt.parquet").write_bytes(b"PAR1 but not really")
    pd.DataFrame({"a": [1]}).to_parquet("foreign.parquet")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    shown = capsys.readouterr()
    assert status == 2
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_the_one_line_says_in_which_layer_an_error_was_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("its output does not read.")
    error.add_note("layer 'head'")

    def fail(_: Namespace) -> int:
        raise error

    monkeypatch.setattr(show, "call", fail)
    assert main(["show", "run"]) == 2
    assert capsys.readouterr().err == "lightning-dissect: layer 'head': its output does not read.\n"


def test_runs_of_other_layers_cannot_be_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Scores.load(run).table.assign(layer="another")
    Scores(table).save(tmp_path / "other.parquet")
    assert main(["compare", str(run), str(tmp_path / "other.parquet")]) == 2
    assert "no layer in common" in capsys.readouterr().err


@pytest.mark.parametrize("command", [module.__name__.rpartition(".")[2] for module in COMMANDS])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"\n  lightning-dissect {command} " in capsys.readouterr().out.replace(f"{command}\n", f"{command} \n")


def test_the_command_in_a_process_of_its_own(run: Path) -> None:
    code = "import sys; from lightning_dissect.cli import main; sys.exit(main())"
    finished = subprocess.run(
        [sys.executable, "-c", code, "show", str(run / "missing")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr.startswith("lightning-dissect: ")
    assert finished.stderr.count("\n") == 1
