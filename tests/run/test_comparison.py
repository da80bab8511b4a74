"""Layers that wait for the others of their batch, and are compared as one where they are alike."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_dissect.levels import Extent, Levels
from lightning_dissect.metrics import EuclideanSimilarity, PearsonSimilarity
from lightning_dissect.run import comparison, stacks
from lightning_dissect.run.batch_features import BatchFeatures
from lightning_dissect.run.choice import find_metrics
from lightning_dissect.run.comparison import Comparison
from lightning_dissect.scores import Block

ROWS = {"loudness": ("loudness",), "chroma": ("c", "d", "e")}
METRICS = ["pearson", "euclidean", "spearman"]


def side(clips: int, units: int, frames: int | None, g: torch.Generator) -> Levels:
    if frames is None:
        return Levels(torch.randn(clips, units, generator=g), None, None)
    values = torch.randn(clips, units, frames, generator=g)
    return Levels(values.mean(-1), values, None)


def batch(clips: int, frames: int, g: torch.Generator, padded: bool = False, dataloader: int = 0) -> BatchFeatures:
    fraction = 0.5 + 0.5 * torch.rand(clips, generator=g) if padded else None
    features = {name: side(clips, len(rows), frames, g) for name, rows in ROWS.items()}
    return BatchFeatures(Extent(clips, frames, fraction, 0), features, dataloader)


def by_place(blocks: list[Block]) -> dict[Any, Tensor]:
    """Each block's values, by where they belong."""
    return {
        (*block.constant.values(), *block.features): torch.cat(
            [
                values.double().flatten(2) if values.ndim == 3 else values.double().unsqueeze(-1)
                for values in block.similarity
            ],
            -1,
        )
        for block in blocks
    }


def compare(parts: list[tuple[str, Levels, BatchFeatures]]) -> dict[Any, Tensor]:
    compared = Comparison(find_metrics(METRICS), ["conv", "embedding"], ROWS)
    for layer, activations, features in parts:
        compared.update(layer, activations, features)
    return by_place(compared.blocks())


