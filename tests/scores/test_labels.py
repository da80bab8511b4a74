"""Which row is a unit's label, and of which kind the label is."""

import pandas as pd
import pytest
import torch

from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.scores import Block, Scores
from lightning_dissect.scores.rivals import with_rivals

CLIPS = 200


def correlated(level: str, metric: str, layer: str, rows: dict[str, list[float]], between: torch.Tensor) -> list[Block]:
    """Blocks of one metric over clips: the correlations of a layer's units with each feature."""
    blocks = []
    for name, values in rows.items():
        r = torch.tensor(values, dtype=torch.float64).unsqueeze(1)
        n = torch.full_like(r, CLIPS)
        t = r * ((n - 2) / (1 - r.square())).sqrt()
        p_value = 2 * torch.special.ndtr(-t.abs())
        found = Similarity(r, torch.zeros_like(r), r, p_value, n)
        found = found._replace(correlation=r, inflation=torch.ones_like(r))
        where = {"epoch": 0, "step": 0, "dataloader": 0, "layer": layer, "level": level, "metric": metric}
        blocks.append(Block(where | {"control": name == "rms_db"}, (name,), found))
    return with_rivals(blocks, two_sided=True, between=between)


def alike(r: float, rows: int = 3) -> torch.Tensor:
    return torch.full((rows, rows), r, dtype=torch.float64).fill_diagonal_(1.0)


ROWS = {
    #            alone, in pairs, the level, beside it, nothing, falls
    "centroid": [0.80, 0.60, 0.20, 0.62, 0.01, -0.70],
    "chroma[A]": [0.30, 0.59, 0.10, 0.10, 0.02, 0.10],
    "rms_db": [0.40, 0.20, 0.80, 0.60, 0.00, -0.20],
}


@pytest.fixture
def labels() -> pd.DataFrame:
    return Scores.from_blocks(correlated("clip", "pearson", "dense", ROWS, alike(0.3))).labels()


def test_one_feature_several_or_a_control(labels: pd.DataFrame) -> None:
    assert labels["kind"].fillna("").tolist() == ["distinct", "shared", "trivial", "trivial", "", "distinct"]
    assert labels["feature"].astype(object).fillna("").tolist() == ["centroid"] * 2 + [
        "rms_db",
        "centroid",
        "",
        "centroid",
    ]
    assert labels["rivals"].dropna().tolist() == [(), ("chroma[A]",), (), ("rms_db",), ()]
    assert labels["distinct"].dropna().tolist() == [True, False, False, False, True]
    assert labels["learned"].isna().all()


def test_rows_of_the_labels_own_feature_are_named_and_leave_it_distinct() -> None:
    rows = {"chroma[A]": [0.6], "chroma[A#]": [0.58], "rms_db": [0.1]}
    label = Scores.from_blocks(correlated("clip", "pearson", "dense", rows, alike(0.3))).labels().iloc[0]
    assert (label["feature"], label["rivals"], label["kind"]) == ("chroma[A]", ("chroma[A#]",), "distinct")


def test_a_distinct_feature_is_preferred_to_a_control_and_the_finest_level_among_equals() -> None:
    coarse = {"centroid": [0.9, 0.2], "chroma[A]": [0.1, 0.1], "rms_db": [0.2, 0.9]}
    fine = {"centroid": [0.2, 0.1], "chroma[A]": [0.5, 0.6], "rms_db": [0.1, 0.1]}
    blocks = [
        *correlated("clip", "pearson", "conv", coarse, alike(0.1)),
        *correlated("frame", "spearman", "conv", fine, alike(0.1)),
    ]
    found = Scores.from_blocks(blocks).labels()
    assert found[["feature", "level"]].astype(object).to_numpy().tolist() == [["chroma[A]", "frame"]] * 2
    only = Scores.from_blocks(blocks[:3]).labels()
    assert only["kind"].tolist() == ["distinct", "trivial"]


