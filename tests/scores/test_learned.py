"""Which labels are learned, against a plain slow version."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.scores import Block, Scores
from lightning_dissect.scores.learned import Untrained
from lightning_dissect.scores.rivals import with_rivals

NAN = float("nan")
CELLS = (
    ("conv", "sift", "map", ("harmonic", "input")),
    ("conv", "pearson", "clip", ("chroma[A]", "chroma[C]", "rms_db")),
)
CELLS += (("dense", "pearson", "clip", ("chroma[A]", "chroma[C]", "rms_db")),)


def network(seed: int, epoch: int = 0, strength: float = 0.3, units: int = 12) -> pd.DataFrame:
    """The table of a network of two layers, whose units follow features by chance."""
    rng = np.random.default_rng(seed)
    blocks: list[Block] = []
    for layer, metric, level, features in CELLS:
        effect = torch.from_numpy(rng.normal(0, strength, size=(units, len(features))).clip(-0.99, 0.99))
        if metric == "sift":
            effect = effect.abs()
        effect[rng.random(effect.shape) < 0.1] = NAN
        p_value = torch.special.erfc(6 * effect.abs())
        groups = effect.unsqueeze(-1) + 0.05 * torch.from_numpy(rng.normal(size=(*effect.shape, 8)))
        found = Similarity(effect, 0 * effect, effect, p_value, torch.full_like(effect, 64), groups=groups)
        where = {"epoch": epoch, "step": 0, "dataloader": 0, "layer": layer, "metric": metric, "level": level}
        own = [
            Block(where | {"control": feature in ("input", "rms_db")}, (feature,), Similarity(*parts))
            for feature, *parts in zip(features, *(values.split(1, 1) for values in found), strict=True)
        ]
        blocks += with_rivals(own, metric == "pearson")
    return Scores.from_blocks(blocks).table


def plain(labels: pd.DataFrame, copies: list[pd.DataFrame]) -> list[float]:
    """p-value of each label: its standing among the copies, and the standings of their own labels among the others."""

    def size(row: pd.Series) -> float:
        effect = abs(row["effect"])
        return math.atanh(effect) if row["metric"] in ("pearson", "spearman") else effect

    def standing(label: pd.Series, tables: list[pd.DataFrame]) -> float:
        if pd.isna(label["feature"]):
            return NAN
        sizes = []
        for table in tables:
            for unit in table["unit"].unique():
                of_unit = [
                    size(row)
                    for _, row in table[table["unit"] == unit].iterrows()
                    if all(row[name] == label[name] for name in ("layer", "metric", "level", "dataloader"))
                    and row["feature"].split("[")[0] == label["feature"].split("[")[0]
                    and not math.isnan(row["effect"])
                ]
                sizes += [max(of_unit)] if of_unit else []
        return (size(label) - np.mean(sizes)) / np.std(sizes, ddof=1)

    untrained = [Scores(table).labels() for table in copies]
    standings = []
    for place, own in enumerate(untrained):
        others = [table for number, table in enumerate(copies) if number != place] or copies
        standings += [standing(label, others) for _, label in own.iterrows()]
    found = [standing(label, copies) for _, label in labels.iterrows()]
    return [NAN if math.isnan(s) else (1 + sum(t >= s for t in standings)) / (1 + len(standings)) for s in found]


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_p_values_equal_a_plain_version(copies: int) -> None:
    tables = [network(seed, epoch=seed) for seed in range(copies)]
    scores = Scores(network(100, strength=0.5), baseline=Scores(pd.concat(tables)))
    labels = scores.labels()
    found = Untrained(pd.concat(tables), 0.05, 0.0).p_values(labels)
    expected = plain(labels, tables)
    assert np.isfinite(expected).sum() > 10
    # Sums of squares differ from deviations by rounding, which could only matter where standings are equal.
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_units_are_adjusted_for_all_units() -> None:
    tables = [network(seed, epoch=seed, units=200) for seed in range(2)]
    scores = Scores(network(100, strength=0.6, units=200), baseline=Scores(pd.concat(tables)))
    labels = scores.labels()
    p = Untrained(pd.concat(tables), 0.05, 0.0).p_values(labels)
    labelled = labels["feature"].notna().to_numpy()
    assert (~labelled).sum() > 5
    tested = np.sort(np.where(labelled, p, 1.0))
    q = np.minimum.accumulate((tested * len(tested) / np.arange(1, len(tested) + 1))[::-1])[::-1]
    expected = np.interp(p[labelled], tested, q)
    np.testing.assert_allclose(labels["learned_q"][labelled], expected, rtol=1e-9)
    assert labels["learned_q"][~labelled].isna().all()
    learned = labels["learned"][labelled]
    assert 0 < learned.sum() < labelled.sum()
    assert (learned.to_numpy() == (expected < 0.05)).all()


def test_the_same_network_has_learned_nothing() -> None:
    tables = [network(seed, epoch=seed, units=100) for seed in range(4)]
    labels = Scores(tables[1], baseline=Scores(pd.concat(tables))).labels()
    assert not labels["learned"].any()


def test_order_of_units_and_copies_does_not_matter() -> None:
    tables = [network(seed, epoch=seed) for seed in range(3)]
    labels = Scores(network(100, strength=0.5)).labels()
    found = Untrained(pd.concat(tables), 0.05, 0.0).p_values(labels)
    shuffled = pd.concat([table.assign(epoch=epoch) for epoch, table in zip((7, 3, 5), reversed(tables), strict=True)])
    again = Untrained(shuffled.sample(frac=1, random_state=0), 0.05, 0.0).p_values(labels.iloc[::-1])
    np.testing.assert_allclose(again[::-1], found)


def test_what_the_copies_do_not_have_is_not_known() -> None:
    table = network(0)
    scores = Scores(network(100, strength=0.6), baseline=Scores(table[table["layer"] == "conv"]))
    labels = scores.labels()
    labelled = labels["feature"].notna()
    assert labels["learned"][labelled & (labels["layer"] == "dense")].isna().all()
    assert labels["learned"][labelled & (labels["layer"] == "conv")].notna().all()


def test_untrained_networks_have_learned_little() -> None:
    tables = [network(seed, epoch=seed, units=60) for seed in range(10)]
    shares = []
    for place, table in enumerate(tables):
        others = pd.concat([tables[(place + number) % 10] for number in range(1, 5)])
        shares.append(float(Scores(table, baseline=Scores(others)).labels()["learned"].fillna(False).mean()))
    assert np.mean(shares) <= 0.05
    assert max(shares) <= 0.1
