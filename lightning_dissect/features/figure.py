"""A feature of one clip beside its spectrogram, as a matplotlib figure."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_dissect.features.analysis import Analysis
from lightning_dissect.features.bank import FeatureBank, FeatureValues
from lightning_dissect.features.decomposition import MelSpectrogram
from lightning_dissect.features.feature import Feature, make_feature
from lightning_dissect.features.frequency import FrequencyAxis
from lightning_dissect.features.functional.arguments import as_waveform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]


class _Spectrum(MelSpectrogram):
    """The spectrogram of the upper panel, under a name that no feature has."""

    name = "_spectrum"


def plot(
    feature: str | Feature,
    waveform: Tensor,
    sample_rate: int | Analysis,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    frequency: FrequencyAxis | None = None,
) -> "Figure":
    """Draw a feature of one clip below its spectrogram.

    Args:
        feature: A name or a `Feature` object.
        waveform: The clip, shape ``(samples,)``.
        sample_rate: Samples per second; or an `Analysis`, which says this and what follows.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        frequency: The frequency axis; 128 mel bands if None.

    Returns:
        A figure of its own, unknown to pyplot; ``figure.savefig("feature.png")`` writes it.

    Raises:
        ValueError: If the name is unknown or the waveform is not one clip.

    Example:
        >>> figure = plot("chroma", torch.randn(22050), 22050)
        >>> [axes.get_ylabel() for axes in figure.axes[:2]]
        ['Hz', 'pitch class']
    """
    from matplotlib.figure import Figure

    waveform = as_waveform(waveform, "waveform")
    if waveform.dim() != 1:
        raise ValueError(f"waveform must be one clip of shape (samples,), found {tuple(waveform.shape)}.")
    made = make_feature(feature) if isinstance(feature, str) else feature
    bank = FeatureBank([_Spectrum(), made], sample_rate, n_fft, hop_length, frequency).to(waveform.device)
    with torch.no_grad():
        spectrum, values = bank(waveform[None]).values()
    # The bank has a copy, which knows the rows of this analysis.
    made = bank.get_submodule(f"features.{made.name}")  # type: ignore[assignment]
    figure = Figure(figsize=(8, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    _draw_map(top, spectrum.values[0], _frequency_ticks(bank.analysis), bank.analysis, "dB")
    top.set(ylabel="Hz", title="spectrogram")
    _draw_feature(bottom, made, values, bank.analysis)
    bottom.set(xlabel="s")
    return figure


def _draw_feature(axes: "Axes", feature: Feature, values: FeatureValues, analysis: Analysis) -> None:
    """Draw a map as an image, frames as lines, and a clip's values as horizontal lines."""
    data = values.values[0].cpu()
    label = f"{feature.name} ({feature.unit})" if feature.unit else feature.name
    if feature.level == "map":
        ticks = _row_ticks(feature, data.shape[0], analysis)
        _draw_map(axes, data, ticks, analysis, feature.unit)
        axes.set(ylabel="Hz" if feature.row_axis == "frequency" else feature.row_axis, title=feature.name)
        return
    seconds = torch.arange(data.shape[-1]) * analysis.hop_length / analysis.sample_rate
    for name, row in zip(values.rows, data, strict=True):
        if feature.level == "frame":
            axes.plot(seconds.numpy(), row.numpy(), label=name)
        else:
            axes.axhline(float(row), label=f"{name} = {float(row):.3g}")
    axes.set(ylabel=feature.unit or feature.name, title=label)
    if feature.level == "clip" or len(values.rows) > 1:
        axes.legend(loc="upper right")


def _draw_map(axes: "Axes", rows: Tensor, ticks: tuple[list[float], list[str]], analysis: Analysis, unit: str) -> None:
    """Draw rows × frames with time in seconds, each frame around its centre."""
    half = analysis.hop_length / analysis.sample_rate / 2
    extent = (-half, (2 * rows.shape[1] - 1) * half, -0.5, rows.shape[0] - 0.5)
    image = axes.imshow(rows.cpu().numpy(), origin="lower", aspect="auto", interpolation="nearest", extent=extent)
    axes.set_yticks(*ticks)
    axes.figure.colorbar(image, ax=axes, label=unit, pad=0.01)


def _frequency_ticks(analysis: Analysis) -> tuple[list[float], list[str]]:
    """Return the rows of octaves of 125 Hz, as far as the network's axis reaches."""
    centres = analysis.frequency.frequencies(analysis.sample_rate)
    octaves = [125.0 * 2**octave for octave in range(10)]
    inside = [hertz for hertz in octaves if centres[0] <= hertz <= centres[-1]]
    return [float((centres - hertz).abs().argmin()) for hertz in inside], [f"{hertz:g}" for hertz in inside]


def _row_ticks(feature: Feature, n_rows: int, analysis: Analysis) -> tuple[list[float], list[str]]:
    """Return positions and labels of a map's rows."""
    if feature.row_names:
        step = -(-n_rows // 12)
        return [float(row) for row in range(0, n_rows, step)], list(feature.row_names[::step])
    if feature.row_axis == "frequency" and n_rows == analysis.frequency.n_bins:
        return _frequency_ticks(analysis)
    if feature.row_axis == "note":
        octaves = range(0, n_rows, 12)
        return [float(row) for row in octaves], [f"C{1 + row // 12}" for row in octaves]
    step = -(-n_rows // 8)
    return [float(row) for row in range(0, n_rows, step)], [str(row) for row in range(0, n_rows, step)]
