"""Curated datasets: memory-mapped pixels, a validated cohort, a hold-out part and folds.

Curation is a function of the raw files and its parameters; their content hash names the folder, so a
dataset that exists is never made again. Images are decoded in chunks that are kept until the
dataset is complete: a killed process goes on where it stopped, and memory does not grow with the data.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from radtransfer import paths
from radtransfer.atomic import atomic_folder, write_json, write_text
from radtransfer.data.cohort import Cohort, Flow, exclude, select
from radtransfer.data.decoding import (
    DOES_NOT_DECODE,
    RECORDED,
    THUMBNAIL,
    Decoded,
    FromFiles,
    decode_all,
    read_part,
    shelve,
)
from radtransfer.data.duplicates import Duplicates, find_duplicates, join_groups
from radtransfer.data.fetch import fetch
from radtransfer.data.fingerprints import RESEMBLING, Fingerprints
from radtransfer.data.formats import load_format, read_cohort
from radtransfer.data.manifest import load_manifest
from radtransfer.data.memory import return_freed_memory
from radtransfer.data.splits import (
    OFFICIAL_FOLD,
    OFFICIAL_SPLIT,
    Folds,
    Split,
    make_folds,
    make_split,
    official_folds,
    official_split,
)
from radtransfer.errors import DataError, InputError, unknown_name
from radtransfer.hashing import sha256_file, sha256_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor, Future

    from radtransfer.data.decoding import Reader
    from radtransfer.data.fetch import Progress
    from radtransfer.data.phantoms import PhantomSpec

RECIPE: Final = 4
"""Raised when a change of the code changes curated datasets."""

DECODING: Final = ("recipe", "dataset", "options", "files", "phantom", "image_size")
"""Parameters on which the pixels of an image depend."""

IDENTITY: Final = (
    "image_id",
    "patient_id",
    "group_id",
    "age_years",
    "sex",
    "view",
    "site",
    "slice_fraction",
)
"""Columns of the cohort that are part of the dataset's digest, beside the task's label.

