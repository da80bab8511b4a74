import base64
import re
import shutil
import sys
from collections.abc import Callable
from html import unescape
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from lightning_dissect import Scores
from lightning_dissect.report.html import page, write_report


@pytest.fixture(scope="module")
def html(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(run, tmp_path_factory.mktemp("page") / "report.html").read_text()


def visible(html: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_it_stands_beside_the_scores_by_default(make_run: Callable[..., Path], tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path, epochs=1))
    assert path == tmp_path / "dissect" / "report.html"
    assert Scores.load(tmp_path).table["epoch"].unique().tolist() == [0]


def test_the_summary_says_it_in_words(html: str, evil: str) -> None:
    text = visible(html)
    # 8 of the 14 units of the first layer and 8 of the 40 of the second carry a label; of each 8 one shares it, and of
    # one it is trivial.
    first, *others = (
        "12 of 54 units (22%) follow one feature that sets them apart from all others that were compared: "
        "8 chroma, 4 onset_strength.",
        "Whether training made them so is not known: give untrained=4 to the callback.",
        "2 (4%) follow several features that these clips cannot tell apart: 2 loudness or onset_strength.",
        "2 (4%) follow only what level explains as well.",
        "38 (70%) follow none of the features more than chance explains; 2 of them never change their output.",
        "Of the units that are said to follow something, up to 5% are expected to be there by chance",
    )
    places = [text.index(words) for words in (first, *others)]
    assert places == sorted(places)
    assert f"Sets 8 units apart, most in {evil}: 4 of 14 (29%)" in text
    best = r"Best there is unit \d+, by correlation: 0\.\d\d where chance gives 0\.10 \(r² 0\.\d\d\)"
    assert re.search(best, text)
    assert "Sets no unit apart. 2 units may follow it or another feature" in text
    assert "behave like" not in text
    assert "torch 2.11.0; false discovery rate 0.05; method after O. Slizovskaia" in text


def test_names_are_no_markup(html: str) -> None:
    assert "<script>alert" not in html
    assert len(re.findall(r"<script[ >]", html)) == len(re.findall("</script>", html))


def test_nothing_is_fetched(html: str) -> None:
    own = re.sub(r"<script type=\"application/.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", own)


def test_a_run_without_labels_says_so(run: Path, tmp_path: Path) -> None:
    table = Scores.load(run).last().drop(columns="q_value").assign(p_value=0.9)
    text = visible(write_report(Scores(table).save(tmp_path / "none.parquet"), tmp_path / "none.html").read_text())
    assert "None of 54 units follows one feature that sets it apart from all others that were compared." in text


def test_whole_layers_have_a_table_where_they_were_compared(html: str, run: Path, tmp_path: Path) -> None:
    assert "Whole layers" not in html
    scores = Scores.load(run)
    row = scores.last().iloc[[0]].assign(unit=pd.NA, metric="cka", score=0.61, null=0.12, effect=0.49, p_value=1e-9)
    table = pd.concat([scores.last().astype({"metric": str}), row.astype({"metric": str})]).drop(columns="q_value")
    text = visible(write_report(Scores(table).save(tmp_path / "both.parquet"), tmp_path / "both.html").read_text())
    assert re.search(r"loudness kernel alignment \(CKA\), one value a clip 0\.610 0\.120 0\.490 \S*e-0", text)


def test_nothing_half_written_stays(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("older")

    def fail(*_: object) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr(page, "_render", fail)
    with pytest.raises(OSError, match="No space left"):
        write_report(run, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "older"


@pytest.mark.parametrize("package", ["itables", "plotly", "jinja2"])
def test_a_missing_package_is_named(package: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{package}.*lightning-dissect\[report\]"):
        write_report(run, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_the_pictures_of_each_layer_are_in_the_page(html: str, run: Path, tmp_path: Path) -> None:
    drawn = re.findall(r'<img loading="lazy" alt="([^"]*)" src="data:image/png;base64,([^"]*)">', html)
    assert [alt.rpartition(": ")[2] for alt, _ in drawn] == [
        "The unit that follows each feature best, one dot a clip"
    ] * 2
    assert all(Image.open(BytesIO(base64.b64decode(data))).size == (8, 4) for _, data in drawn)
    together = re.findall(r'<img alt="How far each feature goes[^"]*" src="data:image/png;base64,([^"]*)">', html)
    assert [Image.open(BytesIO(base64.b64decode(data))).size for data in together] == [(6, 6)]
    assert "add clips in which they differ." in visible(html)
    alone = next((run / "dissect").glob("epoch=0002*.parquet"))
    (tmp_path / "alone").mkdir()
    shutil.copy(alone, tmp_path / "alone")
    assert "<img" not in write_report(tmp_path / "alone").read_text()
