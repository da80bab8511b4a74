"""The report in a real browser. Where there is none these tests skip, but not in continuous integration."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_dissect import Scores
from lightning_dissect.report.html import write_report
from lightning_dissect.run.excerpts import Excerpt
from lightning_dissect.run.playlist import Played
from lightning_dissect.run.playlist_files import load_playlists, save_playlists

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="install Chromium to run these too; on Debian and Ubuntu: apt-get install chromium",
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM or "/usr/bin/chromium", args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(run, tmp_path_factory.mktemp("browser") / "report.html").as_uri()


@contextmanager
def watched(browser: Any, report: str) -> Iterator[Any]:
    """A report with its table; afterwards nothing may have gone to the console or to the network."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
    allowed = (report, "blob:", "data:")
    page.on("request", lambda request: request.url.startswith(allowed) or complaints.append(request.url))
    page.goto(report)
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()
    assert complaints == []


@pytest.fixture
def page(browser: Any, report: str) -> Iterator[Any]:
    with watched(browser, report) as page:
        yield page


def scroll_to_pictures(page: Any) -> None:
    page.locator("#heatmap").scroll_into_view_if_needed()
    page.wait_for_selector("body[data-drawn]")


def column(page: Any, place: int) -> list[str]:
    return list(page.locator(f"#table tbody tr td:nth-child({place})").all_inner_texts())


def header(page: Any, title: str) -> Any:
    return page.locator("#table thead th", has_text=title).first


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    return [found["id"] for found in Axe().run(page).response["violations"]]


def test_sorting(page: Any) -> None:
    page.locator("#filter-kind").select_option("distinct")
    header(page, "score").click()
    page.wait_for_selector("#table th[aria-sort=ascending]")
    ascending = [float(text.replace("−", "-")) for text in column(page, 7)]
    header(page, "score").click()
    page.wait_for_selector("#table th[aria-sort=descending]")
    descending = [float(text.replace("−", "-")) for text in column(page, 7)]
    assert ascending == sorted(ascending)
    assert descending == sorted(descending, reverse=True)
    assert len(descending) == 12


def test_filtering(page: Any, evil: str) -> None:
    page.locator("#filter-feature").select_option("chroma")
    assert column(page, 3) == ["chroma (B)"] * 8
    page.locator("#filter-layer").select_option(label=evil)
    assert column(page, 1) == [evil] * 4
    page.locator("#filter-layer").select_option("")
    page.locator("#filter-feature").select_option("")
    page.locator("#filter-kind").select_option("none")
    assert "of 38 units" in page.locator(".dt-info").inner_text()
    page.locator("#filter-kind").select_option("trivial")
    assert column(page, 5) == ["level"] * 2
    assert page.locator("#table tbody tr.trivial").count() == 2
    page.locator("#filter-kind").select_option("")
    page.get_by_role("searchbox").fill("onset_strength")
    assert column(page, 3) == ["onset_strength"] * 8
    assert column(page, 4) == ["distinct"] * 4 + ["shared"] * 2 + ["trivial"] * 2


def test_a_unit_opens_and_closes_by_keyboard(page: Any, evil: str) -> None:
    page.locator("#filter-feature").select_option("onset_strength")
    page.locator("#table button.open").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#unit[data-unit]")
    assert page.locator("#unit-title").inner_text() == f"{evil}, unit 9"
    words = page.locator("#unit-words").inner_text()
    assert words.startswith("Follows onset_strength, which sets it apart from all other features")
    assert "Compared by correlation, one value a clip, 0." in words
    assert ", r² = 0." in words
    first = page.locator("#unit-table tbody tr").first.locator("td").all_inner_texts()
    assert first[:2] == ["onset_strength", "correlation, one value a clip"]
    assert first[3] == "0.100"
    assert page.locator("#unit-trajectory .scatterlayer .trace").count() == 5
    page.keyboard.press("Escape")
    page.wait_for_selector("#unit:not([open])", state="attached")
    assert page.evaluate("document.activeElement.textContent") == "unit 9"


def test_each_kind_of_label_is_described_in_the_dialog(page: Any) -> None:
    for kind, words in {
        "shared": "Follows onset_strength or loudness: these clips cannot tell which.",
        "trivial": "Follows onset_strength or level: trivial, since level explains it as well.",
        "none": "Follows none of the features more than chance explains.",
    }.items():
        page.locator("#filter-kind").select_option(kind)
        page.locator("#table button.open").first.click()
        page.wait_for_selector("#unit[data-unit]")
        assert page.locator("#unit-words").inner_text().startswith(words)
        page.keyboard.press("Escape")
        page.wait_for_selector("#unit:not([open])", state="attached")


def test_a_unit_can_be_heard(page: Any) -> None:
    page.locator("#filter-audio").check()
    assert column(page, 2) == ["unit 0", "unit 1"]
    page.locator("#table button.open").first.click()
    page.wait_for_selector("#unit[data-unit='0/0']")
    assert page.locator("#unit-players audio").count() == 2
    assert page.get_by_text("1. Clip 3, 0.00 to 1.00 s, strongest at 0.25 s").count() == 1
    page.locator("#unit-players audio").first.focus()
    page.keyboard.press("Space")
    while not page.evaluate("document.querySelector('audio').currentTime > 0.2"):  # the page's policy allows no waiting
        page.wait_for_timeout(50)
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(1.0, abs=0.05)
    assert float(page.locator("#unit-players svg line").first.get_attribute("x1")) >= 0
    assert page.get_by_text("onset_strength over the excerpt").count() == 2