def test_distinct_labels_are_corrected_for_their_number() -> None:
    # One unit whose rival is lower at p = .03 is distinct alone, and not among 50 units whose rivals are no lower.
    rows = {"centroid": [0.5], "chroma[A]": [0.32], "rms_db": [0.0]}
    alone = Scores.from_blocks(correlated("clip", "pearson", "dense", rows, alike(0.0)))
    p = alone.table.set_index("feature")["lower_p_value"]
    assert 0.02 < p["chroma[A]"] < 0.05
    assert alone.labels()["kind"].tolist() == ["distinct"]
    many = {"centroid": [0.5] * 50, "chroma[A]": [0.32, *[0.49] * 49], "rms_db": [0.0] * 50}
    labels = Scores.from_blocks(correlated("clip", "pearson", "dense", many, alike(0.0))).labels()
    assert labels["kind"].tolist() == ["shared"] * 50
    assert labels["rivals"].iloc[0] == ("chroma[A]",)


def test_the_smallest_effect_that_counts_is_the_users(labels: pd.DataFrame) -> None:
    scores = Scores.from_blocks(correlated("clip", "pearson", "dense", ROWS, alike(0.3)))
    assert scores.labels(least=0.65)["kind"].fillna("").tolist() == ["distinct", "", "trivial", "", "", "distinct"]
    with pytest.raises(ValueError, match="least=-1 is negative"):
        scores.labels(least=-1)


def test_what_is_not_known_is_not_said() -> None:
    blocks = correlated("clip", "pearson", "dense", ROWS, alike(0.3))
    scores = Scores.from_blocks(blocks)
    older = Scores(scores.table.drop(columns=["lower_p_value", "unique", "unique_p_value", "control"])).labels()
    assert older["feature"].notna().tolist() == [True, True, True, True, False, True]
    assert older["kind"].isna().all()
    assert older["distinct"].isna().all()
    # The row that the others were compared with is taken away from units 0, 1 and 5.
    without = scores.filter(feature="c*").filter(feature="chroma*").labels()
    assert without["kind"].isna().all()


def test_without_units_there_are_no_labels() -> None:
    assert Scores.from_blocks([]).labels().empty


def of_groups(level: str, difference: torch.Tensor, generator: torch.Generator) -> list[Block]:
    """Blocks of two features and a control by groups of clips: how far the first is above the second, for each unit."""
    units = len(difference)
    truth = torch.stack([1 + difference, torch.ones(units), torch.zeros(units)], 1).double()
    groups = truth.unsqueeze(-1) + 0.1 * torch.randn(units, 3, 8, generator=generator)
    effect = groups.mean(-1)
    found = Similarity(effect, 0 * effect, effect, 1e-9 + 0 * effect, CLIPS + 0 * effect, groups=groups)
    where = {"epoch": 0, "step": 0, "dataloader": 0, "layer": "conv", "level": level, "metric": "spearman"}
    blocks = [
        Block(where | {"control": name == "rms_db"}, (name,), Similarity(*parts))
        for name, *parts in zip(ROWS, *(values.split(1, 1) for values in found), strict=True)
    ]
    return with_rivals(blocks, two_sided=True)


def test_few_distinct_labels_are_wrong_though_each_is_chosen_from_several_levels() -> None:
    # Half of the units follow one feature more than another, at all three levels, half follow two alike. Of the latter
    # about a share of .025 can pass; had each level its own chance, .075 would.
    difference = torch.tensor([1.0, 0.0]).repeat_interleave(1000)
    g = torch.Generator().manual_seed(0)
    blocks = [block for level in ("map", "frame", "clip") for block in of_groups(level, difference, g)]
    distinct = Scores.from_blocks(blocks).labels()["distinct"].to_numpy(dtype=bool)
    assert distinct[:1000].all()
    assert 5 <= distinct[1000:].sum() <= 50
