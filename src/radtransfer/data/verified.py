"""Files that have exactly the bytes that the manifest says: checked where they lie or as they are written."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from radtransfer.atomic import atomic_file
from radtransfer.errors import DataError
from radtransfer.hashing import sha256_file

if TYPE_CHECKING:
    from radtransfer.data.manifest import FileEntry

_CHUNK = 1 << 20


class Readable(Protocol):
    """Anything that gives its next bytes, none at its end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""
        ...


@dataclass(frozen=True)
class Problem:
    """A file that is not what the manifest says.

    Attributes
    ----------
    path : str
        Name as in the manifest.
    expected, got : str
        Size or checksum.
    """

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"


def check(files: Sequence[FileEntry], folder: Path) -> tuple[Problem, ...]:
    """Compare files with what they should be: size first, then SHA-256.

    Parameters
    ----------
    files : sequence of FileEntry
    folder : Path
        Where they should be.

    Returns
    -------
    tuple of Problem
        In the order of ``files``; empty if all is well.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda file: check_file(file, folder / file.path), files)
        return tuple(problem for problem in found if problem)


def check_file(file: FileEntry, path: Path) -> Problem | None:
    """Compare one file, wherever it lies, with what it should be."""
    if not path.is_file():
        return Problem(file.path, f"{file.bytes} bytes", "no file")
    if (size := path.stat().st_size) != file.bytes:
        return Problem(file.path, f"{file.bytes} bytes", f"{size}")
    if (digest := sha256_file(path)) != file.sha256:
        return Problem(file.path, f"sha256 {file.sha256}", digest)
    return None


def require_distinct(files: Sequence[FileEntry]) -> None:
    """Refuse files of which one would overwrite another on some file system.

    Raises
    ------
    DataError
        If two names differ only in case or in Unicode form, or one names a folder of another.
    """
    seen: dict[str, str] = {}
    for path in sorted(file.path for file in files):
        folded = unicodedata.normalize("NFC", path).casefold()
        if twin := seen.get(folded):
            raise DataError(f"{path!r} and {twin!r} are one file where case or Unicode form do not count")
        seen[folded] = path
    for folded, path in seen.items():
        for folder in PurePosixPath(folded).parents:
            if twin := seen.get(str(folder)):
                raise DataError(f"{twin!r} is a file, and a folder of {path!r}")


def place(stream: Readable, file: FileEntry, target: Path) -> None:
    """Copy a stream to its place below ``target`` if it has the right bytes.

    Never more than one chunk beyond the expected size is read, whatever the stream claims to be.

    Raises
    ------
    DataError
        If size or checksum differ; nothing is left behind.
    """
    digest, size = hashlib.sha256(), 0
    with atomic_file(target / file.path) as partial:
        with partial.open("wb") as out:
            while size <= file.bytes and (chunk := stream.read(_CHUNK)):
                digest.update(chunk)
                out.write(chunk)
                size += len(chunk)
        if size != file.bytes:
            got = f"{size}" if size < file.bytes else "more"
            raise DataError(str(Problem(file.path, f"{file.bytes} bytes", got)))
        if digest.hexdigest() != file.sha256:
            raise DataError(str(Problem(file.path, f"sha256 {file.sha256}", digest.hexdigest())))