What the raw files are called and how large they are is not: two sources may give the same images.
"""

PartsFrom = Literal["dealt", "official", "official_without_leaks"]
"""Where hold-out and folds come from, see :func:`curate`."""

CHECKSUMS: Final = "SHA256SUMS"


@dataclass(frozen=True)
class CuratedDataset:
    """A curated dataset on disk.

    Attributes
    ----------
    folder : Path
        Holds ``images.npy``, ``cohort.parquet``, ``assignment.parquet``, ``duplicates.parquet``,
        ``excluded.npy``, ``excluded.parquet`` and ``curation.json``.
    info : dict
        Content of ``curation.json``: task, parameters, flow, digest.
    """

    folder: Path
    info: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> CuratedDataset:
        """Open a curated dataset, every file checked.

        Raises
        ------
        DataError
            If the folder is not there, or a file of it is missing or altered.
        """
        hint = f"delete {folder} and curate again"
        if not (folder / CHECKSUMS).is_file():
            raise DataError(f"there is no curated dataset {folder}", hint="run 01_data_curation")
        for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
            expected, name = line.split("  ", 1)
            if not (folder / name).is_file():
                raise DataError(f"{folder / name} is missing", hint=hint)
            if sha256_file(folder / name) != expected:
                raise DataError(f"{folder / name} is not what curation wrote", hint=hint)
        return cls._unchecked(folder)

    @classmethod
    def _unchecked(cls, folder: Path) -> CuratedDataset:
        return cls(folder, json.loads((folder / "curation.json").read_text(encoding="utf-8")))

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """Pixels, memory-mapped read-only, shape (n, size, size)."""
        stored: NDArray[np.uint8] = np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)
        return stored

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Names of the images, in the order of their pixels."""
        return tuple(map(str, self.cohort.frame["image_id"]))

    @cached_property
    def cohort(self) -> Cohort:
        """Cohort; row i describes image i."""
        frame = pd.read_parquet(self.folder / "cohort.parquet")
        classes = {task: tuple(names) for task, names in self.info["classes"].items()}
        return Cohort(frame, self.info["dataset"], tuple(self.info["tasks"]), classes)

    @cached_property
    def excluded(self) -> pd.DataFrame:
        """Selected images that are left out for their quality; columns of the cohort and ``reason``."""
        return pd.read_parquet(self.folder / "excluded.parquet")

    @cached_property
    def excluded_thumbnails(self) -> NDArray[np.uint8]:
        """Thumbnails of :attr:`excluded`, row by row, shape (n, 64, 64); black if it does not decode."""
        thumbnails: NDArray[np.uint8] = np.load(self.folder / "excluded.npy", allow_pickle=False)
        return thumbnails

    @cached_property
    def duplicates(self) -> Duplicates:
        """Pairs of images that show the same exposure; positions are rows of the cohort."""
        table = pd.read_parquet(self.folder / "duplicates.parquet")
        sides = [self.index(table[f"image_id_{side}"].tolist()) for side in (1, 2)]
        return Duplicates(
            pairs=np.sort(np.column_stack(sides), axis=1),
            correlation=table["correlation"].to_numpy(dtype=float),
            identical=table["identical"].to_numpy(dtype=bool),
            n_images=self.cohort.n_images,
        )

    @cached_property
    def _assignment(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "assignment.parquet")

    @cached_property
    def holdout(self) -> Split:
        """Part ``test`` is held out; everything else is ``train``, or ``validation`` if officially so."""
        return Split(self._assignment)

    @cached_property
    def folds(self) -> Folds:
        """Cross-validation folds over the images that are not held out."""
        return Folds(self._assignment.dropna(subset="fold").astype({"fold": int}))

    @property
    def task(self) -> str:
        """Task the dataset was curated for."""
        return str(self.info["task"])

    @property
    def patients_known(self) -> bool:
        """Whether ``patient_id`` tells patients apart; if not, groups of similar images stand for them."""
        return bool(load_manifest().dataset(self.info["dataset"]).patient_id_field)

    @property
    def digest(self) -> str:
        """SHA-256 of pixels, label and :data:`IDENTITY`: all that a run's result may depend on."""
        return str(self.info["digest"])

    @cached_property
    def flow(self) -> Flow:
        """Exclusions, counted."""
        return Flow.from_dict(self.info["flow"])

    def labels(self, task: str) -> NDArray[np.int64]:
        """Labels of a task, the number of each image's class, shape (n,)."""
        labels: NDArray[np.int64] = self.cohort.labels(task).to_numpy(dtype=np.int64)
        return labels

    @property
    def final(self) -> FinalTest:
        """The same images for the last test: what is held out is the only test part."""
        return FinalTest(self.folder, self.info)

    def index(self, image_ids: Sequence[str]) -> NDArray[np.intp]:
        """Rows of images.

        Raises
        ------
        InputError
            If an image is not in the dataset; names it.
        """
        rows = pd.Index(self.cohort.frame["image_id"]).get_indexer(pd.Index(image_ids))
        if (rows < 0).any():
            raise InputError(f"image {image_ids[int(np.argmin(rows))]} is not in {self.folder.name}")
        return np.asarray(rows, dtype=np.intp)


@dataclass(frozen=True)
class FinalTest(CuratedDataset):
    """A curated dataset whose first fold is the hold-out part, and the second all that was developed on.

    What is trained and scored on its first fold is tested on patients that no choice has seen.
    """

    @cached_property
    def folds(self) -> Folds:
        """Fold 0 is held out, fold 1 is everything else.

        Raises
        ------
        InputError
            If no image is held out.
        """
        assignment = self._assignment
        held_out = assignment["part"] == "test"
        if not held_out.any():
            raise InputError(
                f"no image of {self.folder.name} is held out", hint="curate with a test_fraction"
            )
        # nobody deals validation patients from the hold-out part
        return Folds(
            assignment.assign(fold=(~held_out).astype(int), stratum=assignment["stratum"].fillna(""))
        )


