"""The report of 20 000 units × 20 features × 50 epochs: size, writing time, first paint and sorting in Chromium.

    python benchmarks/bench_report.py              # the full size takes a minute to make and 600 MB of disk
    python benchmarks/bench_report.py --epochs 2   # a taste

The aims are 20 MB, 30 s, 1 s and 0.1 s. All effects but one in twenty are noise, which compresses worst.
"""

import shutil
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from scipy.stats import norm
from tqdm import tqdm

from lightning_dissect import Scores
from lightning_dissect.report.html import write_report

LAYERS = 20
CLIPS = 100
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FIRST_PAINT = """() => new Promise((resolve) => new PerformanceObserver((list, observer) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) { observer.disconnect(); resolve(paint.startTime); }
}).observe({ type: "paint", buffered: true }))"""
SORT = """(title) => new Promise((resolve) => {
    const header = [...document.querySelectorAll("#table thead th")].find((cell) => cell.textContent.trim() === title);
    const started = performance.now();
    new MutationObserver((changes, observer) => { observer.disconnect(); resolve(performance.now() - started); })
        .observe(document.querySelector("#table tbody"), { childList: true });
    header.click();
})"""


def make_epoch(epoch: int, units: int, features: int) -> Scores:
    """Scores whose effects are noise of the size that 100 clips give, and a few that grow over the epochs."""
    rng = np.random.default_rng(epoch)
    effect = rng.normal(0, CLIPS**-0.5, units * features)
    followed = rng.random(len(effect)) < 1 / features
    effect = np.where(followed, np.tanh(effect + epoch / 50), effect)
    table = pd.DataFrame(
        {
            "layer": np.repeat([f"block{n}" for n in range(LAYERS)], units // LAYERS * features),
            "unit": np.tile(np.repeat(np.arange(units // LAYERS), features), LAYERS),
            "feature": np.tile([f"feature{n}" for n in range(features)], units),
            "score": effect + 0.01,
            "effect": effect,
            "p_value": 2 * norm.sf(np.abs(effect) * CLIPS**0.5),
        }
    )
    table = table.assign(epoch=epoch, step=100 * epoch, dataloader=0, level="clip", metric="pearson", null=0.01)
    return Scores(table.assign(n_clips=CLIPS))


def time_in_browser(page_file: Path) -> None:
    """Print what the page takes in Chromium, if there is one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no Chromium here: first paint and sorting are not measured")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        paints, sorts = [], []
        for _ in range(3):
            page = browser.new_page()
            page.goto(page_file.as_uri())
            paints.append(page.evaluate(FIRST_PAINT))
            page.wait_for_selector("body[data-ready]")
            sorts += [page.evaluate(SORT, title) for title in ("effect", "unit", "q", "score")]
            page.close()
        browser.close()
    print(f"first paint   {median(paints):6.0f} ms (best {min(paints):.0f})")
    print(f"sorting       {median(sorts):6.0f} ms (best {min(sorts):.0f}, worst {max(sorts):.0f})")


def main() -> None:
    """Make the run, write its report, and look at it."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        for epoch in tqdm(range(options.epochs), "making the run", disable=None):
            scores = make_epoch(epoch, options.units, options.features)
            scores.save(run / f"epoch={epoch:04d}-step={100 * epoch:08d}.parquet")
        wall, cpu = time.perf_counter(), time.process_time()
        page = write_report(run, progress=lambda files: tqdm(files, "writing the report", disable=None))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{options.units} units × {options.features} features × {options.epochs} epochs")
        print(f"size          {page.stat().st_size / 1e6:6.1f} MB")
        print(f"writing       {wall:6.1f} s ({cpu:.1f} s of processor time)")
        time_in_browser(page)


if __name__ == "__main__":
    main()
