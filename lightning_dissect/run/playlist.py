"""The playlist of a neuron: the clips, and the moments in them, that drive a unit most (Dieleman 2014).

While a run goes by, each unit keeps references to its k strongest clips, and the audio around those moments waits in a
pool of fixed size. Memory is O(units × k) and that pool, nothing waits for the device, and loaders may shuffle or
stream.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightning_dissect.levels import Extent, Levels
from lightning_dissect.run.excerpts import Excerpt, ExcerptPool, Windows, read_keys
from lightning_dissect.run.processes import gather

COLUMNS = {
    "layer": "category",
    "unit": "int32",
    "rank": "int32",
    "process": "int32",
    "dataloader": "int32",
    "clip": "int64",
    "time": "float64",
    "start": "float64",
    "end": "float64",
    "activation": "float64",
}
_NOTHING = -1
"""The key of no clip, where none drove the unit."""
_FAVOUR = 1e4
"""Units that a favoured one counts for."""


@dataclass(frozen=True)
class Playlists:
    """What the playlists of a run hold.

    Args:
        clips: Clips of each unit, those that drive it most; 0 for no playlists.
        seconds: Length of an excerpt; a clip that is shorter is kept whole.
        excerpts: Excerpts that each process holds: at 16 kHz, 256 of 3 s take 25 MB in half precision.

    Raises:
        ValueError: If one is out of range.

    Example:
        >>> Playlists(clips=5).seconds
        3.0
    """

    clips: int = 3
    seconds: float = 3.0
    excerpts: int = 256

    def __post_init__(self) -> None:
        if self.clips < 0:
            raise ValueError(f"playlist={self.clips}: it counts clips a unit, from 0 on.")
        if not self.seconds > 0 or self.excerpts < 1:
            raise ValueError(f"playlist={self}: an excerpt lasts more than 0 s, and there is 1 at least.")


class Played(NamedTuple):
    """The playlists of all units, and the audio that was kept.

    Attributes:
        table: One row for each unit and rank, with the columns ``layer, unit, rank, process, dataloader, clip, time,
            start, end, activation``. ``rank`` counts from 1, the strongest. ``process, dataloader, clip`` and ``start``
            name an :class:`Excerpt`. ``time`` is the moment of the peak, in seconds into the clip, NaN for a layer
            without frames; ``start`` and ``end`` are those of the excerpt around it; ``activation`` is the unit's value
            at that moment, averaged over frequency.
        audio: The samples of excerpts, float32 (samples,), of one sampling rate.
    """

    table: pd.DataFrame
    audio: dict[Excerpt, np.ndarray]


class _Top(NamedTuple):
    """The strongest clips of a layer's units, each (units, k), best first; activation -inf where there is none yet."""

    activation: Tensor
    key: Tensor
    time: Tensor
    end: Tensor


