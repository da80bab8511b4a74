"""Which features depend on how loud a clip is, as the table of the documentation says."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_dissect.features import Chroma, Feature, FeatureBank, feature_names

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
FREE, SILENCE, FIRST, YES = "no", "in near-silent frames", "the first coefficient", "yes"
NEXT_TO_NOTHING = 0.01
"""Of a standard deviation: products of float32 are rounded otherwise, and `rolloff` may take the next bin."""


class Row(NamedTuple):
    """What the documentation says of a feature.

    How far two gains move its values, and how closely its clip means follow those of `rms_db`; empty where there are
    none.
    """

    depends: str
    quieter: str
    louder: str
    correlation: str


def read_table() -> dict[str, Row]:
    text = PAGE.read_text().split("| Feature | Depends on the level |")[1].split("\n\n")[0]
    rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:])
    return {name.strip("`"): Row(*told) for name, *told in rows}


TABLE = read_table()


@pytest.fixture(scope="module")
def audio(phrases: Callable[..., np.ndarray]) -> Tensor:
    return torch.from_numpy(phrases(48, 1.5))


def values_of(feature: str | Feature, audio: Tensor) -> Tensor:
    (values,) = FeatureBank([feature], 22_050)(audio).values()
    return values.values if values.level != "clip" else values.values[..., None]


def changes(feature: str | Feature, audio: Tensor, gain: float) -> Tensor:
    """How far a gain moves the values, in standard deviations of each row, shape (clips, rows, frames)."""
    values = values_of(feature, audio)
    spread = values.transpose(0, 1).flatten(1).std(dim=1)
    return (values_of(feature, gain * audio) - values).abs() / spread[:, None]


def test_every_feature_has_its_row() -> None:
    assert sorted(TABLE) == list(feature_names())


@pytest.mark.parametrize("gain", [0.1, 2.0], ids=["-20 dB", "+6 dB"])
@pytest.mark.parametrize("name", feature_names())
def test_a_gain_changes_what_the_table_says(name: str, gain: float, audio: Tensor) -> None:
    change, told = changes(name, audio, gain), TABLE[name]
    assert change.mean() == pytest.approx(float(told.quieter if gain < 1 else told.louder), abs=0.01)
    if told.depends == FREE:
        assert change.max() < NEXT_TO_NOTHING
    elif told.depends == SILENCE:
        share = (change > NEXT_TO_NOTHING).float().mean()
        assert share < 0.05
        assert share > 0 or gain > 1
    elif told.depends == FIRST:
        assert change[:, 0].mean() > 0.2
        assert change[:, 1:].max() < NEXT_TO_NOTHING
    else:
        assert told.depends == YES
        assert change.mean() > 0.2


def test_pitch_classes_that_are_not_normalised_depend_on_the_level(audio: Tensor) -> None:
    assert changes(Chroma(norm=None), audio, 0.1).mean() > 0.2


@pytest.mark.parametrize("name", feature_names())
def test_correlations_with_the_level_are_those_of_the_table(name: str, audio: Tensor) -> None:
    told = TABLE[name].correlation
    if FeatureBank([name], 22_050).levels[name] == ("map",):
        assert told == ""
        return
    level, clips = values_of("rms_db", audio).mean((1, 2)), values_of(name, audio).mean(2)
    found = torch.corrcoef(torch.cat([level[None], clips.T]))[0, 1:].abs().max()
    assert found == pytest.approx(float(told), abs=0.01)
