"""The audio inside a batch, or the spectrograms where there is none."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lightning_dissect.features.spectrograms import AmplitudeScale, check_values
from lightning_dissect.nested import contents, describe, look_up, named_leaves

Where = str | int | Callable[[Any], Tensor]

_USUAL_NAMES = re.compile(r"waveforms?|audio|wav|wave|signal|input_values|speech|x|inputs?")
_INDICES = re.compile(r"(\.\d+)+$")
_RATE_NAMES = ("sample_rate", "sampling_rate", "sr")
_SHORTEST = 0.02  # seconds; a shorter last axis is a label or an embedding, not audio
_MOST_CHANNELS = 8


class Inputs:
    """Finds what batches hold, as the arguments of :class:`~lightning_dissect.DissectCallback` of these names say.

    Clips begin at their first sample, and padding comes after them: where a network's frames lie in time is counted
    from there.

    Example:
        >>> batch = torch.zeros(2, 16_000), torch.tensor([16_000, 8_000])
        >>> waveform, lengths = Inputs(16_000, lengths=1).find(batch)
        >>> waveform.shape, lengths
        (torch.Size([2, 16000]), tensor([16000,  8000]))
    """

    def __init__(
        self,
        sample_rate: int,
        waveform: Where | None = None,
        spectrogram: AmplitudeScale | None = None,
        lengths: Where | None = None,
        n_bins: int = 0,
    ) -> None:
        self.sample_rate, self.waveform, self.spectrogram, self.n_bins = sample_rate, waveform, spectrogram, n_bins
        self.lengths = lengths
        self._misplaced: Tensor | None = None

    def find(self, batch: Any, first: bool = True) -> tuple[Tensor, Tensor | None]:
        """Find audio or spectrograms, and lengths.

        Args:
            batch: What the data loader gave.
            first: Whether it is the first of a run. Looking at a number on an accelerator waits for it, so only here
                is that done.

        Returns:
            Audio (clips, samples) or spectrograms (clips, bins, frames), in float32; and the samples, or frames, of
            each clip that are not padding, (clips,), None if all are whole.

        Raises:
            ValueError: If something is not there, or is not what it should be.
        """
        check_sample_rate(batch, self.sample_rate, wait=first)
        if self.spectrogram is None:
            values = find_waveform(batch, self.sample_rate, self.waveform)
        else:
            values = find_spectrogram(batch, self.n_bins, self.waveform)
            if first:
                check_values(values, self.spectrogram)
        return values, self._find_lengths(batch, values, wait=first)

    def begin(self) -> None:
        """Forget the batches of an earlier run."""
        self._misplaced = None

    def settle(self) -> None:
        """Look at the masks that were not waited for.

        Raises:
            ValueError: If one of them has padding elsewhere than at the end of a clip.
        """
        if self._misplaced is not None and self._misplaced:
            raise ValueError(
                f"lengths={self.lengths!r}: the mask of a batch has padding before a clip or within it. Clips have to "
                "begin at their first sample, with all padding behind them, since features and activations are brought "
                "together by their place in time. Pad on the right (padding_side='right' where the batch comes from "
                "Hugging Face), or validate one clip at a time without padding."
            )

    def _find_lengths(self, batch: Any, values: Tensor, wait: bool) -> Tensor | None:
        if self.lengths is None:
            return None
        found, clips, samples = look_up(batch, self.lengths, "lengths"), values.shape[0], values.shape[-1]
        if isinstance(found, Tensor) and found.shape == (clips, samples):
            mask = found.bool()
            misplaced = (mask[:, 1:] > mask[:, :-1]).any()
            self._misplaced = misplaced if self._misplaced is None else self._misplaced | misplaced
            if wait or mask.device.type == "cpu":
                self.settle()
            return mask.sum(1)
        whole = isinstance(found, Tensor) and not (found.is_floating_point() or found.dtype == torch.bool)
        if whole and found.shape == (clips,):
            return cast(Tensor, found.long().clamp(0, samples))
        raise ValueError(
            f"lengths={self.lengths!r} gave {describe(found)}: lengths are integers ({clips},), in samples, or a mask "
            f"({clips}, {samples}), for the {clips} clips of the batch."
        )


def find_waveform(batch: Any, sample_rate: int, where: Where | None = None) -> Tensor:
    """Find the audio in a batch and bring it to (clips, samples) in float32.

    Args:
        batch: What the data loader gave: a tensor, or tensors in a tuple, list, mapping or dataclass, also nested.
        sample_rate: In Hz; what lasts less than 20 ms is not taken for audio.
        where: A key (of a mapping or a dataclass), an index, or a function of the batch that returns the audio.
            ``None`` looks for the one tensor that has an audio's shape; where several have, for the one of these with
            a usual name, such as ``"waveform"`` or ``"audio"``.

    Returns:
        The mono waveform. Channels are averaged, int16 is scaled to [-1, 1).

    Raises:
        ValueError: If there is no audio there, or several tensors could be it, which are named. The message says what
            the batch holds.

    Example:
        >>> find_waveform((torch.zeros(4, 1, 16_000), torch.zeros(4)), 16_000).shape
        torch.Size([4, 16000])
    """
    if where is None:
        return _as_mono(_recognise(batch, sample_rate))
    found = look_up(batch, where, "waveform")
    if not _has_audio_shape(found, shortest=1):
        raise ValueError(
            f"waveform={where!r} gave {describe(found)}: audio is a tensor (B, samples) or (B, channels, samples), "
            "in floating point or int16."
        )
    return _as_mono(found)


def find_spectrogram(batch: Any, n_bins: int, where: Where | None = None) -> Tensor:
    """Find the spectrograms in a batch that holds no audio, and bring them to ``(clips, n_bins, frames)`` in float32.

    Args:
        batch: What the data loader gave, as for :func:`find_waveform`.
        n_bins: Bins of their frequency axis.
        where: A key, an index, or a function of the batch, which can also transpose, choose a channel and undo what
            was done to the values; ``None`` looks for the one tensor of that shape, or with one channel.

    Raises:
        ValueError: If there is none, or there are several. The message says what the batch holds.

    Example:
        >>> find_spectrogram((torch.zeros(4, 1, 64, 100), torch.zeros(4)), n_bins=64).shape
        torch.Size([4, 64, 100])
    """
    shapes = f"(B, {n_bins}, frames) or (B, 1, {n_bins}, frames)"
    if where is None:
        found = [leaf for _, leaf in named_leaves(batch) if _has_spectrogram_shape(leaf, n_bins)]
        if len(found) != 1:
            problem = "several tensors could be" if found else "no tensor has the shape of"
            raise ValueError(
                f"waveform=None: {problem} the spectrograms, {shapes} in floating point, in the batch, which holds "
                f"{contents(batch)}. The number of bins is that of the argument `frequency`. Give `waveform` the key, "
                "the index, or a function that takes the batch and returns them, transposed if need be."
            )
        spectrogram: Tensor = found[0]
    else:
        spectrogram = look_up(batch, where, "waveform")
        if not _has_spectrogram_shape(spectrogram, n_bins):
            raise ValueError(
                f"waveform={where!r} gave {describe(spectrogram)}: spectrograms are {shapes}, in floating point; the "
                "number of bins is that of the argument `frequency`."
            )
    return (spectrogram.squeeze(1) if spectrogram.ndim == 4 else spectrogram).float()


def check_sample_rate(batch: Any, sample_rate: int, wait: bool = True) -> None:
    """Compare what a batch says of its sample rate, if it does, with the argument.

    Args:
        batch: What the data loader gave; numbers, also in tensors, lists and strings, named ``sample_rate``,
            ``sampling_rate`` or ``sr`` are looked at.
        sample_rate: In Hz.
        wait: Whether to look at tensors on an accelerator, too, which means to wait for it.

    Raises:
        ValueError: If a clip has another rate.

    Example:
        >>> check_sample_rate({"audio": torch.zeros(2, 16_000), "sampling_rate": 16_000}, 16_000)
    """
    said: dict[str, set[float]] = {}
    for name, leaf in named_leaves(batch):
        key = _INDICES.sub("", name)
        if key.rpartition(".")[2] in _RATE_NAMES:
            said.setdefault(key, set()).update(_numbers(leaf, wait))
    for key, rates in said.items():
        others = sorted(rates - {sample_rate})
        if others:
            raise ValueError(
                f"sample_rate={sample_rate}: the batch says {key}={', '.join(f'{rate:g}' for rate in others)}. "
                "All batches must have one rate: resample the clips in the data set, or give the callback their rate."
            )


def _recognise(batch: Any, sample_rate: int) -> Tensor:
    shortest = max(1, round(_SHORTEST * sample_rate))
    shaped = [(name, leaf) for name, leaf in named_leaves(batch) if _has_audio_shape(leaf, shortest)]
    usual = [(name, leaf) for name, leaf in shaped if _USUAL_NAMES.fullmatch(name.rpartition(".")[2])]
    candidates = usual or shaped
    if len(candidates) == 1 or len({id(leaf) for _, leaf in usual}) == 1:
        audio: Tensor = candidates[0][1]
        return audio
    names = ", ".join(name for name, _ in candidates)
    problem = f"several tensors could be the audio ({names})" if candidates else "no tensor has the shape of audio"
    raise ValueError(
        f"waveform=None: {problem} in the batch, which holds {contents(batch)}. Audio is (B, samples) or "
        "(B, channels, samples): give `waveform` the key, the index, or a function that takes the batch and returns "
        "it. Batches of spectrograms alone need such a function, which loads or rebuilds the audio, or a data set that "
        "gives the audio, too; or say with `spectrogram` what they are, and their own features are compared."
    )


def _has_audio_shape(value: Any, shortest: int) -> bool:
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.dtype == torch.int16):
        return False
    channels = value.shape[1] if value.ndim == 3 else 1
    return value.ndim in (2, 3) and channels <= _MOST_CHANNELS and value.shape[-1] >= shortest


def _has_spectrogram_shape(value: Any, n_bins: int) -> bool:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (3, 4):
        return False
    return value.shape[-2] == n_bins and (value.ndim == 3 or value.shape[1] == 1)


def _as_mono(waveform: Tensor) -> Tensor:
    scaled: Tensor = waveform.float() / 32768 if waveform.dtype == torch.int16 else waveform.float()
    return scaled.mean(1) if scaled.ndim == 3 else scaled


def _numbers(leaf: Any, wait: bool) -> Iterator[float]:
    """The numbers in a tensor or an array, or that a number or string is; none of what lies where it is not looked."""
    if isinstance(leaf, Tensor) and leaf.device.type != "cpu" and not wait:
        return
    for value in leaf.flatten().tolist() if isinstance(leaf, (Tensor, np.ndarray)) else [leaf]:
        with suppress(TypeError, ValueError):
            yield float(value)
