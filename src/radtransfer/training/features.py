"""Augmented views and frozen activations, computed once and kept on disk.

A frozen layer gives the same activations in every epoch, fold and run, so they are computed once
for each stored view of each image, and training starts behind the cut. Everything here is named by
the content hash of what it depends on, appended to batch by batch with bounded memory, and read
through a memory map.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from radtransfer import paths
from radtransfer.atomic import write_json
from radtransfer.errors import DataError, RadtransferError
from radtransfer.hashing import sha256_json
from radtransfer.models.freezing import prefix
from radtransfer.models.registry import Backbone
from radtransfer.models.weights import tensor_digest
from radtransfer.training.augment import VIEW_FIELDS, view
from radtransfer.training.runs import TrainingOptions
from radtransfer.training.shared import shared_store

if TYPE_CHECKING:
    import keras

    from radtransfer.data.store import CuratedDataset

Progress = Callable[[str], None]

RECIPE = 1
"""Raised when a change of this module changes what is stored."""

BATCH = 32
SAVE_EVERY_S = 10.0
TELL_EVERY_S = 20.0


@dataclass(frozen=True)
class Tap:
    """A place in a backbone where activations are taken.

    Attributes
    ----------
    layer : str
        Name of the layer.
    pooled : bool
        Keep only the mean over the map (global average pooling), for a head alone.
    """

    layer: str
    pooled: bool


@dataclass(frozen=True)
class Stored:
    """Something stored for every view of every image.

    Attributes
    ----------
    folder : Path
    image_ids : tuple of str
        Images in the order of the array's second axis.
    seconds : float
        Wall-clock time that the pass took which made it (shared by all taps of that pass).
    """

    folder: Path
    image_ids: tuple[str, ...]
    seconds: float

    @cached_property
    def array(self) -> NDArray[Any]:
        """Memory map of shape (views + 1, n, ...); view 0 is the unchanged image."""
        array: NDArray[Any] = np.load(self.folder / "array.npy", mmap_mode="r", allow_pickle=False)
        return array

    def rows(self, image_ids: Sequence[str]) -> NDArray[np.intp]:
        """Positions of images along the array's second axis."""
        position = {image_id: row for row, image_id in enumerate(self.image_ids)}
        try:
            return np.array([position[image_id] for image_id in image_ids], dtype=np.intp)
        except KeyError as error:
            raise DataError(f"image {error.args[0]} has no stored views in {self.folder}") from None


def stored_views(
    dataset: CuratedDataset,
    image_ids: Sequence[str],
    options: TrainingOptions,
    *,
    progress: Progress | None = None,
) -> Stored:
    """Unchanged and augmented views of images at network input size.

    Parameters
    ----------
    dataset : CuratedDataset
    image_ids : sequence of str, length n
    options : TrainingOptions
    progress : callable, optional
        Called with lines to show.

    Returns
    -------
    Stored
        uint8, shape (options.views + 1, n, input_size, input_size).
    """
    ids = tuple(image_ids)
    key = {
        "kind": "views",
        "recipe": RECIPE,
        "dataset": dataset.digest,
        "images": sha256_json(ids),
        "options": options.model_dump(mode="json", include=set(VIEW_FIELDS)),
    }
    rows = dataset.index(ids)

    def produce(start: int, stop: int) -> dict[str, NDArray[Any]]:
        made = [
            view(
                dataset.images[rows[position % len(ids)]],
                ids[position % len(ids)],
                position // len(ids),
                options,
            )
            for position in range(start, stop)
        ]
        return {"views": np.stack(made)}

    shape = (options.views + 1, len(ids), options.input_size, options.input_size)
    writer = _Writer(key, ids, shape, np.dtype(np.uint8))
    return _fill({"views": writer}, produce, f"{shape[0]} views of {len(ids)} images", progress)["views"]


def stored_activations(
    views: Stored,
    network: Backbone,
    model: keras.Model,
    taps: Sequence[Tap],
    *,
    progress: Progress | None = None,
) -> dict[Tap, Stored]:
    """Activations of a backbone for every stored view; one pass serves all taps.

    Parameters
    ----------
    views : Stored
        From :func:`stored_views`.
    network : Backbone
    model : keras.Model
        The backbone with its weights. Runs in inference mode, in the arithmetic of its layers.
    taps : sequence of Tap
    progress : callable, optional

    Returns
    -------
    dict of Tap to Stored
        float32, shape (views + 1, n, h, w, channels), or (views + 1, n, channels) if pooled.
    """
    if not taps:
        return {}
    weights = tensor_digest(model.get_weights())
    names = {f"{tap.layer}{'.pooled' if tap.pooled else ''}": tap for tap in taps}
    n_views, n_images = views.array.shape[:2]
    writers = {}
    for name, tap in names.items():
        key = {
            "kind": "activations",
            "recipe": RECIPE,
            "views": views.folder.name,
            "backbone": network.name,
            "weights": weights,
            "layer": tap.layer,
            "pooled": tap.pooled,
        }
        if (computed := model.get_layer(tap.layer).compute_dtype) != "float32":
            key["dtype"] = computed  # what is stored of it is float32 all the same
        shape = tuple(model.get_layer(tap.layer).output.shape[1:])
        if tap.pooled:
            shape = shape[-1:]
        writers[name] = _Writer(key, views.image_ids, (n_views, n_images, *shape), np.dtype(np.float32))

    flat = views.array.reshape(n_views * n_images, *views.array.shape[2:])
    missing = {name: names[name] for name, writer in writers.items() if not writer.finished()}
    forward = prefix(model, {tap.layer for tap in missing.values()}) if missing else None

    def produce(start: int, stop: int) -> dict[str, NDArray[Any]]:
        assert forward is not None
        # one batch shape: another would be traced and compiled anew
        positions = np.minimum(np.arange(start, start + BATCH), stop - 1)
        outputs = forward.predict_on_batch(network.preprocess(flat[positions]))
        made = {}
        for name, tap in missing.items():
            output = np.asarray(outputs[tap.layer], dtype=np.float32)[: stop - start]
            made[name] = output.mean(axis=(1, 2)) if tap.pooled else output
        return made

    filled = _fill(writers, produce, f"{network.name} up to {', '.join(sorted(names))}", progress)
    return {names[name]: stored for name, stored in filled.items()}


