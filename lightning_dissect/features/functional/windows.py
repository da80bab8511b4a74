"""Windows by name."""

from collections.abc import Callable

import torch
from torch import Tensor

_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "bartlett": torch.bartlett_window,
    "ones": torch.ones,
}
"""Periodic windows."""


def window_taps(window: str | Tensor, n: int) -> Tensor:
    """Return the samples of a window, shape ``(n,)``; float64 where it is given by its name.

    Raises:
        ValueError: If there is no window of that name, or a window that was given has another shape.

    Example:
        >>> window_taps("hann", 4)
        tensor([0.0000, 0.5000, 1.0000, 0.5000], dtype=torch.float64)
    """
    if isinstance(window, Tensor):
        if window.shape != (n,):
            raise ValueError(f"window must have shape ({n},), found {tuple(window.shape)}.")
        return window
    if window not in _WINDOWS:
        raise ValueError(f"window must be one of {', '.join(_WINDOWS)}, or a tensor; found {window!r}.")
    return _WINDOWS[window](n, dtype=torch.float64)
