"""Speed of the metrics as ratios within one run: Pearson against its matrix product, SIFT against OpenCV's.

Prints two tables. SIFT: 64 maps of 98 by 66 against one feature map, key points and matches, on all threads that there
are. With a GPU, SIFT is also run there.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from lightning_dissect.metrics import PearsonSimilarity
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


def opencv(images: list[np.ndarray], feature: np.ndarray) -> list[int]:
    """Matches of each image by OpenCV's SIFT and brute-force matcher, both ways, ratio 0.9."""
    sift = cv2.SIFT.create(nfeatures=64, contrastThreshold=0.003)
    matcher, counts = cv2.BFMatcher(), []
    _, wanted = sift.detectAndCompute(feature, None)
    for image in images:
        _, found = sift.detectAndCompute(image, None)
        if found is None or len(found) < 2:
            counts.append(0)
            continue
        forth, back = matcher.knnMatch(found, wanted, k=2), matcher.knnMatch(wanted, found, k=2)
        nearest = {m[0].queryIdx: m[0].trainIdx for m in back if m[0].distance < 0.9 * m[1].distance}
        near = [m[0] for m in forth if m[0].distance < 0.9 * m[1].distance]
        counts.append(sum(nearest.get(m.trainIdx) == m.queryIdx for m in near))
    return counts


def bench_sift() -> None:
    """Detect, describe and match, beside OpenCV."""
    maps = spectrograms()
    images = list((255 * maps).byte().numpy())

    def ours(device: str) -> torch.Tensor:
        x = maps.to(device)
        return match_scores(key_points(x[None], (HEIGHT, WIDTH)), key_points(x[None, :1], (HEIGHT, WIDTH))).rate

    theirs = best(lambda: opencv(images, images[0]), 5)
    print("\n| SIFT of 64 maps | ms | times OpenCV |\n|---|---|---|")
    print(f"| OpenCV | {theirs:.0f} | 1 |")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        time_ours = best(partial(ours, device), 5)
        print(f"| ours, {device} | {time_ours:.0f} | {theirs / time_ours:.2f} |")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    bench_pearson()
    bench_sift()
