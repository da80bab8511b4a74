"""Speed and size of the metrics: ratios within one run, Pearson to its matrix product and SIFT to OpenCV's.

Prints three tables. SIFT: 64 maps of 98 by 66 against one feature map, key points and matches, on all threads that
there are; each round runs OpenCV and ours in turn, and the best round of each counts. With a GPU, SIFT also runs there.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from lightning_dissect.metrics import METRICS, PearsonSimilarity
from lightning_dissect.metrics.functional import key_points, match_scores

UNITS, ROWS = 4096, 30
MAPS, HEIGHT, WIDTH = 64, 98, 66


def best(run: Callable[[], Any], repeats: int) -> float:
    """Shortest time of some runs, in milliseconds, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def bench_pearson() -> None:
    """Update of 4096 units and 30 feature rows beside the product of the two matrices alone."""
    print("| clips a batch | update, ms | matrix product, ms | ratio |\n|---|---|---|---|")
    for clips in (32, 128, 512, 1024):
        x, f = torch.randn(clips, UNITS), torch.randn(clips, ROWS)
        metric = PearsonSimilarity()
        metric.update(x, f)
        update = best(partial(metric.update, x, f), 100)
        product = best(partial(torch.matmul, x.T, f), 100)
        print(f"| {clips} | {update:.2f} | {product:.2f} | {update / product:.1f} |")


def spectrograms() -> torch.Tensor:
    """Maps of tones and strokes, (64, 98, 66), in [0, 1]."""
    g = torch.Generator().manual_seed(0)
    maps = 0.05 * torch.rand(MAPS, HEIGHT, WIDTH, generator=g)
    for clip in maps:
        for _ in range(12):
            row, start, length = (
                int(torch.randint(high, (1,), generator=g)) for high in (HEIGHT - 2, WIDTH - 10, WIDTH)
            )
            clip[row : row + 2, start : start + length + 5] += torch.rand(1, generator=g)
            column, start = (int(torch.randint(high, (1,), generator=g)) for high in (WIDTH - 2, HEIGHT - 20))
            clip[start : start + 20, column : column + 2] += torch.rand(1, generator=g)
    return maps / maps.amax((1, 2), keepdim=True)


def opencv(images: list[np.ndarray], **thresholds: Any) -> int:
    """Matches of the images with the first one by OpenCV's SIFT and brute-force matcher, both ways, ratio 0.9."""
    sift = cv2.SIFT.create(nfeatures=64, **thresholds)
    matcher, count = cv2.BFMatcher(), 0
    _, wanted = sift.detectAndCompute(images[0], None)
    for image in images:
        _, found = sift.detectAndCompute(image, None)
        if found is None or len(found) < 2:
            continue
        forth, back = matcher.knnMatch(found, wanted, k=2), matcher.knnMatch(wanted, found, k=2)
        nearest = {m[0].queryIdx: m[0].trainIdx for m in back if m[0].distance < 0.9 * m[1].distance}
        near = [m[0] for m in forth if m[0].distance < 0.9 * m[1].distance]
        count += sum(nearest.get(m.trainIdx) == m.queryIdx for m in near)
    return count


def ours(maps: torch.Tensor, device: str) -> float:
    """Mean match rate of the maps with the first one."""
    there = maps.to(device)
    a, b = key_points(there[None], (HEIGHT, WIDTH)), key_points(there[None, :1], (HEIGHT, WIDTH))
    return match_scores(a, b).rate.mean().item()


def plainly(maps: torch.Tensor) -> float:
    """The same on the CPU without compiled code."""
    with mock.patch("lightning_dissect.metrics.functional.sift._compiled_code", return_value=None):
        return ours(maps, "cpu")


def bench_sift() -> None:
    """Detect, describe and match, beside OpenCV."""
    maps = spectrograms()
    images = list((255 * maps).byte().numpy())
    runs: dict[str, Callable[[], float]] = {
        "OpenCV, its own thresholds": partial(opencv, images),
        "OpenCV, weak points and edges kept as by us": partial(
            opencv, images, contrastThreshold=0.003, edgeThreshold=1e4
        ),
        "ours": partial(ours, maps, "cpu"),
        "ours, without numba": partial(plainly, maps),
    }
    if torch.cuda.is_available():
        runs["ours, on the GPU"] = partial(ours, maps, "cuda")
    times = dict.fromkeys(runs, float("inf"))
    for _ in range(7):
        for name, run in runs.items():
            times[name] = min(times[name], best(run, 1))
    reference = times["OpenCV, its own thresholds"]
    print("\n| SIFT of 64 maps | ms a map | times as fast as OpenCV |\n|---|---|---|")
    for name, milliseconds in times.items():
        print(f"| {name} | {milliseconds / MAPS:.2f} | {reference / milliseconds:.2f} |")


def bench_state() -> None:
    """Bytes that a metric keeps of 10 000 units and 50 feature rows, after few and after many clips."""
    print("\n| state of 10 000 units × 50 rows | MB after 4 clips | after 64 |\n|---|---|---|")
    for name, kind in METRICS.items():
        for level in ("clip", "frame"):
            # Layers' states grow with the square of the units, and that of IoU takes 5 kB for each unit and row.
            if level not in kind.levels or not kind.per_unit or name == "iou":
                continue
            metric, sizes = kind(level=level), []
            for clips in [4] * 16:
                frames = () if level == "clip" else (16,)
                metric.update(torch.randn(clips, 10_000, *frames), torch.randn(clips, 50, *frames))
                sizes.append(sum(torch.as_tensor(state).nbytes for state in metric.metric_state.values()) / 1e6)
            print(f"| {name}/{level} | {sizes[0]:.1f} | {sizes[-1]:.1f} |")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    bench_pearson()
    bench_sift()
    bench_state()
