"""Where code compiled by numba comes from, an optional package, and how it is kept from one process to the next."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache, wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

_PATIENCE = 60
"""Seconds to wait for another process that compiles, which takes some ten."""


def compiled_code(module: str) -> Callable[[], ModuleType | None]:
    """Return a function that imports a module which needs numba, the first time that it is called.

    Args:
        module: Full name of the module.

    Returns:
        The function. It returns the module, or None where numba is missing or does not fit this NumPy.

    Example:
        >>> code = compiled_code("lightning_dissect.no_such_module")
        >>> code() is None
        True
    """

    @cache
    def code() -> ModuleType | None:
        try:
            return import_module(module)
        except ImportError:
            return None

    return code


def compile_and_keep(types: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator: a function's first call compiles it, or loads what an earlier process has compiled.

    One process at a time does so. numba itself reads the list of what it keeps of a function, adds a line and writes it
    back; of two processes that add something at once (for other types, or another kind of CPU where machines share
    their home folders) one may later run the code of the other, and crash. The processes of a training, which start
    together, so compile once and not each. Where nothing can be kept or locked, each compiles for itself.

    Args:
        types: Of the result and the arguments, as numba reads them; others are refused.
        **options: Those of `numba.njit`.

    Returns:
        The decorator.

    Example:
        >>> @compile_and_keep("f8(f8)")
        ... def double(x):
        ...     return 2 * x
        >>> double(1.5)
        3.0
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @cache
        def compiled() -> Callable[..., Any]:
            from numba import njit

            try:
                kept = njit(cache=True, **options)(function)
                with FileLock(Path(kept.stats.cache_path) / f"{function.__name__}.lock", timeout=_PATIENCE):
                    kept.compile(types)
                kept.disable_compile()  # other types would go round the lock
            except Exception:  # no folder to write to, no locks on its disk, a broken file: it compiles without any
                return njit(types, **options)(function)  # type: ignore[no-any-return]
            return kept  # type: ignore[no-any-return]

        @wraps(function)
        def call(*arguments: Any) -> Any:
            return compiled()(*arguments)

        return call

    return decorate


def in_threads(work: Callable[[slice], object], count: int) -> None:
    """Do a work of some items in as many threads as torch has.

    They are Python's, so the work has to let go of its lock (``nogil=True``): those of numba do not survive a fork.

    Args:
        work: Called with slices that together are ``0 … count - 1``.
        count: Number of items.

    Example:
        >>> numbers = [1, 2, 3, 4, 5]
        >>> def double(part):
        ...     numbers[part] = [2 * number for number in numbers[part]]
        >>> in_threads(double, 5)
        >>> numbers
        [2, 4, 6, 8, 10]
    """
    import torch  # a process that only compiles needs none

    workers = max(1, min(torch.get_num_threads(), count))
    parts = [slice(count * worker // workers, count * (worker + 1) // workers) for worker in range(workers)]
    if workers == 1:
        work(parts[0])
        return
    for _ in _pool(os.getpid(), torch.get_num_threads()).map(work, parts):
        pass  # what a thread raises is raised here


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of a process; a forked one, in which its parent's do not run, gets others."""
    return ThreadPoolExecutor(threads, "lightning_dissect")
