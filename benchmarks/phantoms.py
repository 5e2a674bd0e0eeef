"""Phantoms drawn in a second by one core, beside what bounds and what could replace them.

``python benchmarks/phantoms.py``: per modality images/s at 64, 128 and 256 px; in the same run the limit (the
pixels' noise alone, from the same generator) and two peers: ``skimage.data.binary_blobs``, the
library's own synthetic image, and decoding the same images from PNG, as a stored collection would
be read. CPU time, best of several. Prints one JSON object; fails below the target of 300 at 128 px.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy loads its BLAS

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from skimage.data import binary_blobs  # noqa: E402

from radtransfer.data.phantoms import TASKS, PhantomSpec, generate  # noqa: E402

TARGET_PER_SECOND = 300
N_IMAGES = 128


def per_second(draw: Callable[[], object], n_images: int = N_IMAGES, *, repeats: int = 5) -> int:
    """Images per second of CPU time, best of several, after one call to warm up."""
    draw()
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        draw()
        best = min(best, time.process_time() - start)
    return round(n_images / best)


def decode(files: list[bytes]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(file))) for file in files]


def encoded(images: np.ndarray) -> list[bytes]:
    files = []
    for image in images:
        Image.fromarray(image).save(buffer := io.BytesIO(), format="PNG")
        files.append(buffer.getvalue())
    return files


def main() -> int:
    report: dict[str, dict[str, int]] = {}
    for size in (64, 128, 256):
        specs = {
            modality: PhantomSpec(modality=modality, n_patients=N_IMAGES, images_per_patient=1, size=size)
            for modality in TASKS
        }
        rates = {
            f"{name}_per_s": per_second(lambda spec=spec: generate(spec)) for name, spec in specs.items()
        }
        rng, shape = np.random.default_rng(0), (N_IMAGES, size, size)
        files = encoded(generate(specs["xray"]).images)
        rates["limit_noise_per_s"] = per_second(lambda: rng.standard_normal(shape, np.float32))  # noqa: B023
        rates["peer_binary_blobs_per_s"] = per_second(lambda: binary_blobs(size, rng=0), 1)  # noqa: B023
        rates["peer_png_decode_per_s"] = per_second(lambda: decode(files))  # noqa: B023
        report[f"{size}px"] = rates
    slowest = min(report["128px"][f"{modality}_per_s"] for modality in TASKS)
    print(json.dumps({**report, "target_per_s": TARGET_PER_SECOND, "met": slowest >= TARGET_PER_SECOND}))
    return 0 if slowest >= TARGET_PER_SECOND else 1


if __name__ == "__main__":
    raise SystemExit(main())
