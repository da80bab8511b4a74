"""Excerpts: the audio around the moments that drive units, in a pool of fixed size."""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, distributed
from torch.nn.functional import pad

from lightning_dissect.levels import Extent

_CLIPS_A_LOADER = 2**36
_WINDOWS_A_CLIP = 2**14
_EMPTY = -2
"""The key of a place in the pool in which no excerpt lies."""
_LARGEST = 6e4
"""Of half precision."""


class Excerpt(NamedTuple):
    """Where an excerpt was cut out; it is named by these numbers.

    Attributes:
        process: Index of the process that saw the clip.
        dataloader: Index of the data loader.
        clip: Index of the clip among those of its data loader, in the order in which the process saw them.
        start: Seconds into the clip.
    """

    process: int
    dataloader: int
    clip: int
    start: float


class Windows(NamedTuple):
    """A batch's audio in windows that overlap by half: each is an excerpt that a unit may want.

    Attributes:
        audio: Shape (clips, windows, samples), a view in half precision.
        keys: What each window is known by, one integer for data loader, clip and window, shape (clips, windows).
        seconds: Length of each clip without its padding, shape (clips,).
        padded: Length of the batch in seconds.
        extent: How far the clips reach.
    """

    audio: Tensor
    keys: Tensor
    seconds: Tensor
    padded: float
    extent: Extent

    @classmethod
    def cut(cls, waveform: Tensor, extent: Extent, hop: int, sample_rate: int, dataloader: int, first: int) -> Self:
        """Cut the audio (clips, samples) of a batch, whose first clip has the index ``first``."""
        clips, samples = waveform.shape
        windows = max(1, -(-samples // hop) - 1)
        heard = waveform.nan_to_num(0.0).clamp_(-_LARGEST, _LARGEST).half()
        audio = pad(heard, (0, (windows + 1) * hop - samples)).unfold(1, 2 * hop, hop)
        serial = dataloader * _CLIPS_A_LOADER + torch.arange(first, first + clips, device=waveform.device)
        keys = serial[:, None] * _WINDOWS_A_CLIP + torch.arange(windows, device=waveform.device)
        whole = waveform.new_ones(clips) if extent.fraction is None else extent.fraction
        return cls(audio, keys, whole * samples / sample_rate, samples / sample_rate, extent)


def read_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the data loaders, the clips and the windows that keys stand for."""
    clips, windows = np.divmod(keys, _WINDOWS_A_CLIP)
    return clips // _CLIPS_A_LOADER, clips % _CLIPS_A_LOADER, windows


class ExcerptPool:
    """Holds the excerpts that units want most, of fixed size, and never waits for the device.

    Args:
        size: Number of excerpts.
        hop: Samples from window to window, half an excerpt.
        sample_rate: In Hz.
    """

    def __init__(self, size: int, hop: int, sample_rate: int) -> None:
        self.size, self._hop, self._sample_rate = size, hop, sample_rate
        self._kept: tuple[Tensor, Tensor] | None = None

    @property
    def n_bytes(self) -> int:
        """Memory of the pool."""
        return sum(values.nbytes for values in self._kept or ())

    def offer(self, windows: Windows, wanted: Tensor, weights: Tensor) -> None:
        """Take the windows of a batch that are wanted more than what is held.

        Args:
            windows: The batch's.
            wanted: Keys that units want, shape (n,), in any order, also several times.
            weights: How much each of these counts, shape (n,).
        """
        fresh = windows.keys.flatten()
        if self._kept is None:
            silence = windows.audio.new_zeros((self.size, windows.audio.shape[-1]))
            self._kept = fresh.new_full((self.size,), _EMPTY), silence
        keys, audio = self._kept
        uses = _count(torch.cat([keys, fresh]), wanted, weights)
        size = min(self.size, len(fresh))
        most, newcomers = uses[self.size :].topk(size)
        least, places = uses[: self.size].topk(size, largest=False)
        replace = most > least
        if replace.device.type == "cpu":  # where a look waits for nothing: few are replaced in later batches
            newcomers, places, replace = newcomers[replace], places[replace], replace[replace]
        row, column = newcomers // windows.keys.shape[1], newcomers % windows.keys.shape[1]
        keys[places] = torch.where(replace, fresh[newcomers], keys[places])
        audio[places] = torch.where(replace[:, None], windows.audio[row, column], audio[places])

    def find(self, rows: pd.DataFrame) -> dict[Excerpt, np.ndarray]:
        """Return the audio of those excerpts of a table of playlists that this process holds, float32 (samples,)."""
        if self._kept is None:
            return {}
        keys, audio = (tensor.cpu().numpy() for tensor in self._kept)
        place = {key: index for index, key in enumerate(keys.tolist())}
        mine = rows[rows["process"] == _process()].drop_duplicates(list(Excerpt._fields))
        found = {}
        for *name, end in mine[[*Excerpt._fields, "end"]].itertuples(index=False):
            excerpt = Excerpt(*name)
            window = round(excerpt.start * self._sample_rate / self._hop)
            key = (excerpt.dataloader * _CLIPS_A_LOADER + excerpt.clip) * _WINDOWS_A_CLIP + window
            if key in place:
                samples = round((end - excerpt.start) * self._sample_rate)
                found[excerpt] = audio[place[key], :samples].astype(np.float32)
        return found


def _count(keys: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """How much each of some distinct keys is wanted, float32."""
    ordered, order = keys.sort()
    place = torch.searchsorted(ordered, wanted).clamp(max=len(keys) - 1)
    hits = (ordered[place] == wanted) * weights
    return hits.new_zeros(len(keys)).scatter_add(0, order[place], hits)


def _process() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
