"""Audio and processes that many tests share, and what a run of the tests says at its end."""

import math
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor


def make_clips(count: int, seconds: float = 2.0, sample_rate: int = 16_000, seed: int = 0) -> Tensor:
    """Clips of a few plucked harmonic notes and noise bursts at random times, pitches and levels, (count, samples)."""
    generator = torch.Generator().manual_seed(seed)
    samples = int(seconds * sample_rate)
    time = torch.arange(samples) / sample_rate
    clips = torch.zeros(count, samples)
    for clip in clips:
        level = 10 ** (-1.5 * torch.rand(1, generator=generator))
        for _ in range(int(torch.randint(1, 6, (1,), generator=generator))):
            onset, pitch, decay, noisy = torch.rand(4, generator=generator).tolist()
            after = (time - onset * seconds * 0.8).clamp(min=0)
            envelope = (after > 0) * torch.exp(-after * (2 + 10 * decay))
            if noisy < 0.4:
                tone = torch.randn(samples, generator=generator) * torch.exp(-after * 40)
            else:
                f0 = 110 * 2 ** (int(pitch * 30) / 12)
                tone = sum((torch.sin(2 * math.pi * f0 * k * after) / k for k in range(1, 7)), torch.zeros(samples))
            clip += level * envelope * tone * 0.2
    return clips


@pytest.fixture(scope="session")
def clips() -> Callable[..., Tensor]:
    return make_clips


@pytest.fixture
def run_processes() -> Callable[..., list[int]]:
    """Runs a script in processes, two or more, ``script rank port *arguments``, and returns their exit statuses."""

    def run(script: str, *arguments: Any, processes: int = 2) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        commands = [[sys.executable, script, str(rank), port, *map(str, arguments)] for rank in range(processes)]
        started = [subprocess.Popen(command) for command in commands]
        try:
            return [process.wait() for process in started]  # pytest's own limit ends what hangs
        finally:
            for process in started:
                process.kill()

    return run


@pytest.fixture
def left_out(record_property: Callable[[str, object], None]) -> Callable[[int, int, str], None]:
    """Notes ``(number, of, what)`` that a test leaves out since the reference itself has no margin there."""
    return lambda number, of, what: record_property("left_out", f"{number} of {of} {what}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each test that left something out, with xdist too: properties travel with the reports."""
    notes = [
        f"{report.nodeid}: {', '.join(left)}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if (left := [str(value) for name, value in report.user_properties if name == "left_out"])
    ]
    if notes:
        terminalreporter.section("left out for lack of a margin")
        for note in sorted(notes):
            terminalreporter.write_line(note)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Say last of all why tests were skipped, which says what to install."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # none in xdist's workers
        reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reporter.getreports("skipped"))
        for reason, number in sorted(reasons.items()):
            reporter.write_line(f"{number} skipped: {reason}")
