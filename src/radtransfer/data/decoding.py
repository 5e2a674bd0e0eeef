"""Decoding a cohort's images on all cores, in chunks from which a killed process goes on.

Threads decode: Pillow releases the interpreter's lock. While a finished chunk is written the next is being
decoded, and there are never more than two chunks in memory, however large the cohort.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageOps

from radtransfer.atomic import atomic_file
from radtransfer.data.images import DecodeError, standardise
from radtransfer.data.quality import defect, warning
from radtransfer.errors import DataError, RadtransferError

if TYPE_CHECKING:
    from radtransfer.data.fetch import Progress
    from radtransfer.data.formats import Format
    from radtransfer.data.images import Grey

CHUNK: Final = 256
"""Images between two points from which decoding resumes."""

THUMBNAIL: Final = 64
"""Side of the thumbnails of excluded images, pixels."""

DOES_NOT_DECODE: Final = "does not decode"

RECORDED: Final = ("file_bytes", "height", "width")
"""Bytes of the raw file, if it holds this image alone, and size of the image as the layout reads it."""


def _black() -> Grey:
    return np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.uint8)


@dataclass(frozen=True)
class Decoded:
    """One image of the cohort.

    Attributes
    ----------
    image : ndarray of uint8, shape (size, size), or None
        What is stored; none if the image is excluded.
    fault : str
        Why it is excluded, or nothing.
    warning : str
        What should be looked at, or nothing.
    thumbnail : ndarray of uint8, shape (64, 64)
        Of an excluded image the whole of it, on black; all black if it does not decode or is not excluded.
    raw : tuple of int
        Values of :data:`RECORDED`; 0 if unknown.
    """

    image: Grey | None
    fault: str = ""
    warning: str = ""
    thumbnail: Grey = field(default_factory=_black)
    raw: tuple[int, ...] = (0, 0, 0)


Reader = Callable[[Mapping[str, Any]], Decoded]
"""Decodes one row of a cohort."""


def reader(layout: Format, root: Path, size: int) -> Reader:
    """Way from a row of the cohort to the square that is stored.

    Parameters
    ----------
    layout : Format
        Reads the raw files.
    root : Path
        Folder of the raw files.
    size : int
        Side of the square, pixels.
    """

    def read(row: Mapping[str, Any]) -> Decoded:
        path = root / row["path"]
        alone = pd.isna(row.get("frame")) and path.is_file()
        file_bytes = path.stat().st_size if alone else 0
        try:
            image = layout.read_image(root, row)
        except DecodeError:
            return Decoded(None, DOES_NOT_DECODE, raw=(file_bytes, 0, 0))
        raw, modality = (file_bytes, *image.shape), row["modality"]
        if fault := defect(image, size, modality=modality):
            return Decoded(None, fault, thumbnail=thumbnail(image), raw=raw)
        return Decoded(standardise(image, size), warning=warning(image, modality=modality), raw=raw)

    return read


def thumbnail(image: Grey) -> Grey:
    """Whole image within 64 x 64 pixels, on black."""
    return np.asarray(ImageOps.pad(Image.fromarray(image), (THUMBNAIL, THUMBNAIL)))


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of the cohort.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n_sound, size, size)
        Images that are not excluded, in the order of the cohort.
    thumbnails : ndarray of uint8, shape (n_excluded, 64, 64)
        Images that are.
    faults, warnings : ndarray of str, shape (n,)
    raw : ndarray of int, shape (n, 3)
        Columns :data:`RECORDED`.
    """

    pixels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    faults: NDArray[np.str_]
    warnings: NDArray[np.str_]
    raw: NDArray[np.int64]

    @classmethod
    def of(cls, images: list[Decoded], size: int) -> Chunk:
        """Put decoded images together."""
        pixels = [image.image for image in images if image.image is not None]
        thumbnails = [image.thumbnail for image in images if image.fault]
        return cls(
            np.array(pixels, dtype=np.uint8).reshape(-1, size, size),
            np.array(thumbnails, dtype=np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL),
            np.array([image.fault for image in images], dtype=np.str_),
            np.array([image.warning for image in images], dtype=np.str_),
            np.array([image.raw for image in images], dtype=np.int64),
        )

    def save(self, path: Path) -> None:
        """Write a chunk's file, all or nothing."""
        with atomic_file(path) as partial, partial.open("wb") as stream:
            np.savez(stream, **vars(self))


def read_part(path: Path, name: str) -> NDArray[Any]:
    """One array of a chunk's file."""
    with np.load(path, allow_pickle=False) as arrays:
        part: NDArray[Any] = arrays[name]
        return part


def decode_all(
    read: Reader, frame: pd.DataFrame, size: int, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """Decode every image of a cohort into chunk files.

    Parameters
    ----------
    read : callable
        Decodes one row, see :func:`reader`.
    frame : DataFrame
        The cohort's.
    size : int
        Side of the stored square, pixels.
    folder : Path
        Chunk files; what is there from an earlier call for the same cohort is not decoded again.
    progress : callable, optional
        Told about images done.

    Returns
    -------
    list of Path
        Chunk files in the order of the cohort, see :class:`Chunk`.

    Raises
    ------
    DataError
        If reading an image fails otherwise than by not decoding; names image and file.
    """
    paths = [folder / f"{start:08d}.npz" for start in range(0, len(frame), CHUNK)]
    done = 0
    for path, images in _by_chunk(read, frame, paths):
        if images:
            Chunk.of([_result(image, frame, done + i) for i, image in enumerate(images)], size).save(path)
        done = min(done + CHUNK, len(frame))
        if progress:
            progress("decode images", done, len(frame))
    return paths


def _by_chunk(
    read: Reader, frame: pd.DataFrame, paths: list[Path]
) -> Iterator[tuple[Path, list[Future[Decoded]]]]:
    """Each chunk with its images, on their way; none if the chunk is there. One chunk ahead."""
    pool = ThreadPoolExecutor(_n_cores())
    begun: deque[tuple[Path, list[Future[Decoded]]]] = deque()
    try:
        for start, path in zip(range(0, len(frame), CHUNK), paths, strict=True):
            part = frame.iloc[:0] if path.is_file() else frame.iloc[start : start + CHUNK]
            rows: list[Any] = part.to_dict("records")
            begun.append((path, [pool.submit(read, row) for row in rows]))
            if len(begun) > 1:
                yield begun.popleft()
        yield from begun
    finally:
        pool.shutdown(cancel_futures=True)


def _result(image: Future[Decoded], frame: pd.DataFrame, row: int) -> Decoded:
    try:
        return image.result()
    except RadtransferError:
        raise
    except Exception as error:
        image_id, path = frame.iloc[row][["image_id", "path"]]
        message = f"image {image_id} was not read from {path}: {type(error).__name__}: {error}"
        raise DataError(message) from error


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
