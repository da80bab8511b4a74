"""What layers put out in a batch, read by their axes."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lightning_dissect.activations.axes import Axes, Axis, name_axes
from lightning_dissect.activations.examples import Examples
from lightning_dissect.nested import named_leaves


class Activation(NamedTuple):
    """What a layer put out for the clips of a batch that are compared.

    Attributes:
        values: A view of the output where its axes allow, which the network may write over.
        axes: What each axis of the values means.
    """

    values: Tensor
    axes: tuple[Axis, ...]


class Outputs:
    """Reads what layers put out, batch after batch.

    Args:
        axes: For layers whose output does not read as :func:`~lightning_dissect.activations.axes.name_axes` says, its
            axes in words.
        kinds: For layers that do not say themselves where their units are, the layer that does.
        strict: Whether an output that cannot be read is an error; else its layer is left out. One whose axes are said
            in words always is.

    Attributes:
        axes: How the output of each layer was read.
        left_out: Layers whose output could not be read, and why.
        repeated: Layers that ran several times in a batch, of which only the first run was read, and the most runs.
        in_examples: Layers whose batch axis was taken for the examples that clips are cut into, though nobody said so,
            and how many a clip had.

    Example:
        >>> import torch
        >>> outputs = Outputs()
        >>> outputs.begin(clips=2, taken=1)
        >>> activation = outputs.read("conv", nn.Conv1d(1, 8, 3), torch.randn(2, 8, 100))
        >>> activation.values.shape, activation.axes
        (torch.Size([1, 8, 100]), ('batch', 'unit', 'time'))
    """

    def __init__(
        self, axes: Mapping[str, str] | None = None, kinds: Mapping[str, nn.Module] | None = None, strict: bool = True
    ) -> None:
        self.axes: dict[str, Axes] = {}
        self.left_out: dict[str, str] = {}
        self.repeated: dict[str, int] = {}
        self._examples = Examples()
        self.in_examples = self._examples.assumed
        self._named = {name: Axes.parse(words) for name, words in (axes or {}).items()}
        self._kinds = dict(kinds or {})
        self._strict = strict
        self._runs: Counter[str] = Counter()
        self._calls: dict[str, list[Tensor]] = {}

    def begin(self, clips: int, taken: int, length: int | None = None) -> None:
        """Begin a batch.

        Args:
            clips: How many clips it has in all.
            taken: How many of these are compared, the first ones.
            length: Of its clips, padding included: where batches have clips as long, a layer cuts them alike.
        """
        self.clear()
        self._clips, self._taken, self._length = clips, taken, length

    def read(self, name: str, layer: nn.Module, output: Any) -> Activation | None:
        """Read what a layer put out in one run.

        Returns:
            Nothing if the layer is left out, has run before in this batch, or its runs are joined at the end.

        Raises:
            ValueError: If it cannot be read, and its layer is not to be left out for that.
        """
        self._runs[name] += 1
        runs, joins = self._runs[name], name in self._named and self._named[name].joins_calls
        if runs > 1 and not joins:
            self.repeated[name] = max(runs, self.repeated.get(name, runs))
            return None
        try:
            axes, values = self._read(name, layer, output)
        except ValueError as error:
            if self._strict or name in self._named:
                raise
            self.left_out[name] = str(error)
            return None
        if joins:
            self._keep(name, axes, values)
            return None
        self.axes[name] = axes
        return Activation(values, axes.names)

    def end(self) -> list[tuple[str, Activation]]:
        """Return the layers whose runs in the batch are joined along time."""
        found = []
        for name, parts in self._calls.items():
            axes = self.axes[name] = self._named[name]
            found.append((name, Activation(axes.join(parts), axes.names)))
        self.clear()
        return found

    def clear(self) -> None:
        """Let go of the batch."""
        self._runs.clear()
        self._calls.clear()

    def _read(self, name: str, layer: nn.Module, output: Any) -> tuple[Axes, Tensor]:
        found = first_tensor(output)
        axes = self._named.get(name)
        if axes is None:
            axes = self._name_axes(name, layer, found, is_packed(output))
        values = axes.read(found, self._clips)
        return axes, _first_clips(values, axes.names.index("batch"), self._taken, self._clips)

    def _name_axes(self, name: str, layer: nn.Module, output: Tensor, packed: bool) -> Axes:
        """Say what the axes mean, where nobody else has; a packed sequence has no axis of clips or examples."""
        kind = self._kinds.get(name, layer)
        # A single clip can be cut into any number of examples: how a layer does it, batches of several have told.
        alone = self._clips == 1 and name in self.in_examples
        axes = self.axes[name] if alone else name_axes(kind, output.shape, None if packed else self._clips)
        if axes.in_examples or (axes.names[0] == "batch" and len(output) == self._clips):
            self._examples.check(name, output, self._clips, self._length)
        return axes

    def _keep(self, name: str, axes: Axes, values: Tensor) -> None:
        """Keep a copy until the batch's end, since the network may write over it."""
        before = self._calls.setdefault(name, [])
        time = axes.names.index("time")
        for other in before[:1]:
            if other.narrow(time, 0, 1).shape != values.narrow(time, 0, 1).shape:
                raise ValueError(
                    f"its calls put out {tuple(other.shape)} and {tuple(values.shape)}, which do not go one after the "
                    f"other along the time axis of '{axes}'. Name its axes without 'call', or dissect another layer."
                )
        before.append(values.detach().clone())


def first_tensor(output: Any) -> Tensor:
    """Find the activation in what a layer put out: a tensor, or the first one in a tuple, mapping or dataclass.

    Tensors of integers, such as codes, are passed over; of complex numbers the magnitude is taken.

    Raises:
        ValueError: If there is none, or it is shared out among processes.
    """
    for leaf in (leaf for _, leaf in named_leaves(output) if isinstance(leaf, Tensor)):
        if hasattr(leaf, "placements"):
            raise ValueError(
                f"its output is a DTensor of shape {tuple(leaf.shape)}, shared out among processes. Dissect a layer "
                "that puts out whole tensors, or use lightning_dissect.dissect on a checkpoint, in one process."
            )
        if leaf.is_complex():
            return leaf.abs()
        if leaf.is_floating_point():
            return leaf
    raise ValueError(
        f"its output is a {type(output).__name__} without a tensor of real or complex numbers. Dissect another layer."
    )


def is_packed(output: Any) -> bool:
    """Whether what a layer put out is, or begins with, a packed sequence, whose clips take turns along one axis.

    Example:
        >>> import torch
        >>> is_packed((nn.utils.rnn.pack_sequence([torch.zeros(3, 2)]), None))
        True
    """
    first = next(iter(output), None) if isinstance(output, (tuple, list)) else output
    return isinstance(output, PackedSequence) or isinstance(first, PackedSequence)


def _first_clips(values: Tensor, axis: int, taken: int, clips: int) -> Tensor:
    """The clips that were taken of a batch, if there is one item for each of its clips."""
    if values.shape[axis] != clips:
        raise ValueError(
            f"its output {tuple(values.shape)} does not hold one item for each of {clips} clips along its batch axis. "
            "Name its axes with the argument `axes` ('(batch example) …' if clips are cut into examples), or dissect "
            "another layer."
        )
    return values.narrow(axis, 0, taken)
