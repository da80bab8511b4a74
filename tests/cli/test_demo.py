from pathlib import Path

import pytest
import torch

from lightning_dissect import Scores
from lightning_dissect.cli import main
from lightning_dissect.cli.demo import KINDS, synthesise_clips


def test_clips_are_reproducible_and_of_all_kinds() -> None:
    first, again = (synthesise_clips(8, 8_000, seed=1).tensors for _ in range(2))
    other = synthesise_clips(8, 8_000, seed=2).tensors
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[1].tolist() == [*range(len(KINDS))] * 2
    assert first[0].isfinite().all()
    peaks = 20 * first[0].abs().amax(dim=1).log10()
    assert (peaks > -24.1).all()
    assert (peaks < -0.9).all()


@pytest.mark.slow
def test_the_demo_ends_with_a_log_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path), "--clips", "48", "--epochs", "1"]) == 0
    folder = tmp_path / "demo" / "version_0"
    assert list(folder.glob("events.out.tfevents.*"))
    assert (folder / "dissect" / "report.html").stat().st_size > 1e6
    assert "The report: " in capsys.readouterr().out
    assert Scores.load(folder).labels()["feature"].notna().any()
