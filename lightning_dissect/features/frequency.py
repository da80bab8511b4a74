"""The frequency axis of a network's input, onto which map features are brought."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lightning_dissect.features.functional.arguments import check_rate
from lightning_dissect.features.functional.filters import mel_filters, mel_frequencies
from lightning_dissect.features.functional.spectrum import fft_frequencies

FrequencyScale = Literal["mel", "mel_htk", "linear", "log", "matrix"]


@dataclass(frozen=True)
class FrequencyAxis:
    """Scale, size and range of a frequency axis.

    Harmonic and percussive parts are compared with a network's maps on the network's own axis: on another one, what is
    a shift for the network would be a distortion for the feature.

    Args:
        scale: ``mel`` (Slaney's, librosa's default), ``mel_htk`` (torchaudio's default), ``linear`` or ``log``
            (constant-Q spacing). Any other axis is given by its filters, see `from_matrix`.
        n_bins: Number of bins.
        f_min: Lowest frequency in Hz; above 0 for ``log``.
        f_max: Highest frequency in Hz; None takes half the sampling rate.

    Attributes:
        sha256: Of a given matrix, the SHA-256 of its float32 values; otherwise None.

    Raises:
        ValueError: If the scale is unknown, or the size or range is impossible.

    Example:
        >>> FrequencyAxis("mel", n_bins=96).projection(12_000, 512).shape
        torch.Size([96, 257])
    """

    scale: FrequencyScale = "mel"
    n_bins: int = 128
    f_min: float = 0.0
    f_max: float | None = None
    sha256: str | None = field(default=None, init=False, repr=False)
    _matrix: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _centres: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.scale not in ("mel", "mel_htk", "linear", "log"):
            raise ValueError(
                f"scale must be mel, mel_htk, linear or log, found {self.scale!r}; FrequencyAxis.from_matrix takes the "
                f"filters of any other."
            )
        if self.n_bins < 1:
            raise ValueError(f"n_bins must be at least 1, found {self.n_bins}.")
        lowest = "above 0 for a log scale" if self.scale == "log" else "at least 0"
        if self.f_min < 0 or (self.scale == "log" and self.f_min == 0):
            raise ValueError(f"f_min must be {lowest}, found {self.f_min}.")
        if self.f_max is not None and self.f_max <= self.f_min:
            raise ValueError(f"f_max must be above f_min ({self.f_min} Hz), found {self.f_max}.")

    @classmethod
    def from_matrix(cls, matrix: Tensor, frequencies: Tensor | None = None) -> Self:
        """Make the axis of filters of one's own: whatever a network applies to the power spectrum.

        Args:
            matrix: Weights, shape ``(n_bins, 1 + n_fft // 2)``, not negative, with something in each row.
            frequencies: Centre of each bin in Hz, shape ``(n_bins,)``, rising; None takes the centre of gravity of
                each row.

        Returns:
            An axis that fits this ``n_fft`` alone.

        Raises:
            ValueError: If the matrix or the frequencies have another shape, or values that cannot be weights or
                frequencies.

        Example:
            >>> axis = FrequencyAxis.from_matrix(torch.eye(257)[::2])
            >>> axis.n_bins, axis.frequencies(16_000)[:3]
            (129, tensor([  0.0000,  62.5000, 125.0000]))
        """
        matrix = torch.as_tensor(matrix).detach().float().cpu()
        if matrix.dim() != 2 or matrix.shape[1] < 2 or matrix.shape[0] < 1:
            raise ValueError(f"matrix must have shape (n_bins, 1 + n_fft // 2), found {tuple(matrix.shape)}.")
        if not ((matrix >= 0).all() and matrix.isfinite().all() and (matrix.sum(dim=1) > 0).all()):
            raise ValueError("matrix must hold finite weights that are not negative, and one above 0 in each row.")
        axis = cls("linear", n_bins=matrix.shape[0])
        if frequencies is not None:
            frequencies = torch.as_tensor(frequencies).detach().float().cpu()
            if frequencies.shape != matrix.shape[:1]:
                raise ValueError(
                    f"frequencies must have shape ({matrix.shape[0]},), one for each row of the matrix, found "
                    f"{tuple(frequencies.shape)}."
                )
            if not ((frequencies >= 0).all() and (frequencies.diff() > 0).all()):
                raise ValueError("frequencies must rise, from 0 Hz or above.")
            object.__setattr__(axis, "f_min", float(frequencies[0]))
            object.__setattr__(axis, "f_max", float(frequencies[-1]))
        digest = hashlib.sha256(matrix.numpy().tobytes()).hexdigest()
        given = {"scale": "matrix", "sha256": digest, "_matrix": matrix, "_centres": frequencies}
        for name, value in given.items():
            object.__setattr__(axis, name, value)
        return axis

    @property
    def settings(self) -> dict[str, Any]:
        """What the axis is, in numbers and strings; of a matrix, the SHA-256 of its float32 values."""
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return shown if self.sha256 else {name: value for name, value in shown.items() if name != "sha256"}

    def frequencies(self, sample_rate: float) -> Tensor:
        """Return the centre of each bin in Hz, shape ``(n_bins,)``.

        Example:
            >>> FrequencyAxis("linear", n_bins=3).frequencies(8000)
            tensor([   0., 2000., 4000.])
        """
        top = self._top(sample_rate)
        if self._centres is not None:
            return self._centres
        if self._matrix is not None:
            bins = torch.linspace(0, sample_rate / 2, self._matrix.shape[1])
            return self._matrix @ bins / self._matrix.sum(dim=1)
        if self.scale in ("mel", "mel_htk"):
            edges = mel_frequencies(self.n_bins + 2, fmin=self.f_min, fmax=top, htk=self.scale == "mel_htk")
            return edges[1:-1].float()
        steps = torch.linspace(0, 1, self.n_bins, dtype=torch.float64)
        if self.scale == "log":
            return (self.f_min * (top / self.f_min) ** steps).float()
        return (self.f_min + (top - self.f_min) * steps).float()

    def projection(self, sample_rate: float, n_fft: int) -> Tensor:
        """Return the weights that bring a power spectrum onto this axis, shape ``(n_bins, 1 + n_fft // 2)``.

        Mel bands are those of `librosa.filters.mel`. The bins of the other scales are averages under a triangle that
        reaches to the neighbouring bins, and at least to the next bin of the spectrum; a ``linear`` axis as fine as
        the spectrum is the spectrum itself. A matrix is returned as it was given.

        Args:
            sample_rate: Sampling rate in Hz.
            n_fft: Samples of a frame.

        Raises:
            ValueError: If the axis does not lie within ``0 … sample_rate / 2``, or a matrix is for another ``n_fft``.
        """
        top = self._top(sample_rate)
        if self._matrix is not None:
            if self._matrix.shape[1] != 1 + n_fft // 2:
                raise ValueError(
                    f"frequency: a matrix of shape {tuple(self._matrix.shape)} is for spectra of "
                    f"{self._matrix.shape[1]} bins; those of n_fft {n_fft} have {1 + n_fft // 2}."
                )
            return self._matrix
        if self.scale in ("mel", "mel_htk"):
            htk = self.scale == "mel_htk"
            return mel_filters(
                sr=sample_rate, n_fft=n_fft, n_mels=self.n_bins, fmin=self.f_min, fmax=top, htk=htk
            ).float()
        centres = self.frequencies(sample_rate).double()
        bins = fft_frequencies(sample_rate, n_fft)
        spacing = torch.gradient(centres)[0] if self.n_bins > 1 else torch.tensor([top - self.f_min])
        width = spacing.clamp(min=sample_rate / n_fft)[:, None]
        weights = (1 - (bins - centres[:, None]).abs() / width).clamp(min=0)
        return (weights / weights.sum(dim=1, keepdim=True)).float()

    def _top(self, sample_rate: float) -> float:
        """Return the highest frequency in Hz."""
        check_rate(sample_rate, "sample_rate")
        nyquist = sample_rate / 2
        top = nyquist if self.f_max is None else self.f_max
        if not self.f_min < top <= nyquist:
            raise ValueError(
                f"frequency: {self.f_min} to {top} Hz does not lie within 0 to {nyquist} Hz, half the sample_rate "
                f"({sample_rate}); choose f_max up to that."
            )
        return top
