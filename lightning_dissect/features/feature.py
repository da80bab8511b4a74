"""What a feature is, and the registry of their names."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.levels import Level

FeatureClass = TypeVar("FeatureClass", bound="type[Feature]")


class Feature(nn.Module, ABC):
    """A hand-crafted audio feature, computed for a batch of clips at once.

    Subclasses declare what they are as class attributes and implement `forward`. Tensors that depend on the analysis
    (filter banks) are registered in `setup` as buffers, so that they move with the module. Each clip's values depend
    on that clip alone.

    Attributes:
        name: Name in tables and arguments.
        level: Its finest level: ``clip`` (one number a clip), ``frame`` (one a frame), ``map`` (rows × time).
        unit: Physical unit of the values; empty for ratios.
        row_names: Names of the rows; empty where there is one row, or where the rows are bins of the frequency axis.
        needs_spectrum: False for what is computed from the audio alone. It then comes first, and takes no memory beside
            the spectrum.
        shift_matters: False where a map moved by a row or two still means the same (bins of a spectrum), True where
            each row is a thing of its own (pitch classes).
    """

    name: ClassVar[str]
    level: ClassVar[Level]
    unit: ClassVar[str] = ""
    row_names: tuple[str, ...] = ()
    needs_spectrum: ClassVar[bool] = True
    shift_matters: ClassVar[bool] = True

    def setup(self, analysis: Analysis) -> None:
        """Prepare for clips analysed like this; called once, before the first batch.

        Raises:
            ValueError: If the feature cannot be computed from such clips.
        """

    @abstractmethod
    def forward(self, clips: Clips) -> Tensor:
        """Compute the feature of a batch.

        Returns:
            Shape ``(clips,)`` at clip level, ``(clips, frames)`` at frame level, ``(clips, rows, frames)`` at map
            level. With `row_names`, a clip- or frame-level feature has an axis of rows after that of clips.
        """

    @property
    def levels(self) -> tuple[Level, ...]:
        """Where it can be compared: down from its own level, but for bins of a frequency axis, which meet maps only.

        Averaged over its bins, a spectrum in dB would be how loud the clip is.
        """
        below: dict[Level, tuple[Level, ...]] = {"clip": (), "frame": ("clip",), "map": ("frame", "clip")}
        return (self.level, *(below[self.level] if self.rows else ()))

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows in tables, such as ``("chroma[C]", …)``; empty for bins of the frequency axis."""
        if self.row_names:
            return tuple(f"{self.name}[{row}]" for row in self.row_names)
        return () if self.level == "map" else (self.name,)


_REGISTRY: dict[str, type[Feature]] = {}


def feature(
    name: str,
    *,
    level: Level | None = None,
    unit: str = "",
    row_names: tuple[str, ...] = (),
    shift_matters: bool = True,
) -> Callable[[Any], Any]:
    """Register a feature under a name, so that the name can be used wherever features are chosen.

    Put it before a `Feature` subclass, which declares everything else itself, or before a function from `Clips` to a
    tensor, for which level, unit and rows are declared here.

    Args:
        name: Name in tables and arguments. Registering a name again replaces what it meant, as running a notebook's
            cell twice does.
        level: Level of a function's values; not for a subclass.
        unit: Physical unit of a function's values.
        row_names: Names of a function's rows.
        shift_matters: Whether a function's map means something else when it is moved by a row or two.

    Returns:
        A decorator that returns what it was given.

    Raises:
        ValueError: If ``level`` is missing or unknown for a function, or given for a subclass.

    Example:
        >>> @feature("peak", level="clip")
        ... def peak(clips: Clips) -> Tensor:
        ...     return clips.waveform.abs().amax(dim=1)
        >>> make_feature("peak").level
        'clip'
        >>> del _REGISTRY["peak"]
    """
    if not isinstance(name, str) or not name or not name.replace("_", "").isalnum():
        raise ValueError(f"name must consist of letters, digits and underscores, found {name!r}.")

    def register(item: Any) -> Any:
        if isinstance(item, type) and issubclass(item, Feature):
            if level is not None:
                raise ValueError(
                    f"level is declared by the class {item.__name__}; leave it out for the feature {name!r}."
                )
            item.name = name
            _REGISTRY[name] = item
            return item
        if level not in ("clip", "frame", "map"):
            raise ValueError(f"level must be 'clip', 'frame' or 'map' for the feature {name!r}, found {level!r}.")
        declared = {"level": level, "unit": unit, "row_names": tuple(row_names), "shift_matters": shift_matters}
        _REGISTRY[name] = type(name, (_FunctionFeature,), {"name": name, "function": staticmethod(item), **declared})
        return item

    return register


class _FunctionFeature(Feature):
    """A feature made of a function."""

    function: ClassVar[Callable[[Clips], Tensor]]

    def forward(self, clips: Clips) -> Tensor:
        """Return what the function returns."""
        return type(self).function(clips)


def feature_names() -> tuple[str, ...]:
    """Return the registered names, sorted.

    Example:
        >>> "harmonic" in feature_names()
        True
    """
    return tuple(sorted(_REGISTRY))


def make_feature(name: str) -> Feature:
    """Make the feature of a registered name, with its default settings.

    Raises:
        ValueError: If the name is not registered; the message lists those that are.

    Example:
        >>> make_feature("rms").level
        'frame'
    """
    if name not in _REGISTRY:
        raise ValueError(f"features: unknown feature {name!r}; the known ones are {', '.join(feature_names())}.")
    return _REGISTRY[name]()
