"""Windows by name or function, and how wide the main lobe of their spectra is."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Window", "window_bandwidth", "window_taps"]

Window = str | Callable[[int], Tensor]
"""Name of a window, or a function of the number of samples."""

_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "bartlett": torch.bartlett_window,
    "ones": torch.ones,
}
"""Periodic windows."""

_BANDWIDTHS = {
    "hann": 1.50018310546875,
    "hamming": 1.3629455320350348,
    "blackman": 1.7269681554262326,
    "bartlett": 1.3334961334912805,
    "ones": 1.0,
}
"""Equivalent noise bandwidths in bins, as librosa has them."""


def window_taps(window: Window, n: int) -> Tensor:
    """Return the samples of a window, shape ``(n,)``, float64.

    Raises:
        ValueError: If there is no window of that name, or the function returns another shape.

    Example:
        >>> window_taps("hann", 4)
        tensor([0.0000, 0.5000, 1.0000, 0.5000], dtype=torch.float64)
    """
    if not callable(window):
        if window not in _WINDOWS:
            raise ValueError(f"window must be one of {', '.join(_WINDOWS)}, or a function; found {window!r}.")
        return _WINDOWS[window](n, dtype=torch.float64)
    taps = torch.as_tensor(window(n)).detach().cpu().double()
    if taps.shape != (n,):
        raise ValueError(f"window must return {n} values where it is called with {n}, found shape {tuple(taps.shape)}.")
    return taps


def window_bandwidth(window: Window) -> float:
    """Return the equivalent noise bandwidth of a window in bins; that of a function from 1000 samples.

    Example:
        >>> window_bandwidth(torch.ones)
        1.0
    """
    taps = window_taps(window, 1000)
    if isinstance(window, str):
        return _BANDWIDTHS[window]
    return float(1000 * taps.square().sum() / taps.sum().square())
