"""The commands that read runs, and what every command answers to wrong use."""

import subprocess
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from lightning_dissect import Scores
from lightning_dissect.cli import COMMANDS, main, show


def test_show_prints_the_labels(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["layer", "unit", "label", "kind", "rivals"]
    # What sets units apart comes first, what is trivial last.
    assert [line.split()[:4] for line in lines[1:]] == [
        [layer, unit, label, kind]
        for unit, label, kind in (
            ("0", "percussive", "distinct"),
            ("4", "loudness", "shared"),
            ("1", "percussive", "trivial"),
        )
        for layer in ("conv", "embedding")
    ]
    assert lines[3].split("shared")[1].split()[:8] == ["chroma", "(A)", "pearson,", "clip", "0.900", "0.810", "–", "–"]
    assert lines[5].split("trivial")[1].split()[:3] == ["level", "pearson,", "clip"]


@pytest.mark.parametrize(
    ("options", "units"),
    [
        (["--feature", "loudness"], 2),
        (["--feature", "chroma*"], 0),
        (["--layer", "emb*"], 3),
        (["--layer", "emb*", "--all"], 6),
        (["--kind", "distinct"], 2),
        (["--kind", "learned"], 0),
        (["--kind", "none"], 6),
        (["--kind", "shared", "--layer", "conv"], 1),
        (["--least", "0.81"], 0),
        (["--least", "0.79"], 6),
        (["--summary", "--csv"], 2),
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
    assert table["rivals"].fillna("").tolist() == ["", "rms_db", "chroma[A]"] * 2
    assert table["kind"].tolist() == ["distinct", "trivial", "shared"] * 2
    assert table["r2"].tolist() == pytest.approx([0.81] * 6)


def test_the_labels_of_some_layers_are_those_of_the_whole_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--all", "--csv"]) == 0
    whole = pd.read_csv(StringIO(capsys.readouterr().out))
    assert main(["show", str(run), "--all", "--csv", "--layer", "emb*"]) == 0
    part = pd.read_csv(StringIO(capsys.readouterr().out))
    assert 0 < len(part) < len(whole)
    pd.testing.assert_frame_equal(part, whole[whole["layer"] == "embedding"].reset_index(drop=True), check_dtype=False)


def test_show_sums_up_in_words_and_by_layer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--summary"]) == 0
    said, _, table = capsys.readouterr().out.partition("\n\n")
    assert said.startswith("2 of 12 units (17%) follow one feature that sets them apart from all others")
    assert "2 (17%) follow several features that these clips cannot tell apart: 2 chroma or loudness." in said
    assert "2 (17%) follow only what level explains as well." in said
    header, *lines = (line.split() for line in table.splitlines())
    counts = ["units", "distinct", "learned", "shared", "trivial", "none", "dead", "loudness", "percussive", "chroma"]
    assert header == ["layer", *counts]
    assert lines == [[layer, "6", "1", "–", "1", "1", "3", "0", "0", "1", "0"] for layer in ("conv", "embedding")]


def test_show_of_whole_layers_prints_the_layers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Scores.load(run).last().query("unit == 0").assign(unit=pd.NA, metric="cka")
    Scores(table).save(tmp_path / "layers.parquet")
    assert main(["show", str(tmp_path / "layers.parquet")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["layer", "feature"],
        ["conv", "percussive"],
        ["embedding", "percussive"],
    ]


def test_compare_prints_what_changed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = sorted(run.rglob("*.parquet"))[0]
    assert main(["compare", str(first), str(run)]) == 0
    printed = capsys.readouterr().out
    assert "4 of 12 units changed their label." in printed
    assert {"2 none → shared", "2 distinct → trivial"} <= set(printed.splitlines())
    assert main(["compare", str(run), str(run)]) == 1
    assert capsys.readouterr().out == "None of 12 units changed its label.\n"


def test_report_writes_the_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "page.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "2 of 12 units (17%) follow one feature that sets them apart" in page.read_text()


WRONG = {
    "missing run": (["show", "missing"], "missing: no such folder"),
    "empty run": (["report", "empty"], "no scores here"),
    "corrupt": (["report", "corrupt.parquet"], "corrupt.parquet cannot be read as scores"),
    "foreign": (["show", "foreign.parquet"], "were not written by lightning_dissect"),
    "unwritable": (["report", "run", "--out", "file/page.html"], "file"),
    "size": (["show", "run", "--least", "-1"], "-1 is no effect of 0 or more"),
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
