import ast
import sys
from pathlib import Path

import pytest
import torch

from lightning_dissect.metrics import (
    CKASimilarity,
    EuclideanSimilarity,
    IoUSimilarity,
    MutualInformationSimilarity,
    PearsonSimilarity,
    SIFTSimilarity,
    SpearmanSimilarity,
)
from lightning_dissect.metrics.similarity import Similarity


def holding_fixed():
    metric = PearsonSimilarity(level="frame")
    metric.hold_fixed([1, 1])
    return metric


METRICS = {
    "clip": lambda: PearsonSimilarity(),
    "frame": lambda: PearsonSimilarity(level="frame"),
    "held frame": holding_fixed,
    "padded held frame": holding_fixed,
    "minmax": lambda: EuclideanSimilarity("minmax"),
    "sift": lambda: SIFTSimilarity(),
    "padded clip": lambda: PearsonSimilarity(),
    "padded cka": lambda: CKASimilarity(),
    "sampled clip": lambda: SpearmanSimilarity(max_clips=16),
    "padded frame": lambda: SpearmanSimilarity(level="frame"),
    "information frame": lambda: MutualInformationSimilarity(level="frame"),
    "iou": lambda: IoUSimilarity(quantile=0.02),
}


def data(kind):
    """Activations, features, and the part of each clip that is audio, or None."""
    g = torch.Generator().manual_seed(3)
    if kind in ("sift", "iou"):
        maps = torch.randn(10, 1, 64, 64, generator=g).cumsum(2).cumsum(3)
        return torch.cat([maps, maps.roll(3, 2)], 1), maps, None
    fraction = torch.randint(8, 21, (30,), generator=g) / 20 if kind.startswith("padded") else None
    if kind.endswith("frame"):
        return torch.randn(30, 4, 20, generator=g), torch.randn(30, 2, 20, generator=g), fraction
    return torch.randn(30, 4, generator=g) + 50, torch.randn(30, 2, generator=g), fraction


def work(rank: int, port: str, edges: list[float], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=len(edges) - 1)
    results = {}
    for kind, build in METRICS.items():
        x, f, fraction = data(kind)
        # Whole pairs of clips, so that the same pairs are compared as in one process.
        start, stop = (int(edge * len(x)) // 2 * 2 for edge in edges[rank : rank + 2])
        metric = build()
        for batch in range(start, stop, 6):
            part = slice(batch, min(batch + 6, stop))
            metric.update(x[part], f[part], None if fraction is None else fraction[part])
        results[kind] = tuple(metric.compute())
    torch.save(results, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "edges",
    [
        pytest.param((0, 0.3, 1), id="2"),
        pytest.param((0, 0, 0.4, 1), id="3, one empty", marks=pytest.mark.slow),
        pytest.param((0, 0.2, 0.5, 0.7, 1), id="4", marks=pytest.mark.slow),
    ],
)
def test_processes_equal_one(run_processes, tmp_path, edges):
    number = len(edges) - 1
    assert run_processes(__file__, repr(edges), tmp_path, processes=number) == [0] * number
    files = [tmp_path / f"{rank}.pt" for rank in range(number)]
    for kind, build in METRICS.items():
        metric = build()
        metric.update(*data(kind))
        one = metric.compute()
        for file in files:
            # Each process deals its pairs to groups by itself.
            merged = Similarity(*torch.load(file)[kind])
            for ours, expected in zip(merged._replace(groups=one.groups), one, strict=True):
                torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4, equal_nan=True)


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2], list(ast.literal_eval(sys.argv[3])), Path(sys.argv[4]))