def curate(
    dataset_id: str,
    *,
    task: str,
    image_size: int = 256,
    age_min: float = 18,
    age_max: float = 80,
    test_fraction: float = 0.1,
    n_folds: int = 5,
    split: PartsFrom = "dealt",
    seed: int,
    phantom: PhantomSpec | None = None,
    progress: Progress | None = None,
) -> CuratedDataset:
    """Fetch, verify, select, decode, find duplicates, deal parts, store.

    Parameters
    ----------
    dataset_id : str
        Identifier in the manifest.
    task : str
        Task of the dataset whose label must be known.
    image_size : int
        Side of the stored square, pixels.
    age_min, age_max : float
        Ages included, years.
    test_fraction : float
        Share of images held out, by patient.
    n_folds : int
        Folds over the others.
    split : {"dealt", "official", "official_without_leaks"}
        Where the hold-out and the folds come from. Official: what the dataset's authors propose, of hold-out
        and folds whatever they do propose; ``test_fraction`` or ``n_folds`` then has no meaning. If the
        proposal leaks it is refused, or repaired by leaving out the training images that leak.
    seed : int
        Seed of the deal of patients.
    phantom : PhantomSpec, optional
        What to draw, for a generated dataset.
    progress : callable, optional
        Called with what is being done, how many of its parts are done, and of how many.

    Returns
    -------
    CuratedDataset
        Made now or earlier: the same inputs and parameters give the same folder.

    Raises
    ------
    InputError, DataError
        If a parameter does not fit the dataset, or its files cannot be had or are damaged.
    LeakageError
        If an official split leaks.
    """
    if split not in get_args(PartsFrom):
        raise unknown_name("split", split, get_args(PartsFrom))
    entry = load_manifest().dataset(dataset_id)
    if entry.generated != (phantom is not None):
        needs = "needs phantom=PhantomSpec(...)" if entry.generated else "is not generated; leave phantom out"
        raise InputError(f"dataset {dataset_id} {needs}")
    parameters = {
        "recipe": RECIPE,
        "dataset": dataset_id,
        "options": entry.options,
        "files": _drawing_code() if entry.generated else entry.digest,
        "phantom": phantom.to_dict() if phantom else None,
        "task": task,
        "image_size": image_size,
        "age_min": age_min,
        "age_max": age_max,
        "test_fraction": test_fraction,
        "n_folds": n_folds,
        "split": split,
        "seed": seed,
    }
    name = f"{dataset_id}-{sha256_json(parameters)[:12]}"
    target = paths.curated_dir() / name
    locks = paths.curated_dir() / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    chunks = paths.curated_dir() / f"{name}.chunks"
    with FileLock(locks / f"{name}.lock"):
        made_before = target.is_dir()
        if not made_before:
            layout = load_format(entry.format)
            root = _raw_folder(dataset_id, phantom, progress)
            cohort = read_cohort(entry, root)
            if listed := {file.path for files in entry.file_lists() for file in files}:
                # nothing else in the folder was verified
                cohort = cohort.keep(cohort.frame["path"].isin(listed))
            cohort, flow = select(cohort, task=task, age_min=age_min, age_max=age_max)
            # beside the processes that decode, its rows would stand in memory for nothing
            shelved = _Shelved.put(cohort, chunks / "cohort.parquet")
            n_rows = cohort.n_images
            del cohort
            return_freed_memory(n_rows)
            read = _FromOtherTasks.of(parameters, otherwise=FromFiles(layout, root, image_size))
            files = decode_all(read, shelved.path, image_size, chunks, progress)
            # what a killed process leaves behind goes with the chunks
            _store(chunks / "complete", shelved.take(), flow, files, parameters)
            (chunks / "complete").rename(target)
        shutil.rmtree(chunks, ignore_errors=True)  # also those of a process killed after it had stored
    return CuratedDataset.open(target) if made_before else CuratedDataset._unchecked(target)


def _drawing_code() -> str:
    """Digest of the code that draws phantoms: it stands for their raw files."""
    here = Path(__file__).parent
    return sha256_json([sha256_file(here / name) for name in ("phantoms.py", "anatomy.py")])


