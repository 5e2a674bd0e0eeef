"""Duplicates among 100,000 images: time, memory and recall, beside the product of all pairs.

``python benchmarks/duplicates.py [--quick] [--output FILE.json]``: phantoms of 64 px are drawn to disk
(not timed), and in the last thousandth of them copies of others are planted: shifted by up to 1 px,
brighter, noisier, re-encoded as JPEG, or resized. Timed are the search, and in the same run the product of
all pairs of 12 x 12 thumbnails, blocked, in single precision: the floor of every method that looks at all
pairs, which would still have its candidates to confirm. ``--quick``: 10,000 images. Prints one JSON object;
fails if the search takes more than the minutes allowed, its memory grows with the square, or it misses a copy
that counts as one by comparison in full.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from radtransfer.atomic import write_json
from radtransfer.data.duplicates import CONFIRMED, correlation, find_duplicates
from radtransfer.data.phantoms import PhantomSpec, generate

SIZE = 64
DRAWN = 2000
HOWS = ("shift", "exposure", "noise", "jpeg", "resize")
MOST_SECONDS = 600.0
MOST_BYTES_PER_IMAGE = 10_000
LEAST_RECALL = 0.98


def copied(image: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    """Near duplicate of an image."""
    if how == "shift":
        dx, dy = rng.integers(-1, 2, 2)
        shift = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float32)
        return cv2.warpAffine(image, shift, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    if how == "exposure":
        return np.clip(image * rng.uniform(0.85, 1.1) + rng.uniform(-5, 5), 0, 255).astype(np.uint8)
    if how == "noise":
        return np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)
    if how == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 0)
    larger = cv2.resize(image, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(larger, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def draw(path: Path, n: int) -> list[tuple[int, int, str]]:
    """Write images; the planted pairs and how each copy was made."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, SIZE, SIZE))
    for start in range(0, n, DRAWN):
        spec = PhantomSpec(n_patients=min(DRAWN, n - start), images_per_patient=1, size=SIZE, seed=start)
        images[start : start + DRAWN] = generate(spec).images
    rng = np.random.default_rng(1)
    n_copies = max(n // 1000, 50)
    planted = []
    for i, source in enumerate(rng.choice(n - n_copies, n_copies, replace=False)):
        how, copy = HOWS[i % len(HOWS)], n - n_copies + i
        images[copy] = copied(images[source], how, rng)
        planted.append((int(source), copy, how))
    images.flush()
    return planted


def product_of_all_pairs(images: np.ndarray, *, block: int = 1024) -> int:
    """Number of pairs of thumbnails that correlate by .98: the matrix product, in blocks of rows."""
    small = np.stack([cv2.resize(x, (12, 12), interpolation=cv2.INTER_AREA).ravel() for x in images])
    unit = small.astype(np.float32)
    unit -= unit.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = 0
    for start in range(0, len(unit), block):
        for other in range(start, len(unit), 8 * block):
            alike += np.count_nonzero(unit[start : start + block] @ unit[other : other + 8 * block].T >= 0.98)
    return alike


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(work: object, *arguments: object) -> tuple[object, float, float]:
    """Result, seconds by the clock and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work(*arguments)  # type: ignore[operator]
    return result, time.perf_counter() - clock, time.process_time() - processor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 images")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    n = 10_000 if options.quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        planted = draw(path, n)
        find_duplicates(np.load(path, mmap_mode="r")[:500])  # loads the libraries
        before = peak_bytes()
        images = np.load(path, mmap_mode="r")
        found, seconds, processor = timed(find_duplicates, images)
        grown = peak_bytes() - before
        _, floor, floor_processor = timed(product_of_all_pairs, images)
        pairs = {tuple(pair) for pair in found.pairs.tolist()}  # type: ignore[attr-defined]
        # a copy that is not one by the definition is nothing that all pairs would find
        true = [p for p in planted if correlation(images[p[0]], images[p[1]], size=SIZE) >= CONFIRMED]
    missed = [p for p in true if p[:2] not in pairs]
    recall = 1 - len(missed) / len(true)
    others = len(pairs - {p[:2] for p in planted})
    met = seconds <= MOST_SECONDS and grown <= MOST_BYTES_PER_IMAGE * n + 2e8 and recall >= LEAST_RECALL
    report = {
        "n_images": n,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "all_pairs_product_seconds": round(floor, 1),
        "all_pairs_product_processor_seconds": round(floor_processor, 1),
        "ratio_of_processor_seconds": round(floor_processor / processor, 2),
        "peak_memory_growth_mb": round(grown / 1e6),
        "share_of_pairs_that_were_candidates": found.n_candidates / (n * (n - 1) / 2),  # type: ignore[attr-defined]
        "n_candidates": found.n_candidates,  # type: ignore[attr-defined]
        "n_compared": found.n_compared,  # type: ignore[attr-defined]
        "planted": {how: sum(p[2] == how for p in planted) for how in HOWS},
        "planted_that_count": {how: sum(p[2] == how for p in true) for how in HOWS},
        "missed": {how: sum(p[2] == how for p in missed) for how in HOWS},
        "recall": recall,
        "other_pairs": others,
        "met": bool(met),
    }
    if options.output:
        write_json(options.output, report)
    print(json.dumps(report, indent=1))
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
