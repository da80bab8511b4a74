"""The Lightnings: ``pytorch_lightning`` and ``lightning.pytorch``, of which one or both may be installed."""

import importlib
from typing import Any

from torch import nn

_PACKAGES = ("pytorch_lightning", "lightning.pytorch")


def callback_bases() -> tuple[type[Any], ...]:
    """Return ``Callback`` of each installed one: their copies are unrelated types, and users may hand us to either."""
    bases = []
    for package in _PACKAGES:
        try:
            bases.append(importlib.import_module(package).Callback)
        except ImportError:
            continue
    return tuple(bases)


def lightning_of(model: nn.Module) -> Any:
    """Return the package whose LightningModule a model is; any installed one serves a plain module."""
    kinds = [kind.__module__ for kind in type(model).__mro__ if kind.__name__ == "LightningModule"]
    name = "lightning.pytorch" if any(kind.startswith("lightning.") for kind in kinds) else "pytorch_lightning"
    return importlib.import_module(name)
