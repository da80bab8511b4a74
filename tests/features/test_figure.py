from collections.abc import Callable

import numpy as np
import pytest
import torch

from lightning_dissect.features import FrequencyAxis, feature_names, make_feature, plot


@pytest.mark.parametrize("name", feature_names())
def test_every_feature_is_drawn_below_the_spectrogram(name: str, phrases: Callable[..., np.ndarray]) -> None:
    made = make_feature(name)
    top, bottom = plot(name, torch.from_numpy(phrases(1, 1.5)[0]), 22_050).axes[:2]
    assert top.get_ylabel() == "Hz"
    assert bottom.get_xlabel() == "s"
    assert name in bottom.get_title()
    assert bool(bottom.images) == (made.level == "map")
    if made.row_names:
        shown = [label.get_text() for label in bottom.get_yticklabels()]
        assert set(shown) <= set(made.row_names) or name == "contrast"


def test_frequencies_are_labelled_where_they_are() -> None:
    tone = torch.sin(2 * torch.pi * 1_000 * torch.arange(16_000) / 16_000)
    axes = plot("mel", tone, 16_000, frequency=FrequencyAxis("linear", 200)).axes[1]
    ticks = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    loudest = axes.images[0].get_array()[:, 10].argmax()
    assert abs(ticks["1000"] - loudest) <= 1


def test_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="waveform must be one clip"):
        plot("rms", torch.zeros(2, 100), 8_000)
