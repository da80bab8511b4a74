"""Small batches that wait to be compared together."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_dissect import comparison, pending
from lightning_dissect.batch import Batch
from lightning_dissect.comparison import Comparison, find_metrics
from lightning_dissect.metrics import PearsonSimilarity
from lightning_dissect.pairing import Extent, Side

ROWS = {"loudness": ("loudness",), "chroma": ("c", "d", "e")}
METRICS = ["pearson", "euclidean", "spearman"]


def side(clips: int, units: int, frames: int | None, g: torch.Generator) -> Side:
    if frames is None:
        return Side(torch.randn(clips, units, generator=g), None, None)
    values = torch.randn(clips, units, frames, generator=g)
    return Side(values.mean(-1), values, None)


def batch(clips: int, frames: int, g: torch.Generator, padded: bool = False, dataloader: int = 0) -> Batch:
    fraction = 0.5 + 0.5 * torch.rand(clips, generator=g) if padded else None
    features = {name: side(clips, len(rows), frames, g) for name, rows in ROWS.items()}
    return Batch(Extent(clips, frames, fraction, 0), features, dataloader)


def compare(parts: list[tuple[str, Side, Batch]]) -> dict[Any, Tensor]:
    compared = Comparison(find_metrics(METRICS), ["conv", "embedding"], ROWS)
    for layer, activations, features in parts:
        compared.update(layer, activations, features)
    return {
        (*where.values(), *rows): torch.stack([values.double() for values in result])
        for where, rows, result in compared.similarities()
    }


def validation(seed: int) -> Iterator[tuple[str, Side, Batch]]:
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


def test_what_waits_is_bounded_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = []
    real = PearsonSimilarity.update

    def update(self: PearsonSimilarity, activations: Tensor, *rest: Any) -> None:
        updates.append((self.level, len(activations)))
        real(self, activations, *rest)

    monkeypatch.setattr(PearsonSimilarity, "update", update)
    g = torch.Generator().manual_seed(0)
    compared = Comparison([PearsonSimilarity(level="frame")], ["conv"], ROWS)
    for _ in range(1 + 10):
        compared.update("conv", side(8, 5, 20, g), batch(8, 40, g))
    compared.settle()
    assert updates == [("frame", 8), ("frame", pending.CLIPS), ("frame", 2 * 8)]
    compared.settle()
    assert len(updates) == 3

    monkeypatch.setattr(pending, "MAX_BYTES", 3 * 8 * 5 * 21 * 4)
    for _ in range(4):
        compared.update("conv", side(8, 5, 20, g), batch(8, 40, g))
    assert updates[3:] == [("frame", 24)]


def test_units_that_change_are_refused() -> None:
    g = torch.Generator().manual_seed(0)
    compared = Comparison(find_metrics(["pearson"]), ["conv"], ROWS)
    for _ in range(3):
        compared.update("conv", side(8, 5, 20, g), batch(8, 40, g))
    compared.update("conv", side(8, 6, 20, g), batch(8, 40, g))
    with pytest.raises(ValueError, match=r"were \(5, 1\) so far and are \(6, 1\) now"):
        compared.settle()


def test_a_first_batch_does_not_wait() -> None:
    g = torch.Generator().manual_seed(0)
    compared = Comparison(find_metrics(["pearson"]), ["conv"], ROWS)
    compared.update("conv", side(8, 5, 20, g), batch(8, 40, g))
    assert {key.metric for key in compared.keys} == {0, 1}
    assert compared.n_bytes > 0


def test_clips_are_joined_in_their_order() -> None:
    g = torch.Generator().manual_seed(0)
    kept = pending.Pending()
    sides, batches = [side(8, 5, 20, g) for _ in range(2)], [batch(8, 40, g, padded=True) for _ in range(2)]
    for one, features in zip(sides, batches, strict=True):
        kept.put("conv", one, features)
    [(layer, joined, of_both)] = kept.take()
    assert (layer, of_both.extent.clips) == ("conv", 16)
    assert joined.frame is not None
    assert torch.equal(joined.frame, torch.cat([one.frame for one in sides if one.frame is not None]))
    fractions = [features.extent.fraction for features in batches if features.extent.fraction is not None]
    assert of_both.extent.fraction is not None
    assert torch.equal(of_both.extent.fraction, torch.cat(fractions))
    chroma = torch.cat([features.features["chroma"].clip for features in batches])
    assert torch.equal(of_both.features["chroma"].clip, chroma)
    assert kept.take() == []