def _raw_folder(dataset_id: str, phantom: PhantomSpec | None, progress: Progress | None) -> Path:
    if phantom is None:
        return fetch(dataset_id, progress=progress)
    from radtransfer.data.formats.phantom import write

    name = sha256_json([phantom.to_dict(), _drawing_code()])
    root = paths.raw_dir() / f"{dataset_id}-{name[:12]}"
    if not root.is_dir():
        write(phantom, root)
    return root


@dataclass(frozen=True)
class _Shelved:
    """A cohort on disk."""

    path: Path
    dataset: str
    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]

    @classmethod
    def put(cls, cohort: Cohort, path: Path) -> _Shelved:
        shelve(cohort.frame, path)
        return cls(path, cohort.dataset, cohort.tasks, cohort.classes)

    def take(self) -> Cohort:
        return Cohort(pd.read_parquet(self.path), self.dataset, self.tasks, self.classes)


@dataclass(frozen=True)
class _FromOtherTasks:
    """Reader that takes what was decoded for another task or selection of the same files."""

    folders: tuple[Path, ...]
    otherwise: Reader

    @classmethod
    def of(cls, parameters: Mapping[str, Any], *, otherwise: Reader) -> Reader:
        """Reader for the curated datasets that were decoded with the same parameters, if there are any."""
        folders = []
        for told in sorted(paths.curated_dir().glob(f"{parameters['dataset']}-*/curation.json")):
            others = json.loads(told.read_text(encoding="utf-8"))["parameters"]
            if all(others.get(name) == parameters[name] for name in DECODING):
                try:
                    folders.append(CuratedDataset.open(told.parent).folder)
                except DataError:
                    continue  # whoever wants that dataset will be told
        return cls(tuple(folders), otherwise) if folders else otherwise

    def __call__(self, row: Mapping[str, Any]) -> Decoded:
        for dataset, rows in map(_rows, self.folders):
            if (i := rows.get(row["image_id"])) is not None:
                facts = dataset.cohort.frame.iloc[i]
                return Decoded(
                    np.array(dataset.images[i]),
                    warning="" if pd.isna(facts["quality_warning"]) else facts["quality_warning"],
                    raw=tuple(0 if pd.isna(facts[name]) else int(facts[name]) for name in RECORDED),
                )
        return self.otherwise(row)


@lru_cache(maxsize=8)
def _rows(folder: Path) -> tuple[CuratedDataset, dict[str, int]]:
    """Curated dataset, and each image's row; every process that decodes opens it once."""
    dataset = CuratedDataset._unchecked(folder)
    return dataset, {name: row for row, name in enumerate(dataset.cohort.frame["image_id"])}


def _facts(files: Sequence[Path]) -> pd.DataFrame:
    """What chunks say of their images, in the order of the cohort: fault, warning and raw size."""
    raw = np.concatenate([read_part(path, "raw") for path in files])
    facts = pd.DataFrame(raw, columns=list(RECORDED), dtype="Int64").mask(raw == 0)
    for name in ("faults", "warnings"):
        facts[name] = np.concatenate([read_part(path, name) for path in files])
    return facts


