"""What each axis of a layer's output means."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, cast, get_args

import torch
from torch import Tensor, nn

Axis = Literal["batch", "unit", "frequency", "time"]

_UNIT_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
_UNIT_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_COUNTS = ("out_features", "out_channels", "num_features", "num_channels", "embed_dim", "embedding_dim")
_ITEM = re.compile(r"(?:(\d+)\+)?(?:(\w+)|\(([^()]*)\))")


class _Item(NamedTuple):
    """One axis as it is in the output: what it holds, in order, after how many entries that are left out."""

    names: tuple[Axis | Literal["example"], ...]
    skipped: int = 0
    bins: int = 0

    @property
    def of_examples(self) -> bool:
        """Whether it holds the examples that each clip was cut into."""
        return "example" in self.names


@dataclass(frozen=True)
class Axes:
    """The axes of a layer's output, written as words.

    ``"batch unit frequency time"`` names each axis in the output's order. ``"batch 1+time unit"`` leaves out the first
    entry along the time axis, such as the class token of a transformer. ``"batch (frequency=12 time) unit"`` reads one
    axis as two, here patches of a spectrogram: 12 frequencies, and for each of them as many times as there are;
    ``"batch 2+(time frequency=12) unit"`` leaves out two tokens, and then has 12 frequencies for each time.
    ``"(batch example) unit time frequency"`` is the output of a network that cuts each clip into examples, as VGGish
    does: all examples of the first clip, then those of the second. Their times are put one after the other, and where
    there is no time, the examples are the times.

    ``"call batch time unit"`` is a layer that runs several times for each clip, as in a network that is fed a clip in
    chunks: the times of all its calls are put one after the other, and with ``"call batch unit"``, where there is no
    time, the calls are the times. Without ``call`` only the first of several runs counts.

    Example:
        >>> import torch
        >>> axes = Axes.parse("batch 2+(frequency=12 time) unit")
        >>> axes.read(torch.zeros(4, 2 + 12 * 50, 768)).shape, axes.names
        (torch.Size([4, 12, 50, 768]), ('batch', 'frequency', 'time', 'unit'))
    """

    items: tuple[_Item, ...]
    joins_calls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read axes from words.

        Raises:
            ValueError: If a word is unknown or repeated, ``batch`` or ``unit`` is missing, or an axis read as two is
                made neither of ``time`` and a ``frequency`` of a given size, nor of ``batch`` and ``example``.
        """
        each_call = text.removeprefix("call ")
        found = [match.groups() for match in _ITEM.finditer(each_call)]
        items = [_item(skipped, word, pair) for skipped, word, pair in found]
        names = [name for item in items if item for name in item.names]
        rest = _ITEM.sub("", each_call).strip()
        if rest or None in items or len(set(names)) < len(names) or not {"batch", "unit"} <= set(names):
            raise ValueError(
                f"axes: {text!r} is not understood. Write each axis of the output once, in its order: 'batch' and "
                "'unit', and 'frequency' and 'time' where there are such axes; '1+time' leaves out one class token, "
                "'(frequency=12 time)' reads one axis as 12 frequencies × times, '(batch example)' as the examples "
                "that each clip was cut into; 'call' in front joins the runs of a layer along time."
            )
        return cls(tuple(item for item in items if item), each_call != text)

    @property
    def in_examples(self) -> bool:
        """Whether the batch axis holds the examples that clips were cut into."""
        return any(item.of_examples for item in self.items)

    @property
    def names(self) -> tuple[Axis, ...]:
        """The axes after :meth:`read`."""
        names = [name for item in self.items for name in item.names]
        left_out = "example" if "time" in names else None
        read = tuple("time" if name == "example" else name for name in names if name != left_out)
        return read if "time" in read or not self.joins_calls else ("time", *read)

    def read(self, output: Tensor, clips: int | None = None) -> Tensor:
        """Leave out what is no time, take apart what holds two axes, and put a clip's examples one after the other.

        Args:
            output: What the layer put out.
            clips: How many clips the batch has; needed for ``example`` alone.

        Returns:
            One axis for each of ``names``; a view but for examples.

        Raises:
            ValueError: If the output has another number of axes, or one of another size than the words say.
        """
        sizes = list(output.shape)
        fits = len(sizes) == len(self.items) and all(
            size > item.skipped
            and (size - item.skipped) % max(item.bins, 1) == 0
            and not (item.of_examples and size % (clips or 1))
            for size, item in zip(sizes, self.items, strict=True)
        )
        if not fits:
            raise ValueError(
                f"its output {tuple(sizes)} does not read as '{self}'. Name its axes with the argument `axes`, or "
                "dissect another layer."
            )
        for place in reversed(range(len(sizes))):
            names, skipped, bins = self.items[place]
            if skipped:
                output = output.narrow(place, skipped, sizes[place] - skipped)
            if len(names) == 2:
                known = {"frequency": bins, "batch": clips or 1}
                output = output.unflatten(place, [known.get(name, -1) for name in names])
        joined = self._join_examples(output)
        return joined if joined.ndim == len(self.names) else joined.unsqueeze(0)

    def join(self, calls: Sequence[Tensor]) -> Tensor:
        """Put what was read of each call of a layer one after the other along time."""
        return torch.cat(list(calls), self.names.index("time"))

    def _join_examples(self, output: Tensor) -> Tensor:
        names = [name for item in self.items for name in item.names]
        if "example" not in names or "time" not in names:
            return output
        order = [place for place, name in enumerate(names) if name != "example"]
        time = order.index(names.index("time"))
        order.insert(time, names.index("example"))
        return output.permute(order).flatten(time, time + 1)

    def __str__(self) -> str:
        return ("call " if self.joins_calls else "") + " ".join(map(_words, self.items))


