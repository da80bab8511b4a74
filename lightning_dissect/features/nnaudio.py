"""Time–frequency maps of nnAudio, as features: gammatone filters, and constant-Q transforms without resampling.

`cqt` (`ConstantQ`) agrees with librosa to 1e-6. nnAudio's constant-Q transform, here `cqt_nnaudio`, has another
bandwidth (Q of 16.82 instead of 17.33) and differs by 1.2 to 1.5 %.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.clips import Clips
from lightning_dissect.features.feature import Feature, feature
from lightning_dissect.features.functional.cqt_plan import C1
from lightning_dissect.features.functional.decibels import power_to_db
from lightning_dissect.levels import Level


class _NNAudioMap(Feature):
    """A map that a module of nnAudio computes from the waveform."""

    level: ClassVar[Level] = "map"
    unit: ClassVar[str] = "dB"
    needs_spectrum: ClassVar[bool] = False
    shift_matters: ClassVar[bool] = False
    module: nn.Module

    def setup(self, analysis: Analysis) -> None:
        """Make nnAudio's module."""
        self.module = self._make(analysis)

    @abstractmethod
    def _make(self, analysis: Analysis) -> Any:
        """Make nnAudio's module."""

    def _map(self, clips: Clips) -> Tensor:
        """Return what the module makes of the clips, zero past each clip's frames."""
        values: Tensor = self.module(clips.waveform)
        return clips.trimmed(values[..., : clips.n_frames])


@feature("gammatonegram")
class Gammatonegram(_NNAudioMap):
    """Spectrogram in 64 gammatone bands, in dB, as `nnAudio.features.Gammatonegram` with zero padding."""

    def _make(self, analysis: Analysis) -> Any:
        from nnAudio.features import Gammatonegram as Module

        settings = {"n_fft": analysis.n_fft, "hop_length": analysis.hop_length, "pad_mode": "constant"}
        return Module(sr=analysis.sample_rate, verbose=False, **settings)

    def forward(self, clips: Clips) -> Tensor:
        """Return the spectrogram, shape ``(clips, 64, frames)``, in dB."""
        return power_to_db(self._map(clips))


class _NNAudioConstantQ(_NNAudioMap):
    """A constant-Q transform of nnAudio, whose longest filter no clip may fall short of."""

    def _settings(self, analysis: Analysis) -> dict[str, Any]:
        n_octaves = min(math.floor(math.log2(analysis.sample_rate / 2 / C1)), 7)
        if n_octaves < 1:
            raise ValueError(f"sample_rate: {self.name!r} needs an octave above {C1:.1f} Hz, which {analysis} has not.")
        return {
            "sr": analysis.sample_rate,
            "hop_length": analysis.hop_length,
            "fmin": C1,
            "n_bins": 12 * n_octaves,
            "pad_mode": "constant",
            "verbose": False,
        }

    def forward(self, clips: Clips) -> Tensor:
        """Return the transform, shape ``(clips, bins, frames)``, in dB."""
        return power_to_db(self._map(clips).square())


@feature("cqt_nnaudio")
class NNAudioCQT(_NNAudioConstantQ):
    """Constant-Q transform in dB, as `nnAudio.features.CQT1992v2` with zero padding: 12 bins an octave from C1."""

    def _make(self, analysis: Analysis) -> Any:
        from nnAudio.features import CQT1992v2

        return CQT1992v2(**self._settings(analysis))


@feature("vqt_nnaudio")
class NNAudioVQT(_NNAudioConstantQ):
    """Variable-Q transform in dB, as `nnAudio.features.VQT` with zero padding; `vqt` is librosa's.

    Its low-pass filters run past a clip's end, so it takes no padded batches.

    Args:
        gamma: Bandwidth in Hz that is added to each bin's, which shortens the long filters of low notes.
    """

    def __init__(self, gamma: float = 10.0) -> None:
        super().__init__()
        self.gamma = gamma

    def _make(self, analysis: Analysis) -> Any:
        from nnAudio.features import VQT

        settings = self._settings(analysis)
        self.shortest = 256 * 2 ** (settings["n_bins"] // 12)
        return VQT(gamma=self.gamma, **settings)

    def forward(self, clips: Clips) -> Tensor:
        """Return the transform, shape ``(clips, bins, frames)``, in dB.

        Raises:
            ValueError: If the batch is padded, or shorter than the transform's filters.
        """
        if clips.lengths is not None:
            raise ValueError("lengths: 'vqt_nnaudio' takes no padded batches; 'vqt' does.")
        if clips.waveform.shape[1] < self.shortest:
            raise ValueError(
                f"waveform: 'vqt_nnaudio' needs {self.shortest} samples, found {clips.waveform.shape[1]}; 'vqt' takes "
                f"any."
            )
        return super().forward(clips)
