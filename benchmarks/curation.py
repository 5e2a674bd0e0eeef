"""Curation at the scale of ChestX-ray14, beside the loop that bounds it.

``python benchmarks/curation.py [--quick] [--sizes FEW MANY] [--output FILE.json]``

Images are generated: phantoms enlarged to 1024 x 1024 px with noise of one grey value make PNG files of 400
kB, as the NIH's are. There are few distinct files, linked under the names of the NIH's real table, so that
neither disk nor time is spent on drawing; each image's sixteen tiles are put in an order of its own after
decoding, by curation and loop alike, so that no two are duplicates. All are read from the page cache.

- *Curation*: images/s of :func:`radtransfer.data.store.curate` as a whole, in a process of its own, and of
  the loop of Pillow's decoding and reducing alone on all cores (threads or processes, whichever is
  faster), in turns in one run; medians. Target: 0.85 of the loop. At 5,000 images what does not grow with
  their number weighs: the table of all 112,120 rows is read, and processes are started.
- *Memory*: peak memory of that process and those that it starts, at 5,000 and at 50,000 images. Target:
  5 % more.
- *Metadata*: cohort, exclusions and flow, split, folds and Table 1 of all 112,120 rows, in seconds
  of processor time. Target: under 10 s.
- *Batches*: 32 random images from the store, and decoded from their files by all cores. Target: 20 times
  faster.

Exit status 1 if a target is missed. ``--quick`` takes 400 and 2,000 images, where fixed costs weigh more.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import psutil
from PIL import Image

from radtransfer import paths
from radtransfer.atomic import write_json
from radtransfer.data import formats, store
from radtransfer.data.cohort import select, table1
from radtransfer.data.formats import chestxray14
from radtransfer.data.manifest import load_manifest
from radtransfer.data.phantoms import PhantomSpec, generate
from radtransfer.data.splits import make_folds, make_split
from radtransfer.data.store import CuratedDataset

DATASET, TASK = "chestxray14", "effusion_v_rest"
ROWS = 112_120
SIZE, SIDE, TILES = 256, 1024, 4
BATCH = 32
TARGETS = {"rate": 0.85, "memory": 1.05, "metadata_s": 10.0, "batches": 20.0}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw(folder: Path, n: int) -> list[Path]:
    """Distinct PNG files."""
    rng = np.random.default_rng(0)
    phantoms = generate(PhantomSpec(n_patients=n, images_per_patient=1, size=SIZE, seed=0)).images
    files = [folder / f"{i}.png" for i in range(n)]
    for file, image in zip(files, phantoms, strict=True):
        smooth = cv2.resize(cv2.GaussianBlur(image, (0, 0), 1), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        noisy = smooth + rng.normal(0, 1, (SIDE, SIDE))
        Image.fromarray(np.clip(noisy.round(), 0, 255).astype(np.uint8)).save(file)
    return files


def table() -> pd.DataFrame:
    """NIH's table, from the developers' data folder; else one of its size and shape."""
    real = paths.project_root().parent / "shared" / "data" / "chestxray14_layout"
    if real.is_dir():
        return chestxray14.read_table(real)
    rng = np.random.default_rng(0)
    patient = np.sort(np.concatenate([np.arange(30_805), rng.integers(0, 30_805, ROWS - 30_805)]))
    visit = pd.Series(patient).groupby(patient).cumcount()
    return pd.DataFrame(
        {
            "Image Index": [f"{p:08d}_{v:03d}.png" for p, v in zip(patient, visit, strict=True)],
            "Finding Labels": rng.choice(["No Finding", "Effusion", "Pneumonia|Edema", "Mass"], ROWS),
            "Follow-up #": visit,
            "Patient ID": patient,
            "Patient Age": rng.integers(1, 95, ROWS),
            "Patient Gender": rng.choice(["M", "F"], ROWS),
            "View Position": rng.choice(["PA", "AP"], ROWS),
        }
    ).astype("str")


def lay_out(root: Path, whole: pd.DataFrame, files: list[Path], n: int) -> Path:
    """Folder in the official layout with n images spread over the table."""
    root.mkdir()
    whole.to_csv(root / chestxray14.TABLE, index=False)
    names = whole["Image Index"].iloc[np.linspace(0, len(whole) - 1, n).astype(int)]
    folders = [root / f"images_{i:03d}" / "images" for i in range(1, 13)]
    for folder in folders:
        folder.mkdir(parents=True)
    for i, name in enumerate(names):
        os.link(files[i % len(files)], folders[i * 12 // n] / name)
    return root


def shuffled(image: np.ndarray, name: str) -> np.ndarray:
    """Image with its tiles in an order that the name decides."""
    order = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)).permutation(
        TILES**2
    )
    step, mixed = SIDE // TILES, np.empty_like(image)
    for place, tile in enumerate(order):
        (y, x), (v, u) = (divmod(int(k), TILES) for k in (place, tile))
        mixed[y * step : (y + 1) * step, x * step : (x + 1) * step] = image[
            v * step : (v + 1) * step, u * step : (u + 1) * step
        ]
    return mixed


def decode_and_reduce(path: Path) -> np.ndarray:
    """What nobody can do without: the floor."""
    with Image.open(path) as image:
        drawn = Image.fromarray(shuffled(np.asarray(image.convert("L")), path.stem))
    return np.asarray(drawn.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def files_of(root: Path) -> list[Path]:
    return sorted(root.glob("images_*/images/*.png"))


def timed(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


# --- what is measured, each in a process of its own ---------------------------------------------------------


def loop(root: Path) -> dict[str, float]:
    """The two-core loop, by threads and by processes."""
    files = files_of(root)
    rates = {}
    for name, pool in (("threads", ThreadPoolExecutor), ("processes", ProcessPoolExecutor)):
        with pool(CORES) as workers:
            list(workers.map(abs, range(CORES)))  # they have started

            def through(workers: Any = workers) -> None:
                for _ in workers.map(decode_and_reduce, files, chunksize=32):
                    pass

            rates[name] = len(files) / timed(through)
    return rates


def curation(root: Path) -> dict[str, float]:
    """Whole curation of a folder, as if it had just been fetched and verified."""
    seconds: dict[str, float] = {}

    def noted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any, **options: Any) -> Any:
            start = perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                seconds[name] = perf_counter() - start

        return inner

    def read_image(folder: Path, row: Mapping[str, Any]) -> np.ndarray:
        return shuffled(chestxray14.read_image(folder, row), row["image_id"])

    entry = load_manifest().dataset(DATASET)
    there = SimpleNamespace(
        id=DATASET,
        modality=entry.modality,
        format=entry.format,
        options={},
        generated=False,
        digest="generated",
        file_lists=lambda: (),
    )
    store.load_manifest = lambda: SimpleNamespace(dataset=lambda _: there)  # type: ignore[assignment,return-value]
    store.fetch = lambda *_, **__: root  # type: ignore[assignment]
    store.load_format = lambda _: SimpleNamespace(read_image=read_image)  # type: ignore[assignment,return-value]
    for part in ("read_cohort", "decode_all", "find_duplicates", "_store"):
        setattr(store, part, noted(part, getattr(store, part)))
    with PeakMemory() as memory:
        total = timed(
            lambda: store.curate(DATASET, task=TASK, image_size=SIZE, age_min=0, age_max=120, seed=1)
        )
    return {"n": len(files_of(root)), "seconds": total, "peak_mib": memory.peak_mib, **seconds}


class PeakMemory:
    """Largest resident memory of this process and its children together, looked at ten times a second.

    Files that processes map, above all libraries, count once. (The system's exact share of each process would
    take a tenth of the processors to ask for.)
    """

    peak_mib = 0.0

    def __enter__(self) -> PeakMemory:
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.1):
            own, mapped = 0, 0
            for process in (me, *me.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    told = process.memory_info()
                    shared = getattr(told, "shared", 0)
                    own, mapped = own + told.rss - shared, max(mapped, shared)
            self.peak_mib = max(self.peak_mib, (own + mapped) / 2**20)


def metadata(root: Path) -> dict[str, float]:
    """Everything about all rows that needs no pixel."""
    seconds, kept = {}, {}

    def step(name: str, work: Callable[[], Any]) -> None:
        seconds[name] = timed(lambda: kept.__setitem__(name, work()), process_time)

    entry = load_manifest().dataset(DATASET)
    step("cohort", lambda: formats.read_cohort(entry, root))
    step("exclusions and flow", lambda: select(kept["cohort"], task=TASK))
    cohort = kept["exclusions and flow"][0]
    step("split 80:10:10", lambda: make_split(cohort, task=TASK, seed=1).digest)
    step("folds", lambda: make_folds(cohort, task=TASK, n_folds=5, seed=1))
    step("a fold's split", lambda: kept["folds"].split(0, validation_fraction=0.1, seed=1))
    step("Table 1", lambda: table1(cohort, task=TASK))
    return {"rows": kept["cohort"].n_images, "seconds": sum(seconds.values()), **seconds}


def batches(root: Path) -> dict[str, float]:
    """Random batches from the store, and from files, in turns."""
    (folder,) = (path for path in paths.curated_dir().iterdir() if (path / "curation.json").is_file())
    dataset, files = CuratedDataset.open(folder), files_of(root)
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    with ThreadPoolExecutor(CORES) as pool:
        for _ in range(30):
            rows = rng.integers(0, len(dataset.images), BATCH)
            ours.append(timed(lambda rows=rows: np.array(dataset.images[rows])))
            some = [files[row] for row in rows]
            theirs.append(timed(lambda some=some: np.stack(list(pool.map(decode_and_reduce, some)))))
    return {"store_s": statistics.median(ours), "files_s": statistics.median(theirs)}


PARTS = {part.__name__: part for part in (loop, curation, metadata, batches)}


def measure(part: str, root: Path, work: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, str(root)],
        env=os.environ | {"RADTRANSFER_WORK": str(work)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    print(part, root.name, json.dumps(found), file=sys.stderr, flush=True)
    return found


def run(scratch: Path, sizes: Iterable[int], rounds: int, n_distinct: int) -> dict[str, Any]:
    few, many = sizes
    (scratch / "distinct").mkdir()
    files, whole = draw(scratch / "distinct", n_distinct), table()
    everything = lay_out(scratch / "all", whole, files, len(whole))
    rows = measure("metadata", everything, scratch / "work")
    shutil.rmtree(everything)
    roots = {n: lay_out(scratch / str(n), whole, files, n) for n in (few, many)}
    loops, curations = [], []
    for _ in range(rounds):
        loops.append(measure("loop", roots[few], scratch / "work"))
        shutil.rmtree(scratch / "work", ignore_errors=True)
        curations.append(measure("curation", roots[few], scratch / "work"))
    taken = measure("batches", roots[few], scratch / "work")
    shutil.rmtree(scratch / "work")
    large = measure("curation", roots[many], scratch / "work")
    loops.append(measure("loop", roots[few], scratch / "work"))
    floor = statistics.median(max(found.values()) for found in loops)
    ratio = statistics.median(
        found["n"] / found["seconds"] / max(before.values())
        for before, found in zip(loops, curations, strict=False)
    )
    peak = statistics.median(found["peak_mib"] for found in curations)
    found = {
        "rate": ratio,
        "rate_large": large["n"] / large["seconds"] / floor,
        "memory": large["peak_mib"] / peak,
        "metadata_s": rows["seconds"],
        "batches": taken["files_s"] / taken["store_s"],
    }
    return {
        "cores": CORES,
        "bytes_per_file": statistics.mean(file.stat().st_size for file in files),
        "n": [few, many],
        "loop_per_s": floor,
        "curation_per_s": statistics.median(one["n"] / one["seconds"] for one in curations),
        "curation_large_per_s": large["n"] / large["seconds"],
        "hours_for_all": ROWS / (large["n"] / large["seconds"]) / 3600,
        "peak_mib": [peak, large["peak_mib"]],
        "metadata": rows,
        "batches": taken,
        "found": found,
        "targets": TARGETS,
        "met": {
            "rate": found["rate"] >= TARGETS["rate"],
            "rate_large": found["rate_large"] >= TARGETS["rate"],
            "memory": found["memory"] <= TARGETS["memory"],
            "metadata_s": found["metadata_s"] < TARGETS["metadata_s"],
            "batches": found["batches"] >= TARGETS["batches"],
        },
        "runs": {"loop": loops, "curation": [*curations, large]},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sizes", type=int, nargs=2, default=(5000, 50_000), metavar=("FEW", "MANY"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part[0]](Path(options.part[1]))))
        return 0
    output = options.output or paths.work_dir() / "bench" / "curation.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        setting = ((400, 2000), 3, 24) if options.quick else (options.sizes, 3, 96)
        report = run(Path(scratch), *setting)
    write_json(output, {"quick": options.quick, **report})
    print(json.dumps({name: report[name] for name in ("found", "targets", "met")}, indent=2))
    return 0 if all(report["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
