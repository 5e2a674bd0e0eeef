"""Decoding a cohort's images on all cores, in chunks from which a killed process goes on.

A chunk is decoded, and its file written, by one worker: pixels do not travel between processes, and there
are no more chunks in memory than cores, however large the cohort.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from PIL import Image, ImageOps

from radtransfer.atomic import atomic_file
from radtransfer.data.cohort import LABEL
from radtransfer.data.fingerprints import COMPARED, RESEMBLING, fingerprint
from radtransfer.data.fingerprints import THUMBNAIL as INDEXED
from radtransfer.data.images import DecodeError, standardise
from radtransfer.data.quality import defect, warning
from radtransfer.errors import DataError, RadtransferError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from radtransfer.data.fetch import Progress
    from radtransfer.data.formats import Format
    from radtransfer.data.images import Grey

CHUNK: Final = 64
"""Images between two points from which decoding resumes."""

AT_HAND: Final = 16
"""Chunks whose rows are read from the cohort's file at once."""

FEW: Final = 512
"""Images up to which threads decode: processes are faster, but need a second to start."""

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


@dataclass(frozen=True)
class FromFiles:
    """Way from a row of the cohort, through its raw file, to the square that is stored.

    Attributes
    ----------
    layout : Format
        Reads the raw files.
    root : Path
        Folder of the raw files.
    size : int
        Side of the square, pixels.
    """

    layout: Format
    root: Path
    size: int

    def __call__(self, row: Mapping[str, Any]) -> Decoded:
        """Read, judge and reduce an image."""
        path = self.root / row["path"]
        alone = pd.isna(row.get("frame")) and path.is_file()
        file_bytes = path.stat().st_size if alone else 0
        try:
            image = self.layout.read_image(self.root, row)
        except DecodeError:
            return Decoded(None, DOES_NOT_DECODE, raw=(file_bytes, 0, 0))
        raw, modality = (file_bytes, *image.shape), row["modality"]
        if fault := defect(image, self.size, modality=modality):
            return Decoded(None, fault, thumbnail=thumbnail(image), raw=raw)
        return Decoded(standardise(image, self.size), warning=warning(image, modality=modality), raw=raw)


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
    digests, small, large : ndarray
        Their :class:`~radtransfer.data.fingerprints.Fingerprints`.
    thumbnails : ndarray of uint8, shape (n_excluded, 64, 64)
        Images that are excluded.
    faults, warnings : ndarray of str, shape (n,)
    raw : ndarray of int, shape (n, 3)
        Columns :data:`RECORDED`.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.bytes_]
    small: NDArray[np.uint8]
    large: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    faults: NDArray[np.str_]
    warnings: NDArray[np.str_]
    raw: NDArray[np.int64]

    @classmethod
    def of(cls, images: Sequence[Decoded], size: int) -> Chunk:
        """Put decoded images together."""
        pixels = [image.image for image in images if image.image is not None]
        prints = [fingerprint(image, size=min(size, COMPARED)) for image in pixels]
        thumbnails = [image.thumbnail for image in images if image.fault]
        return cls(
            np.array(pixels, dtype=np.uint8).reshape(-1, size, size),
            np.array([digest for digest, _, _ in prints], dtype="S16"),
            np.array([small for _, small, _ in prints], dtype=np.uint8).reshape(-1, INDEXED, INDEXED),
            np.array([large for _, _, large in prints], dtype=np.uint8).reshape(-1, RESEMBLING, RESEMBLING),
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


def shelve(frame: pd.DataFrame, path: Path) -> None:
    """Write a cohort's frame to a file, for :func:`decode_all`, so that it need not stand in memory."""
    with atomic_file(path) as partial:
        frame.to_parquet(partial, index=False, row_group_size=AT_HAND * CHUNK)


def decode_all(
    read: Reader, cohort: Path, size: int, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """Decode every image of a cohort into chunk files.

    Parameters
    ----------
    read : callable
        Decodes one row, see :class:`FromFiles`; of more than :data:`FEW` images in other processes. The row
        has all columns but labels: what an image shows does not depend on them.
    cohort : Path
        Its frame, see :func:`shelve`; read piece by piece.
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
    from pyarrow.parquet import ParquetFile  # of no use to the processes that decode

    with ParquetFile(cohort) as table:
        n = table.metadata.num_rows
        paths = {start: folder / f"{start:08d}.npz" for start in range(0, n, CHUNK)}
        missing = {start for start, path in paths.items() if not path.is_file()}
        by_processes = len(missing) * CHUNK > FEW
        work = Parallel(
            n_jobs=-1,
            prefer="processes" if by_processes else "threads",
            return_as="generator_unordered",
            batch_size=1,
        )
        columns = [name for name in table.schema_arrow.names if not name.startswith(LABEL)]
        chunks = (
            delayed(_decode)(read, rows.to_pylist(), size, paths[start], os.getpid())
            for start, rows in zip(paths, table.iter_batches(CHUNK, columns=columns), strict=True)
            if start in missing
        )
        done = n - sum(min(CHUNK, n - start) for start in missing)
        for n_images in work(chunks):
            done += n_images
            if progress:
                progress("decode images", done, n)
    if by_processes:
        get_reusable_executor().shutdown()  # their memory is wanted for what follows
    return list(paths.values())


def _decode(read: Reader, rows: list[dict[str, Any]], size: int, path: Path, parent: int) -> int:
    """Decode a chunk into its file; number of images."""
    _settle(parent)
    Chunk.of([_read(read, row) for row in rows], size).save(path)
    return len(rows)


def _read(read: Reader, row: Mapping[str, Any]) -> Decoded:
    try:
        return read(row)
    except RadtransferError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"image {row['image_id']} was not read from {row['path']}: {what}") from error


@cache
def _settle(parent: int) -> None:
    """Let this process, if it is another one, keep to its core, and end when its parent is killed."""
    if os.getpid() == parent:
        return
    cv2.setNumThreads(1)

    def watch() -> None:
        while os.getppid() == parent:
            sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
