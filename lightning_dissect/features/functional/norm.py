"""Values brought to a norm of 1."""

import math

import torch
from torch import Tensor


def normalize(x: Tensor, *, norm: float | None = math.inf, dim: int = 0) -> Tensor:
    """Divide by the norm along one axis; where that is next to nothing, leave the values, as `librosa.util.normalize`.

    Args:
        x: Values, any shape.
        norm: Order of the norm (1, 2, infinity), or None to return ``x``.
        dim: The axis whose norm becomes 1.

    Returns:
        Normalised values, shape of ``x``.

    Example:
        >>> normalize(torch.tensor([[1.0, 0.0], [4.0, 0.0]]))
        tensor([[0.2500, 0.0000],
                [1.0000, 0.0000]])
    """
    if norm is None:
        return x
    # Unlike vector_norm, sum adds in pairs: a hundred times more exact over a thousand bins.
    summed = norm == 1
    size = x.abs().sum(dim, keepdim=True) if summed else torch.linalg.vector_norm(x, norm, dim=dim, keepdim=True)
    return x / torch.where(size < torch.finfo(x.dtype).tiny, 1.0, size)