class Playlist:
    """Keeps, for each unit of each layer, the clips that drive it most, and audio of them.

    Each clip counts with the largest frame of the unit's activation (averaged over frequency), or with its one value in
    a layer without frames. The excerpt is the one of a fixed grid of windows, 3 s long and 1.5 s apart, that has
    this moment nearest to its middle; in a layer without frames, it is the middle of the clip.

    When more excerpts are wanted than the pool holds, those of favoured units stay, and then those wanted by most
    units. Which units are labelled is known at the end of a run only, so the labels of the run before say which.

    Under DDP the playlists of all processes are merged; a sampler that repeats clips to even out processes may repeat
    them here.

    Args:
        sample_rate: In Hz.
        playlists: What they hold.
        favoured: Rows with ``layer`` and ``unit`` whose excerpts come first.

    Example:
        >>> playlist = Playlist(sample_rate=10, playlists=Playlists(clips=1))
        >>> frames = torch.zeros(4, 1, 5)
        >>> frames[2, 0, 3] = 7.0
        >>> playlist.begin(torch.arange(200.0).view(4, 50), Extent(4, 5, None, 0), {}, 0, 0)
        >>> playlist.receive("conv", Levels(frames.mean(-1), frames, None))
        >>> playlist.end()
        >>> played = playlist.compute()
        >>> played.table[["clip", "time", "start", "end", "activation"]].values.tolist()
        [[2.0, 3.5, 1.5, 4.5, 7.0]]
        >>> played.audio[Excerpt(0, 0, 2, 1.5)][:3].tolist()
        [115.0, 116.0, 117.0]
    """

    def __init__(
        self, sample_rate: int, playlists: Playlists | None = None, favoured: pd.DataFrame | None = None
    ) -> None:
        playlists = playlists or Playlists()
        self.sample_rate, self.clips = sample_rate, playlists.clips
        self._favoured: dict[str, list[int]] = {}
        if favoured is not None:
            for layer, units in favoured.groupby("layer", observed=True)["unit"]:
                self._favoured[str(layer)] = units.astype(int).tolist()
        self._weights: dict[str, Tensor] = {}
        self._hop = max(1, round(playlists.seconds * sample_rate / 2))
        self._top: dict[str, _Top] = {}
        self._pool = ExcerptPool(playlists.excerpts, self._hop, sample_rate)
        self._windows: Windows | None = None

    def begin(
        self, waveform: Tensor, extent: Extent, features: Mapping[str, Levels], dataloader: int, first: int
    ) -> None:
        """Take the audio (clips, samples) of a batch."""
        self._windows = Windows.cut(waveform, extent, self._hop, self.sample_rate, dataloader, first)

    def receive(self, layer: str, levels: Levels) -> None:
        """Merge the batch's strongest clips into those of a layer's units."""
        windows = self._windows
        if windows is None:
            return
        activation, time = _peaks(levels, windows)
        hop = self._hop / self.sample_rate
        middle = torch.where(time.isnan(), windows.seconds[:, None] / 2, time)
        window = (middle / hop - 0.5).floor().clamp(0, windows.keys.shape[1] - 1)
        end = torch.minimum((window + 2) * hop, windows.seconds[:, None])
        key = torch.where(activation.isinf(), _NOTHING, windows.keys[:, :1] + window.long())
        batch = _Top(*(t.T for t in (activation, key, time, end)))
        if layer not in self._weights:
            self._weights[layer] = self._weigh(layer, len(batch.key)).to(key.device)
        self._top[layer] = _strongest([self._top[layer], batch] if layer in self._top else [batch], self.clips)

    def end(self) -> None:
        """Let the pool have the windows of the batch that are wanted more than what it holds."""
        windows, self._windows = self._windows, None
        if windows is not None and self._top:
            wanted = torch.cat([top.key.flatten() for top in self._top.values()])
            weights = [self._weights[layer].expand_as(top.key).flatten() for layer, top in self._top.items()]
            self._pool.offer(windows, wanted, torch.cat(weights))

    @property
    def n_bytes(self) -> int:
        """Memory of the references and of the pool."""
        return self._pool.n_bytes + sum(values.nbytes for top in self._top.values() for values in top)

    def compute(self, units: pd.DataFrame | None = None) -> Played:
        """Merge the playlists of all processes; every process has to call this.

        Args:
            units: Rows with ``layer`` and ``unit`` whose audio is wanted, such as the labelled ones; ``None``: of all.
        """
        own = {layer: _Top(*(values.cpu() for values in top)) for layer, top in self._top.items()}
        gathered = gather(own)
        empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})
        joined = self._rows(gathered) if any(gathered) else empty
        wanted = joined if units is None else joined.merge(units[["layer", "unit"]].astype({"unit": "int32"}))
        parts = gather(self._pool.find(wanted))
        return Played(joined, {excerpt: samples for part in parts for excerpt, samples in part.items()})

    def _weigh(self, layer: str, units: int) -> Tensor:
        """How much each unit of a layer counts in the pool, (units, 1)."""
        favoured = [unit for unit in self._favoured.get(layer, []) if unit < units]
        return torch.ones(units, 1).index_fill(0, torch.tensor(favoured, dtype=torch.long), _FAVOUR)

    def _rows(self, gathered: Sequence[Mapping[str, _Top]]) -> pd.DataFrame:
        """The table of all layers, of the results of all processes; some layers may be missing in some of these."""
        layers = list(dict.fromkeys(layer for tops in gathered for layer in tops))
        parts = [(place, *found) for place, layer in enumerate(layers) for found in _of_layer(layer, gathered)]
        places, processes, tops = zip(*parts, strict=True)
        sizes = [top.key.numel() for top in tops]
        rows: dict[str, np.ndarray] = {
            name: torch.cat([values.flatten() for values in columns]).numpy()
            for name, columns in zip(_Top._fields, zip(*tops, strict=True), strict=True)
        }
        rows |= {"layer": np.repeat(places, sizes), "process": np.repeat(processes, sizes)}
        rows["unit"] = np.concatenate([np.indices(top.key.shape)[0].reshape(-1) for top in tops])
        order = np.lexsort((-rows["activation"], rows["unit"], rows["layer"]))  # the strongest of each unit first
        rows = {name: values[order] for name, values in rows.items()}
        begins = np.flatnonzero(np.diff(rows["layer"], prepend=-1) | np.diff(rows["unit"], prepend=-1))
        rows["rank"] = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order))) + 1
        rows["dataloader"], rows["clip"], windows = read_keys(rows.pop("key"))
        rows["start"] = windows * self._hop / self.sample_rate
        rows["layer"] = np.array(layers, dtype=object)[rows["layer"]]
        found = np.isfinite(rows["activation"]) & (rows["rank"] <= self.clips)
        return pd.DataFrame({name: rows[name][found] for name in COLUMNS}).astype(COLUMNS)


def _of_layer(layer: str, gathered: Sequence[Mapping[str, _Top]]) -> Iterator[tuple[int, _Top]]:
    """The processes that have a layer, and what they have of it."""
    return ((process, tops[layer]) for process, tops in enumerate(gathered) if layer in tops)


def _peaks(levels: Levels, windows: Windows) -> tuple[Tensor, Tensor]:
    """The peak of each unit in each clip, -inf for none, and its moment in seconds, both (B, units)."""
    if levels.frame is None:
        assert levels.clip is not None  # a layer has it always
        activation, time = levels.clip, torch.full_like(levels.clip, torch.nan)
    else:
        frames, mask = levels.frame, windows.extent.valid(levels.frame.shape[-1])
        if mask is not None:
            frames = frames.masked_fill(~mask[:, None], -torch.inf)
        activation, index = frames.max(-1)
        time = (index + 0.5) * (windows.padded / frames.shape[-1])
    # A unit that stays at 0, dead behind a ReLU or fed with silence, is driven by nothing.
    driven = activation.isfinite() & (activation != 0) & (windows.seconds[:, None] > 0)
    return activation.where(driven, -torch.inf), time


def _strongest(tops: list[_Top], count: int) -> _Top:
    """The strongest of several lists of each unit."""
    joined = _Top(*(torch.cat(parts, 1) for parts in zip(*tops, strict=True)))
    activation, order = joined.activation.topk(min(count, joined.activation.shape[1]), dim=1)
    return _Top(activation, *(values.gather(1, order) for values in joined[1:]))