def validation(seed: int) -> Iterator[tuple[str, Levels, BatchFeatures]]:
    """Batches of two loaders, the first with padding in some, a last small one, and a layer that runs in some alone."""
    g = torch.Generator().manual_seed(seed)
    plan = [(0, 8, 40, False)] * 6 + [(0, 8, 40, True)] * 3 + [(0, 8, 30, False)] * 2 + [(0, 3, 30, False)]
    for index, (dataloader, clips, frames, padded) in enumerate([*plan, *[(1, 8, 40, False)] * 4]):
        features = batch(clips, frames, g, padded, dataloader)
        yield "conv", side(clips, 5, frames // 2, g), features
        if index % 3:
            yield "embedding", side(clips, 4, None, g), features


@pytest.mark.parametrize("seed", range(3))
def test_waiting_changes_no_result(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = list(validation(seed))
    together = compare(parts)
    monkeypatch.setattr(comparison, "LARGE", 0)
    alone = compare(parts)
    assert together.keys() == alone.keys()
    # In both loaders: two features by three metrics at level clip, and by two at level frame, which embedding lacks.
    assert len(together) == 2 * 2 * (3 + 2 + 3)
    for key, values in together.items():
        torch.testing.assert_close(values, alone[key], atol=1e-6, rtol=1e-6, equal_nan=True)


def test_what_waits_is_bounded_and_ends_with_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = []
    real = PearsonSimilarity.update

    def update(self: PearsonSimilarity, activations: Tensor, *rest: Any) -> None:
        updates.append(activations.shape[1])
        real(self, activations, *rest)

    monkeypatch.setattr(PearsonSimilarity, "update", update)
    g = torch.Generator().manual_seed(0)
    names = [f"conv{index}" for index in range(5)]
    compared = Comparison([PearsonSimilarity(level="frame")], names, ROWS)
    for _ in range(2):
        features = batch(8, 40, g)
        for name in names:
            compared.update(name, side(8, 5, 20, g), features)
    assert updates == [25]  # of the first batch
    compared.settle()
    assert updates == [25, 25]
    compared.settle()
    assert len(updates) == 2

    monkeypatch.setattr(comparison, "MAX_BYTES", 2 * 8 * 5 * 21 * 4)
    features = batch(8, 40, g)
    for name in names:
        compared.update(name, side(8, 5, 20, g), features)
    assert updates[2:] == [10, 10]


def test_units_that_change_are_refused() -> None:
    g = torch.Generator().manual_seed(0)
    compared = Comparison(find_metrics(["pearson"]), ["conv"], ROWS)
    for _ in range(3):
        compared.update("conv", side(8, 5, 20, g), batch(8, 40, g))
    compared.update("conv", side(8, 6, 20, g), batch(8, 40, g))
    with pytest.raises(ValueError, match=r"were \(5, 1\) so far and are \(6, 1\) now"):
        compared.settle()


NAMES = [f"layer{index}" for index in range(7)]


def deep_validation(seed: int) -> Iterator[tuple[str, Levels, BatchFeatures]]:
    """Batches of two loaders for layers of which the first five have as many units, and go their own way now and then.

    One misses a batch, one has fewer frames in another, one is broken on a clip, one first runs late; one batch has an
    odd number of clips, and layers run in any order.
    """
    g = torch.Generator().manual_seed(seed)
    for index, (dataloader, clips) in enumerate([(0, 8), (0, 8), (0, 5), (0, 8), (0, 8), (1, 8), (1, 6)]):
        features = batch(clips, 40, g, padded=index in (3, 4), dataloader=dataloader)
        for place in torch.randperm(len(NAMES), generator=g).tolist():
            if (place, index) in ((1, 2), (4, 0), (4, 1)):
                continue
            activations = side(clips, 4 if place < 5 else 3, 15 if (place, index) == (2, 3) else 20, g)
            if (place, index) == (3, 1):
                activations.clip[2] = torch.nan
            yield NAMES[place], activations, features


@pytest.mark.parametrize("seed", range(3))
def test_layers_compared_as_one_have_the_scores_that_each_has_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def scores() -> dict[Any, Tensor]:
        compared = Comparison(find_metrics([*METRICS, EuclideanSimilarity("minmax"), "cka"]), NAMES, ROWS)
        for index, (layer, activations, features) in enumerate(deep_validation(seed)):
            compared.update(layer, activations, features)
            if index in (6, 20):  # amid the layers of a batch
                compared.settle()
        blocks = compared.blocks()
        assert {len(key.layers) for key in compared.keys} == ({1} if stacks.UNITS == 1 else {1, 2, 5})
        return by_place(blocks)

    together = scores()
    monkeypatch.setattr(stacks, "UNITS", 1)
    alone = scores()
    assert list(together) == list(alone)
    # The same numbers, added up in another order in float32.
    for key, values in together.items():
        torch.testing.assert_close(values, alone[key], atol=2e-6, rtol=2e-6, equal_nan=True)


def test_a_thousand_layers_are_compared_by_few_metrics() -> None:
    """Copies of metrics took half the time of a run, and grew with layers × features × metrics."""
    names = [str(index) for index in range(1000)]
    compared = Comparison(find_metrics(["pearson", "euclidean"]), names, ROWS)
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        features, activations = batch(8, 40, g), side(8, 4, 20, g)
        for name in names:
            compared.update(name, activations, features)
    compared.settle()
    # Pearson's and Euclid's of two features over clips, and Pearson's over frames, for each stack of 256 layers; and
    # the features over clips among themselves.
    assert len(compared.keys) == 5 * math.ceil(1000 / (stacks.UNITS // 4)) + 4
    assert len(compared.blocks()) == 1000 * 3 * len(ROWS)


def test_processes_in_which_other_layers_stand_side_by_side_agree() -> None:
    """What is computed together has to be of the same layers in every process."""

    def process(names: list[str], alone: str) -> Comparison:
        g = torch.Generator().manual_seed(0)
        compared = Comparison(find_metrics(METRICS), NAMES, ROWS)
        for frames in (20, 15):
            features = batch(8, 40, g)
            for name in names:
                compared.update(name, side(8, 4, frames if name == alone else 20, g), features)
            compared.settle()
        return compared

    processes = [process(NAMES[:6], NAMES[1]), process(NAMES[2:], NAMES[3]), Comparison([], [], {})]
    before = by_place(processes[0].blocks())
    keys = [key for compared in processes for key in compared.keys]
    for compared in processes[:2]:
        compared.expect(keys, torch.device("cpu"))
    assert set(processes[0].keys) == set(processes[1].keys)
    together = {key.layers for key in processes[0].keys if len(key.layers) > 1}
    assert together == {(NAMES[2], NAMES[4], NAMES[5])}
    after = by_place(processes[0].blocks())
    assert before.keys() < after.keys()  # those of layers that ran in another process alone are undefined here
    for place, values in before.items():
        torch.testing.assert_close(values[..., 0], after[place][..., 0], rtol=0, atol=0, equal_nan=True)  # the scores
        # Functions of float64, of p-values and intervals, round otherwise at the end of a longer row.
        torch.testing.assert_close(values, after[place], rtol=1e-12, atol=1e-15, equal_nan=True)