def _record(frame: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Add raw sizes, unless the layout knows better, and warnings to the cohort's columns."""
    columns: dict[str, Any] = {
        name: frame[name].fillna(facts[name]) if name in frame else facts[name] for name in RECORDED
    }
    columns["quality_warning"] = facts["warnings"].astype("str").replace("", None)
    return frame.assign(**columns)


def _store(
    target: Path, cohort: Cohort, flow: Flow, files: Sequence[Path], parameters: Mapping[str, Any]
) -> None:
    task, size = parameters["task"], parameters["image_size"]
    facts = _facts(files)
    fault = facts["faults"]
    everybody = _record(cohort.frame, facts)
    cohort, flow_of_quality = exclude(
        cohort, [(reason, fault == reason) for reason in sorted({DOES_NOT_DECODE, *fault} - {""})]
    )
    cohort = replace(cohort, frame=everybody[fault == ""])
    excluded = everybody[fault != ""].assign(reason=fault[fault != ""])
    del everybody, facts, fault
    return_freed_memory(cohort.n_images)
    with atomic_folder(target) as folder:
        excluded.drop(columns="quality_warning").to_parquet(folder / "excluded.parquet", index=False)
        large = (cohort.n_images, RESEMBLING, RESEMBLING)
        with (
            _Written(folder / "excluded.npy", (len(excluded), THUMBNAIL, THUMBNAIL)) as thumbnails,
            _Written(folder / "images.npy", (cohort.n_images, size, size)) as images,
            _Written(folder / "large.npy", large) as fingerprints,
        ):
            digests, small = _take_over(files, images, thumbnails, fingerprints)
        duplicates = _find_duplicates(folder, digests, small)
        ids = cohort.frame["image_id"]
        cohort = cohort.assign(
            group_id=join_groups(ids.tolist(), cohort.frame["group_id"].tolist(), duplicates.pairs)
        )
        return_freed_memory(cohort.n_images)
        assignment, flow_of_parts = _parts(cohort, parameters)
        return_freed_memory(cohort.n_images)
        used = cohort.frame["image_id"].isin(assignment["image_id"]).to_numpy()
        if not used.all():
            cohort = cohort.keep(used)
            with (
                _OnDisk(folder / "images.npy") as stored,
                _Written(folder / "used.npy", (cohort.n_images, size, size)) as images,
            ):
                for row in np.flatnonzero(used):
                    images.append(stored[int(row)])
            (folder / "used.npy").replace(folder / "images.npy")
        cohort.frame.to_parquet(folder / "cohort.parquet", index=False)
        assignment.to_parquet(folder / "assignment.parquet", index=False)
        pairs = duplicates.to_frame(image_id=ids)
        both = pairs["image_id_1"].isin(cohort.frame["image_id"]) & pairs["image_id_2"].isin(
            cohort.frame["image_id"]
        )
        pairs[both].to_parquet(folder / "duplicates.parquet", index=False)
        write_json(
            folder / "curation.json",
            {
                "dataset": cohort.dataset,
                "task": task,
                "tasks": list(cohort.tasks),
                "classes": {task: list(names) for task, names in cohort.classes.items()},
                "parameters": dict(parameters),
                "flow": flow.then(flow_of_quality).then(flow_of_parts).to_dict(),
                "images_with_duplicates": int(cohort.frame["group_id"].duplicated(keep=False).sum()),
                "digest": sha256_json([images.sha256_of_values, *_identity(cohort, task)]),
            },
        )
        known = {"images.npy": images.sha256_of_file, "excluded.npy": thumbnails.sha256_of_file}
        names = sorted(path.name for path in folder.iterdir())
        lines = [f"{known.get(name) or sha256_file(folder / name)}  {name}\n" for name in names]
        write_text(folder / CHECKSUMS, "".join(lines))


def _take_over(
    files: Sequence[Path], images: _Written, thumbnails: _Written, fingerprints: _Written
) -> tuple[NDArray[np.bytes_], NDArray[np.uint8]]:
    """Copy what chunks hold into the dataset's files; digests and small thumbnails of all images."""
    digests, small = [], []
    for path in files:
        with np.load(path, allow_pickle=False) as chunk:
            images.append(chunk["pixels"])
            thumbnails.append(chunk["thumbnails"])
            fingerprints.append(chunk["large"])
            digests.append(chunk["digests"])
            small.append(chunk["small"])
    return np.concatenate(digests), np.concatenate(small)


def _parts(cohort: Cohort, parameters: Mapping[str, Any]) -> tuple[pd.DataFrame, Flow]:
    """Deal the hold-out and the folds, or take those proposed; also which images leave because of it."""
    task, seed, split = (parameters[name] for name in ("task", "seed", "split"))
    frame = cohort.frame
    proposed = [
        name for name in (OFFICIAL_SPLIT, OFFICIAL_FOLD) if name in frame and frame[name].notna().any()
    ]
    if split == "dealt":
        share = parameters["test_fraction"]
        holdout = make_split(cohort, task=task, fractions=(1 - share, 0, share), seed=seed)
        _, flow = exclude(cohort, [])
    elif OFFICIAL_SPLIT in proposed:
        holdout, flow = official_split(cohort, drop_leaking=split == "official_without_leaks")
    elif proposed:
        holdout = Split(frame.assign(part="train"))
        _, flow = exclude(cohort, [])
    else:
        raise InputError(f"{cohort.dataset} has neither an official split nor folds", hint="split: dealt")
    table = holdout.table
    rest = cohort.keep(frame["image_id"].isin(table.loc[table["part"] != "test", "image_id"]))
    if split != "dealt" and OFFICIAL_FOLD in proposed:
        folds = official_folds(rest, task=task)
    else:
        folds = make_folds(rest, task=task, n_folds=parameters["n_folds"], seed=seed)
    columns = folds.table[["image_id", "fold", "stratum"]]
    assignment = table.merge(columns, on="image_id", how="left", validate="one_to_one")
    return assignment.astype({"fold": "Int64"}), flow


def _identity(cohort: Cohort, task: str) -> tuple[list[str], list[list[Any]]]:
    """Everything but pixels that a model or baseline may use: names of columns, and rows.

    Columns of which nothing is known are left out: a layout may add them without changing a dataset.
    """
    frame = cohort.frame
    columns = [name for name in IDENTITY if name in frame and frame[name].notna().any()]
    rows = frame[columns].assign(label=cohort.labels(task)).to_json(orient="values")
    return columns, json.loads(rows)


def _find_duplicates(folder: Path, digests: NDArray[np.bytes_], small: NDArray[np.uint8]) -> Duplicates:
    """Duplicates among stored images, by fingerprints of which the large ones are taken off the disk."""
    large = folder / "large.npy"
    with _OnDisk(folder / "images.npy") as images, _OnDisk(large) as on_disk:
        known = Fingerprints(digests, small, on_disk)  # type: ignore[arg-type]
        found = find_duplicates([images], fingerprints=known)  # type: ignore[list-item]
    large.unlink()
    return found


class _OnDisk:
    """Images of a ``.npy`` file, read one by one: what is read of a memory map counts as memory."""

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape, self.dtype, self.ndim = mapped.shape, mapped.dtype, mapped.ndim
        self._offset, self._stream = mapped.offset, path.open("rb", buffering=0)
        self._one_at_a_time = Lock()

    def __enter__(self) -> _OnDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        size = self.shape[1] * self.shape[2]
        with self._one_at_a_time:
            self._stream.seek(self._offset + int(row) * size)
            read = self._stream.read(size)
        return np.frombuffer(read, np.uint8).reshape(self.shape[1:])


class _Sha256:
    """SHA-256 that another thread computes, one part behind."""

    def __init__(self, pool: Executor, first: bytes = b"") -> None:
        self._hash, self._pool = hashlib.sha256(first), pool
        self._behind: Future[None] | None = None

    def update(self, part: memoryview) -> None:
        self.wait()
        self._behind = self._pool.submit(self._hash.update, part)

    def wait(self) -> None:
        if self._behind is not None:
            self._behind.result()

    def hexdigest(self) -> str:
        self.wait()
        return self._hash.hexdigest()


class _Written:
    """A ``.npy`` file of bytes that is written part by part.

    Not through a memory map: there a full disk is no error but the end of the process.
    """

    def __init__(self, target: Path, shape: tuple[int, ...]) -> None:
        header = BytesIO()
        described = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, described)
        self._pool = ThreadPoolExecutor(2)
        self._values, self._file = _Sha256(self._pool), _Sha256(self._pool, header.getvalue())
        self._stream = target.open("wb")
        self._stream.write(header.getvalue())

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._pool.shutdown()

    def append(self, part: NDArray[np.uint8]) -> None:
        """Write values, in their order."""
        self._values.update(part.data)
        self._file.update(part.data)
        self._stream.write(part.data)

    @property
    def sha256_of_values(self) -> str:
        return self._values.hexdigest()

    @property
    def sha256_of_file(self) -> str:
        return self._file.hexdigest()
