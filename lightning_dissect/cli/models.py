"""Trained networks from their checkpoints, and how to dissect them on recordings."""

import importlib
import inspect
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from lightning_dissect import networks
from lightning_dissect.cli.recordings import Recordings
from lightning_dissect.networks import AudioNetwork
from lightning_dissect.networks.checkpoint import load_checkpoint, read_checkpoint
from lightning_dissect.offline import dissect
from lightning_dissect.scores import Scores


@dataclass
class Subject:
    """A network, and what :class:`~lightning_dissect.DissectCallback` should know of it.

    Attributes:
        model: From waveforms ``(clips, samples)`` to anything.
        sample_rate: The rate of its input, in Hz.
        arguments: Those of the callback, such as the layers to dissect if none are asked for.
    """

    model: nn.Module
    sample_rate: int
    arguments: dict[str, Any] = field(default_factory=dict)

    def dissect(self, options: Namespace) -> Scores:
        """Dissect it on the recordings of ``options.data``."""
        clips = Recordings(options.data, self.sample_rate, options.seconds, options.batch_size)
        arguments = {**self.arguments, "features": options.features, "metrics": options.metrics}
        if options.layers:
            arguments["layers"] = options.layers
        return dissect(
            self.model,
            clips,
            self.sample_rate,
            forward=lambda batch: self.model(batch["waveform"]),
            accelerator=options.accelerator,
            waveform="waveform",
            lengths="lengths",
            **arguments,
        )


def load_network(name: str, checkpoint: Path, arguments: Mapping[str, Any]) -> Subject:
    """Make one of the networks that come with the package.

    Raises:
        ValueError: If there is none of that name, or the arguments or the checkpoint do not fit it.
    """
    known = {kind.__name__: kind for kind in vars(networks).values() if _is_network(kind)}
    if name not in known:
        raise ValueError(f"--network {name}: there is no such network. There are {', '.join(sorted(known))}.")
    kind: Any = known[name]
    try:
        if hasattr(kind, "from_checkpoint"):
            network = kind.from_checkpoint(checkpoint, **arguments)
        else:
            network = kind(**arguments)
            load_checkpoint(network, checkpoint)
    except TypeError as error:
        taken = inspect.signature(getattr(kind, "from_checkpoint", kind))
        raise ValueError(f"--set: {error}; {name} takes {taken}.") from error
    arguments = {"layers": network.layers, "analysis": network.analysis, "axes": network.axes}
    return Subject(network.eval(), network.sample_rate, arguments)


def load_model(path: str, checkpoint: Path, sample_rate: int) -> Subject:
    """Load a user's LightningModule, with the arguments that its checkpoint holds.

    Raises:
        ValueError: If there is no such class, or the checkpoint does not fit it.
    """
    module, _, name = path.partition(":")
    kind = import_class(module, name, f"--model {path}", "It is written package.module:Class.")
    try:
        model = kind.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        read_checkpoint(checkpoint)  # says what is wrong with a file that is no checkpoint at all
        if not isinstance(error, KeyError | RuntimeError | TypeError | AttributeError):
            raise
        raise ValueError(f"{checkpoint} does not fit {name}: {error}") from error
    return Subject(model.eval(), sample_rate)


def load_state(model: nn.Module, checkpoint: Path) -> None:
    """Load the weights of a Lightning checkpoint, or of a file of weights.

    Raises:
        ValueError: If it is neither, or does not fit.
    """
    try:
        content = read_checkpoint(checkpoint)
        model.load_state_dict(content.get("state_dict", content))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"{checkpoint} does not fit {type(model).__name__}: {error}") from error


def import_class(module: str, name: str, asked: str, advice: str) -> Any:
    """Import a class that the user has named.

    Raises:
        ValueError: If there is none, which says what was asked for, and gives advice.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{asked} cannot be imported: {error}. {advice}") from error


def _is_network(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, AudioNetwork) and kind is not AudioNetwork