class _Writer:
    """One array on its way to the disk: appended to, marked, and renamed when complete.

    An array opened as a writable memory map would be sparse, and a full disk would end the process
    with a bus error; appending raises an error that can be explained.
    """

    def __init__(
        self, key: Mapping[str, Any], image_ids: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.key, self.image_ids, self.shape, self.dtype = key, image_ids, shape, dtype
        self.folder = paths.features_dir() / sha256_json(key)[:16]
        self.partial = self.folder.with_name(f"{self.folder.name}.partial")

    def finished(self) -> bool:
        """Whether it is there; it is fetched if only the shared store has it."""
        if self.folder.is_dir():
            return True
        shared = shared_store()
        return shared is not None and shared.fetch(f"features/{self.folder.name}", self.folder)

    @property
    def n_rows(self) -> int:
        return self.shape[0] * self.shape[1]

    def marked(self) -> tuple[int, float]:
        """Rows that are safely on the disk, and the seconds they took."""
        mark = self.partial / "mark.json"
        if not mark.is_file():
            return 0, 0.0
        state = json.loads(mark.read_text(encoding="utf-8"))
        return state["rows"], state["seconds"]

    def open(self, rows: int) -> None:
        """Go on after so many rows."""
        self.partial.mkdir(parents=True, exist_ok=True)
        array = self.partial / "array.npy"
        self.stream = array.open("r+b" if rows else "wb")
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_2_0(self.stream, header)
        row_bytes = math.prod(self.shape[2:]) * self.dtype.itemsize
        self.stream.seek(self.stream.tell() + rows * row_bytes)
        self.stream.truncate()

    def append(self, rows: NDArray[Any]) -> None:
        self.stream.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())

    def mark(self, rows: int, seconds: float) -> None:
        self.stream.flush()
        os.fsync(self.stream.fileno())
        write_json(self.partial / "mark.json", {"rows": rows, "seconds": seconds})

    def finish(self, seconds: float) -> None:
        self.stream.close()
        info = {"key": dict(self.key), "image_ids": list(self.image_ids), "seconds": seconds}
        write_json(self.partial / "info.json", info)
        (self.partial / "mark.json").unlink()
        self.partial.rename(self.folder)
        if shared := shared_store():
            shared.push(self.folder, f"features/{self.folder.name}")

    def stored(self) -> Stored:
        info = json.loads((self.folder / "info.json").read_text(encoding="utf-8"))
        return Stored(self.folder, tuple(info["image_ids"]), info["seconds"])


def _fill(
    writers: Mapping[str, _Writer],
    produce: Callable[[int, int], Mapping[str, NDArray[Any]]],
    title: str,
    progress: Progress | None,
) -> dict[str, Stored]:
    """Produce what is not there yet, one process at a time."""
    locks = paths.features_dir() / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # taken in one order by everybody, so that two passes never wait for each other
        for name in sorted(writer.folder.name for writer in writers.values()):
            stack.enter_context(FileLock(locks / f"{name}.lock"))
        missing = {name: writer for name, writer in writers.items() if not writer.finished()}
        if missing:
            try:
                _produce(missing, produce, title, progress or (lambda line: None))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise RadtransferError(
                    f"the disk is full: {title} could not be stored in {paths.features_dir()}",
                    hint="free some space or set RADTRANSFER_WORK to another disk, then run again",
                ) from error
    return {name: writer.stored() for name, writer in writers.items()}


def _produce(
    writers: Mapping[str, _Writer],
    produce: Callable[[int, int], Mapping[str, NDArray[Any]]],
    title: str,
    progress: Progress,
) -> None:
    """Append batches, going on where a killed process left its last mark."""
    n_rows = next(iter(writers.values())).n_rows
    done, before = min(writer.marked() for writer in writers.values())
    for writer in writers.values():
        writer.open(done)
    progress(f"{title}: {n_rows - done} to compute" + (f", {done} are there" if done else ""))
    started = marked = told = time.perf_counter()
    first = done
    while done < n_rows:
        stop = min(done + BATCH, n_rows)
        for name, rows in produce(done, stop).items():
            writers[name].append(rows)
        done = stop
        now = time.perf_counter()
        if now - marked > SAVE_EVERY_S or done == n_rows:
            for writer in writers.values():
                writer.mark(done, before + now - started)
            marked = time.perf_counter()
        if now - told > TELL_EVERY_S:
            left = (now - started) / (done - first) * (n_rows - done)
            progress(f"{title}: {done} of {n_rows}, {left:.0f} s left")
            told = now
    seconds = before + time.perf_counter() - started
    for writer in writers.values():
        writer.finish(seconds)
    progress(f"{title}: done in {seconds:.1f} s")
