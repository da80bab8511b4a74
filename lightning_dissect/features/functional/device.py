"""What a device can take: how much at once, and how precisely."""

import torch
from torch import Tensor


def chunk_size(device: torch.device) -> int:
    """Return how many values to work on at once: as stay in a CPU's cache with what is made of them, or 2 GiB's."""
    return 1 << 17 if device.type == "cpu" else 1 << 26


def precise(x: Tensor) -> torch.dtype:
    """Return the precision for what rounding in float32 would spoil: float64 where the device has it."""
    return x.dtype if x.device.type == "mps" else torch.float64
