"""Where code compiled by numba comes from, an optional package."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType

__all__ = ["compiled_code"]


def compiled_code(module: str) -> Callable[[], ModuleType | None]:
    """Return a function that imports a module which needs numba, the first time that it is called.

    Args:
        module: Full name of the module.

    Returns:
        The function. It returns the module, or None where numba is missing, does not fit this NumPy, or has nowhere to
        keep what it made.

    Example:
        >>> code = compiled_code("lightning_dissect.no_such_module")
        >>> code() is None
        True
    """

    @cache
    def code() -> ModuleType | None:
        try:
            return import_module(module)
        except (ImportError, RuntimeError):
            return None

    return code