def _item(skipped: str | None, word: str | None, pair: str | None) -> _Item | None:
    """Read one axis; ``None`` if it is not understood."""
    known = get_args(Axis)
    before = int(skipped or 0)
    if word is not None:
        return _Item((cast(Axis, word),), before) if word in known and (not before or word == "time") else None
    names, bins = re.subn(r"frequency=([1-9]\d*)", "frequency", str(pair))
    parts = tuple(names.split())
    if not bins and not before and sorted(parts) == ["batch", "example"]:
        return _Item(cast(tuple[Axis, ...], parts))
    if bins != 1 or sorted(parts) != ["frequency", "time"]:
        return None
    size = re.search(r"=(\d+)", str(pair))
    return _Item(cast(tuple[Axis, ...], parts), before, int(size[1]) if size else 0)


def _words(item: _Item) -> str:
    inside = [f"frequency={item.bins}" if item.bins and name == "frequency" else str(name) for name in item.names]
    text = f"({' '.join(inside)})" if len(inside) == 2 else inside[0]
    return f"{item.skipped}+{text}" if item.skipped else text


def name_axes(layer: nn.Module, shape: Sequence[int], clips: int | None = None) -> Axes:
    """Say what each axis of a layer's output means, from the kind of the layer.

    Convolutions put units second, ``(batch, unit, time)`` or ``(batch, unit, frequency, time)``; linear, recurrent and
    attention layers put them last, ``(batch, time, unit)`` or ``(batch, frequency, time, unit)``. More than the kind
    says the number of units: they are on the axis, second or last, that is as long as the layer has units. A container
    is read by the last layer inside it for which only one of the two is, so also where it transposes. Without any known
    kind inside, a layer is taken for a convolution.

    Where the batch axis has several items for each of two clips or more, these are taken for the examples that each
    clip was cut into. That is not done for three axes and more with the units last, since windows, attention heads and
    bands lie on the batch axis there, nor for embeddings, nor without any known kind.

    Args:
        layer: The layer, or another one whose kind stands for it.
        shape: The shape of its output, of two to four axes.
        clips: How many clips the batch has: if the second of three axes is as long, and the first is not, they are
            (time, batch, unit), as recurrent layers have them; if the first is a multiple, it holds examples.

    Raises:
        ValueError: If the output has another number of axes.

    Example:
        >>> print(name_axes(nn.Conv2d(1, 8, 3), (2, 8, 96, 100)))
        batch unit frequency time
        >>> print(name_axes(nn.Linear(8, 4), (2, 100, 4)))
        batch time unit
        >>> print(name_axes(nn.Linear(8, 4), (20, 4), clips=2))
        (batch example) unit
    """
    others = {2: "", 3: "time", 4: "frequency time"}.get(len(shape))
    if others is None:
        raise ValueError(
            f"its output has the shape {tuple(shape)}: two to four axes are understood. "
            "Dissect another layer, or name its axes with the argument `axes`."
        )
    units_last = _has_units_last(layer, shape)
    if units_last and len(shape) == 3 and clips is not None and shape[0] != clips == shape[1]:
        return Axes.parse("time batch unit")
    batch = "(batch example)" if clips is not None and _has_examples(layer, shape, clips, units_last) else "batch"
    return Axes.parse(f"{batch} {others} unit" if units_last else f"{batch} unit {others}")


def known_kinds(layer: nn.Module) -> list[nn.Module]:
    """The layers in a module, itself included, whose kind says where their units are: outer and later ones first."""
    inside = sorted(reversed(list(layer.named_modules())), key=lambda named: named[0].count("."))
    return [module for _, module in inside if isinstance(module, _UNIT_LAST + _UNIT_SECOND)]


def _has_units_last(layer: nn.Module, shape: Sequence[int]) -> bool:
    kinds = known_kinds(layer)
    for kind in kinds:
        last, second = (_units(kind) == shape[place] for place in (-1, 1))
        if last != second:
            return last
    return bool(kinds) and isinstance(kinds[0], _UNIT_LAST)


def _has_examples(layer: nn.Module, shape: Sequence[int], clips: int, units_last: bool) -> bool:
    """A single clip has any number of items, so that two are needed to tell."""
    if units_last and len(shape) > 2:
        return False
    is_known = not isinstance(layer, nn.Embedding) and bool(known_kinds(layer))
    return is_known and clips > 1 and shape[0] > clips and shape[0] % clips == 0


def _units(kind: nn.Module) -> int | None:
    if isinstance(kind, nn.RNNBase):
        return (kind.proj_size or kind.hidden_size) * (2 if kind.bidirectional else 1)
    if isinstance(kind, (nn.LayerNorm, nn.RMSNorm)):
        return int(kind.normalized_shape[-1])
    return next((getattr(kind, name) for name in _COUNTS if hasattr(kind, name)), None)
