"""MedMNIST: one ``.npz`` file with the arrays ``{train,val,test}_{images,labels}``, at 28 to 224 px.

Images are read as a stream, a block of frames at a time: the larger files hold 100,000 images and more, and
a compressed array cannot be mapped to memory. Python objects in such a file (pickles) are refused.

References
----------
Yang J, Shi R, Wei D, et al. MedMNIST v2. Sci Data 2023;10:41.
"""

from __future__ import annotations

import threading
import tokenize
import zipfile
import zlib
from collections import OrderedDict
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from radtransfer.data.cohort import LABEL
from radtransfer.data.formats import NO_OPTIONS, common
from radtransfer.data.images import DecodeError
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey

NAMES: Final = {"train": "train", "validation": "val", "test": "test"}
"""Parts, and what the arrays call them."""

MAX_LABEL_BYTES: Final = 1 << 26
BLOCK_BYTES: Final = 1 << 24
"""Images kept in memory at a time; a few such blocks."""

_BLOCKS_KEPT: Final = 4
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,  # of an array's header, which is a Python literal
    SyntaxError,
    TypeError,
    ArithmeticError,
    MemoryError,
    EOFError,
    ValueError,
    OSError,
    RuntimeError,  # NotImplementedError, too
)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class Options(BaseModel):
    """What a manifest entry says of a MedMNIST file.

    Attributes
    ----------
    task : str
        Name of the task; none for several labels an image.
    classes : tuple of str
        Names of the label's values 0, 1, ...; may be left out for a binary task. For several labels an
        image the names of the binary tasks, in the order of the columns.
    counts : dict of str to int
        Official numbers of images of the parts; a file that differs is told of.
    slices : {"middle", "all"}
        Which slices of a volume are images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Name | None = None
    classes: tuple[Name, ...] = ()
    counts: dict[Literal["train", "validation", "test"], Annotated[int, Field(ge=0)]] = {}
    slices: Literal["middle", "all"] = "middle"

    @model_validator(mode="after")
    def _one_or_many(self) -> Options:
        if self.task is None and not self.classes:
            raise ValueError("name the task, or for several labels an image the classes")
        return self


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the images of a file.

    Parameters
    ----------
    root : Path
        Folder with one ``.npz`` file.
    options : mapping
        See :class:`Options`.

    Returns
    -------
    Cohort
        ``official_split`` and ``frame`` say where the image is: array and place in it. Images of a volume
        share their group and have a ``slice_index``. Patients are unknown: every image or volume is its
        own.

    Raises
    ------
    DataError
        If the file is damaged, holds Python objects or lacks an array, or if a label has no name.
    """
    chosen = common.parse_options(Options, options, "medmnist")
    path = _file(root)
    _check(path)
    frames = []
    for part, name in NAMES.items():
        shape = _shape(path, f"{name}_images")
        labels = _labels(path, f"{name}_labels", shape[0])
        depth = shape[1] if _is_volume(shape) else 1
        slices = np.arange(depth) if chosen.slices == "all" else np.array([depth // 2])
        frame = np.repeat(np.arange(shape[0]), len(slices))
        place = np.tile(slices, shape[0])
        volume = pd.Series([f"{name}_{i:06d}" for i in frame], dtype="str")
        table = pd.DataFrame(
            {
                "image_id": volume
                + pd.Series([f"_{i:03d}" if depth > 1 else "" for i in place], dtype="str"),
                "patient_id": volume,
                "group_id": volume,
                "path": path.name,
                "official_split": part,
                "frame": frame,
            }
        )
        if depth > 1:
            table = table.assign(slice_index=place, slice_fraction=place / (depth - 1))
        frames.append(table.join(pd.DataFrame(labels[frame])))
    table = pd.concat(frames, ignore_index=True)
    columns = [column for column in table if isinstance(column, int)]
    tasks = _tasks(chosen, len(columns), path)
    table = table.rename(columns={column: LABEL + task for column, task in zip(columns, tasks, strict=True)})
    classes = {chosen.task: chosen.classes} if chosen.task and chosen.classes else {}
    for task in tasks:
        n_classes = len(classes.get(task, (0, 1)))
        if (highest := table[LABEL + task].max()) >= n_classes:
            raise DataError(
                f"{path} has the label {highest}, but {task} has {n_classes} classes",
                hint="name them all in the option classes",
            )
    return common.cohort(table, root, tasks, classes)


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Image or slice of one row of the cohort; colour becomes luma."""
    path = root / row["path"]
    frames = _frames(path, f"{NAMES[row['official_split']]}_images", path.stat().st_mtime_ns)
    image = frames.read(int(row["frame"]))
    if "slice_index" in row and not pd.isna(row["slice_index"]):
        image = image[int(row["slice_index"])]
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Parts that do not have the official number of images."""
    chosen, path = common.parse_options(Options, options, "medmnist"), _file(root)
    there = {part: _shape(path, f"{NAMES[part]}_images")[0] for part in chosen.counts}
    return tuple(
        f"{path.name}: {part} has {there[part]:,} of {expected:,} images"
        for part, expected in chosen.counts.items()
        if there[part] != expected
    )


def _file(root: Path) -> Path:
    files = sorted(root.glob("*.npz"))
    if len(files) != 1:
        raise DataError(f"{root} has {len(files)} .npz files, not one")
    return files[0]


def _check(path: Path) -> None:
    """Hold every array against its own checksum: damaged ones may unpack to wrong pixels."""
    try:
        with zipfile.ZipFile(path) as arrays:
            damaged = arrays.testzip()
    except _BROKEN as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if damaged:
        raise DataError(f"{path} is damaged: {damaged}")


def _tasks(chosen: Options, n_labels: int, path: Path) -> tuple[str, ...]:
    if chosen.task and n_labels == 1:
        return (chosen.task,)
    if chosen.task is None and n_labels == len(chosen.classes):
        return chosen.classes
    raise DataError(
        f"{path} has {n_labels} labels an image",
        hint="one label: give its task; several: give as many classes and no task",
    )


def _is_volume(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] != 3


def _open(path: Path, name: str) -> tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]:
    """Stream of an array's values, with shape and type."""
    try:
        with zipfile.ZipFile(path) as arrays:  # the stream keeps the file open
            stream = arrays.open(f"{name}.npy")
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except KeyError:
        raise DataError(f"{path} has no array {name}") from None
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = header(stream)
    if dtype.hasobject:
        raise DataError(f"{path}: {name} holds Python objects (a pickle), which are never read")
    if by_column and len(shape) > 1:
        raise DataError(f"{path}: {name} is stored column by column", hint="save it in C order")
    return stream, shape, dtype


def _shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of an array of images, checked."""
    try:
        stream, shape, dtype = _open(path, name)
        stream.close()
    except _BROKEN as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if dtype != np.uint8 or len(shape) not in (3, 4) or min(shape[1:]) < 1:
        raise DataError(f"{path}: {name} has shape {shape} and type {dtype}, not n x height x width of uint8")
    return shape


def _labels(path: Path, name: str, n: int) -> NDArray[np.int64]:
    """Labels, shape (n, n_labels)."""
    try:
        with zipfile.ZipFile(path) as arrays:
            if arrays.getinfo(f"{name}.npy").file_size > MAX_LABEL_BYTES:
                raise DataError(f"{path}: {name} is too large for labels")
        _open(path, name)[0].close()
        with np.load(path, allow_pickle=False) as arrays:
            labels = arrays[name]
    except KeyError:
        raise DataError(f"{path} has no array {name}") from None
    except _BROKEN as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if labels.ndim not in (1, 2) or len(labels) != n or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: {name} has shape {labels.shape} and type {labels.dtype} for {n} images")
    if labels.size and labels.min() < 0:
        raise DataError(f"{path}: {name} has the label {labels.min()}")
    columns: NDArray[np.int64] = labels.reshape(n, -1).astype(np.int64)
    return columns


@lru_cache(maxsize=len(NAMES))
def _frames(path: Path, name: str, _changed: int) -> _Frames:
    return _Frames(path, name)


class _Frames:
    """Frames of a compressed array, read in blocks; cheap in ascending order."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._shape = _shape(path, name)
        self._frame_bytes = int(np.prod(self._shape[1:], dtype=np.int64))
        self._frames_per_block = max(1, BLOCK_BYTES // self._frame_bytes)
        self._blocks: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._next = 0

    def read(self, frame: int) -> NDArray[np.uint8]:
        """One frame."""
        if not 0 <= frame < self._shape[0]:
            raise DecodeError(f"{self._path}: {self._name} has no frame {frame}")
        block, place = divmod(frame, self._frames_per_block)
        with self._lock:
            if block not in self._blocks:
                self._advance(block)
            image: NDArray[np.uint8] = self._blocks[block][place]
            return image

    def _advance(self, block: int) -> None:
        if self._stream is None or block < self._next:
            self._stream, self._next = _open(self._path, self._name)[0], 0
        while self._next <= block:
            begin = self._next * self._frames_per_block
            n = min(self._frames_per_block, self._shape[0] - begin)
            try:
                content = self._stream.read(n * self._frame_bytes)
                frames = np.frombuffer(content, dtype=np.uint8).reshape(n, *self._shape[1:])
            except _BROKEN as error:
                self._stream = None
                raise DecodeError(f"{self._path}: {self._name} is damaged: {error}") from error
            self._blocks[self._next] = frames
            self._next += 1
            while len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
