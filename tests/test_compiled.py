"""Code that is compiled once for many processes. As a script: processes that all begin to compile at the same time."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="install numba to run these too")

SOURCE = Path(__file__).parents[1] / "lightning_dissect" / "compiled.py"
CPUS = ["generic", "", "generic", ""]  # '' is this machine's own


def make_kernel() -> Callable[..., Any]:
    """The kernel as a process has it that has just started; without torch, which is imported with the package."""
    spec = importlib.util.spec_from_file_location("compiled", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def add(values):  # type: ignore[no-untyped-def]
        total = 0.0
        for value in values:
            total += value
        return total

    return module.compile_and_keep("f8(f8[::1])")(add)


def work(cpu: str, start: float) -> None:
    """Be one of the processes."""
    numba.config.CPU_NAME = cpu or None
    from numba.core.caching import IndexDataCacheFile

    save = IndexDataCacheFile._save_index

    def save_slowly(self: Any, overloads: Any) -> None:
        time.sleep(0.2)  # or they would meet here once in many tries
        save(self, overloads)

    IndexDataCacheFile._save_index = save_slowly
    kernel = make_kernel()
    time.sleep(max(0.0, start - time.time()))
    assert kernel(np.arange(4.0)) == 6


def fill(folder: Path, rounds: int) -> None:
    """Have four processes on two kinds of CPU fill an empty folder, time and again."""
    for number in range(rounds):
        numba.config.CACHE_DIR = str(folder / str(number))
        children = []
        start = time.time() + 0.1
        for cpu in CPUS:
            child = os.fork()
            if child == 0:
                work(cpu, start)
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(CPUS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_processes_that_compile_at_the_same_time_keep_what_each_needs(rounds: int, tmp_path: Path) -> None:
    # Forked from a process without threads.
    subprocess.run([sys.executable, __file__, str(tmp_path), str(rounds)], check=True)
    for folder in tmp_path.iterdir():
        assert len(list(folder.rglob("*.nbc"))) == len(set(CPUS))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_broken_file_does_no_harm(kept: Path) -> None:
    assert make_kernel()(np.ones(3)) == 3
    files = [path for path in kept.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert files
    for path in files:
        path.write_bytes(b"")
    assert make_kernel()(np.ones(3)) == 3


def test_where_nothing_can_be_kept_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert make_kernel()(np.ones(3)) == 3


def test_other_types_are_refused(kept: Path) -> None:
    with pytest.raises(TypeError, match="No matching definition"):
        make_kernel()(np.ones((2, 3)))


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_threads_share_the_work_and_raise_its_errors(
    n_threads: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_dissect.compiled import in_threads

    monkeypatch.setattr("torch.get_num_threads", lambda: n_threads)
    done = np.zeros(count, int)

    def work(part: slice) -> None:
        done[part] += 1

    def fail(part: slice) -> None:
        raise ArithmeticError(str(part))

    in_threads(work, count)
    assert (done == 1).all()
    with pytest.raises(ArithmeticError, match="slice"):
        in_threads(fail, count)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
