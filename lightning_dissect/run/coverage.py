"""Coverage: which of the dissected layers have scores after a run, and what to say of those that have none."""

from collections.abc import Iterator, Sequence

from torch import nn

from lightning_dissect.activations.layers import find_class_tokens
from lightning_dissect.run.dissection import Dissection


def check_coverage(run: Dissection, layers: Sequence[str] | None) -> None:
    """Raise if no layer at all can be compared.

    Args:
        run: The run.
        layers: The argument of that name.

    Raises:
        RuntimeError: If none has run.
        ValueError: If none of those that have run can be read; it says why.
    """
    if len(run.unseen()) == len(run.layers):
        raise RuntimeError(
            f"None of the chosen layers ran during validation: {', '.join(run.unseen())}. Dissect layers that the "
            "network's forward calls. Layers inside torch.compile are dissected from torch 2.6 on."
        )
    if run.left_out and len(run.left_out) + len(run.unseen()) == len(run.layers):
        raise ValueError(f"layers={layers}: no layer can be compared with features. {_reasons(run)[0]}")


def remarks(run: Dissection, layers: Sequence[str] | None, network: nn.Module, named_axes: bool) -> Iterator[str]:
    """Yield what a user should know of layers that have no scores, or doubtful ones.

    Args:
        run: The run.
        layers: The argument of that name.
        network: The module whose layers are dissected.
        named_axes: Whether the user has named axes.
    """
    if run.left_out:
        yield f"layers={layers} leaves out what cannot be compared with features: {' '.join(_reasons(run))}"
    if unseen := run.unseen():
        yield f"These chosen layers did not run in this validation and have no scores: {', '.join(unseen)}."
    if uncompared := run.uncompared():
        yield f"These layers have no level that a metric and a feature have, too: {', '.join(uncompared)}."
    if run.repeated:
        times = ", ".join(f"{name!r} ({runs} times)" for name, runs in run.repeated.items())
        name = next(iter(run.repeated))
        yield (
            f"These layers run several times in a batch, and only the first run is compared: {times}. Where each "
            "run gets a part of the clips, join the runs along time with the argument `axes`, for example "
            f"{name!r}: 'call {run.axes[name]}'; for another run, dissect the layer around it."
        )
    if run.in_examples:
        counts = ", ".join(f"{name!r} ({count} a clip)" for name, count in run.in_examples.items())
        name = next(iter(run.in_examples))
        yield (
            "These layers have several items for each clip on their batch axis, which are taken for the examples that "
            f"a clip is cut into, one after the other in time: {counts}. If that is so, say it with the argument "
            f"`axes`, for example {name!r}: '{run.axes[name]}', and this line does not come again; if they are "
            "channels, views or bands, dissect another layer."
        )
    tokens = [] if named_axes else find_class_tokens(network)
    flat = [name for name, axes in run.axes.items() if str(axes) == "batch time unit"]
    if tokens and flat:
        yield (
            f"The network has {', '.join(tokens)}, and in these layers tokens and patches are taken for frames: "
            f"{', '.join(flat)}. Say what they are with the argument `axes`, for example {flat[-1]!r}: "
            f"'batch {len(tokens)}+time unit', or 'batch {len(tokens)}+(frequency=12 time) unit' for 12 patches "
            "along the frequency axis."
        )


def _reasons(run: Dissection) -> list[str]:
    return [f"layer {name!r}: {reason}" for name, reason in run.left_out.items()]