def test_the_slider_moves_through_the_epochs(page: Any) -> None:
    scroll_to_pictures(page)

    def counts(table: str = "overview") -> list[str]:
        return list(page.locator(f"#{table} tbody tr").first.locator("td").all_inner_texts())

    assert counts() == ["0", "2", "4", "1", "14"]
    assert counts("kinds")[1:] == ["6", "1", "1", "6 (1 dead)", "14"]
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    page.wait_for_selector("body[data-drawn='0']")
    assert counts() == ["0", "1", "1", "0", "14"]
    assert counts("kinds")[1:] == ["2", "1", "0", "11", "14"]
    widths = [
        bar["width"]
        for bar in (span.bounding_box() for span in page.locator("#kinds .bar").first.locator("span").all())
    ]
    assert widths[3] / widths[0] == pytest.approx(11 / 2, rel=0.05)  # to the width of a gap
    stacks = page.evaluate("document.getElementById('kinds-trajectory').data.map((bars) => bars.y)")
    assert stacks == [[2, 4, 6], [1, 1, 1], [0, 1, 1], [11, 8, 6]]
    assert page.locator("#moment").inner_text() == "epoch 0, step 10"
    z = page.evaluate("document.getElementById('heatmap').data[0].z")
    assert [len(row) for row in z] == [14] * 4
    assert [row[-1] for row in z] == [None] * 4


def test_a_layer_without_maps_says_so(page: Any) -> None:
    scroll_to_pictures(page)
    page.locator("#layer").select_option(label="embedding")
    page.locator("#comparison").select_option(label="matching shapes (SIFT), frequency × time")
    page.get_by_text("This layer has nothing of this kind.").wait_for()


def test_a_cell_of_the_heat_map_opens_its_unit(page: Any) -> None:
    scroll_to_pictures(page)
    page.locator("#heatmap .nsewdrag").click(position={"x": 3, "y": 10})
    page.wait_for_selector("#unit[data-unit='0/0']")


def test_it_can_be_used_without_sight(page: Any) -> None:
    scroll_to_pictures(page)
    assert violations(page) == []
    page.locator("#table button.open").first.click()
    page.wait_for_selector("#unit[data-unit]")
    assert violations(page) == []


ATTACKS = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "</script><script>alert(3)</script>",
    "<b onmouseover=alert(4)>x</b><a href='javascript:alert(5)'>y</a>",
    "{{ 7 * 7 }}${alert(6)}' onfocus='alert(7)' autofocus='",
    "<svg/onload=alert(8)><iframe src=https://example.org/></iframe>",
    "<style>@import 'https://example.org/a.css';</style><link rel=stylesheet href=//example.org/b.css>",
    "&lt;img src=x onerror=alert(9)&gt;",
    "__proto__",
    "]]><!--",
]


@pytest.fixture(scope="module")
def hostile(make_table: Callable[..., pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report in which all that a run names is markup or script."""
    folder = tmp_path_factory.mktemp("run") / "<img src=x onerror=alert(0)>"
    table = make_table(2, dict.fromkeys(ATTACKS, 4))
    for column, attack in zip(("feature", "metric", "level"), ATTACKS[:3], strict=True):
        table[column] = attack + table[column]
    settings = {name: {name: [name, name]} for name in ATTACKS} | {"versions": {name: name for name in ATTACKS}}
    for epoch in range(2):
        Scores(table.assign(epoch=epoch), settings).save(folder / f"{epoch}.parquet")
    played = pd.DataFrame({"layer": ATTACKS}).assign(
        unit=0, rank=1, process=0, dataloader=0, clip=0, time=0.1, start=0.0, end=1.0, activation=1.0
    )
    save_playlists(Played(played, {Excerpt(0, 0, 0, 0.0): np.zeros(8_000, np.float32)}), folder, 8_000)
    sound = folder / ATTACKS[0]
    (folder / "audio" / "clip00000-from0.00s.wav").rename(sound)
    load_playlists(folder).assign(file=sound.name).to_parquet(folder / "playlist.parquet")
    return write_report(folder, tmp_path_factory.mktemp("hostile") / "report.html").as_uri()


def test_names_run_nothing_and_fetch_nothing(browser: Any, hostile: str) -> None:
    with watched(browser, hostile) as page:
        scroll_to_pictures(page)
        assert page.locator("#overview tbody th").all_inner_texts() == ATTACKS
        for place in range(len(ATTACKS)):
            page.locator("#layer").select_option(str(place))
            page.locator("#filter-layer").select_option(str(place))
            assert set(column(page, 1)) == {ATTACKS[place]}
        page.locator("#heatmap .nsewdrag").hover(position={"x": 30, "y": 10})
        page.locator("#filter-audio").check()
        page.locator("#table button.open").first.click()
        page.wait_for_selector("#unit[data-unit]")
        assert page.locator("#unit-title").inner_text() == f"{ATTACKS[-1]}, unit 0"
        assert page.locator("#unit-players audio").count() == 1
        page.wait_for_timeout(300)  # for what a page may do later
        assert page.locator("img, iframe, style ~ link[href*=example], a[href^=javascript], [onerror], b").count() == 0


class _Listener(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.heard.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_page_forbids_the_browser_to_fetch(browser: Any, report: str) -> None:
    """Were there a hole in the page, its policy would still hold."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Listener) as server:
        server.heard = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(report)
        page.evaluate(
            """async (address) => {
                const ended = (name, where) => new Promise((done) => {
                    const item = document.createElement(name);
                    document.body.append(Object.assign(item, where, { onload: done, onerror: done }));
                });
                await fetch(address + "fetched").catch(() => null);
                await ended("img", { src: address + "a.png" });
                await ended("script", { src: address + "a.js" });
                await ended("link", { rel: "stylesheet", href: address + "a.css" });
            }""",
            f"http://127.0.0.1:{server.server_port}/",
        )
        page.close()
        server.shutdown()
        assert server.heard == []  # type: ignore[attr-defined]
