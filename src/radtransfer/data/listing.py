"""Checksum lists: what a folder holds now, so that it can be recognised ever after."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from radtransfer.atomic import write_text
from radtransfer.data.manifest import ChecksumList, FileEntry
from radtransfer.hashing import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


def list_files(
    folder: Path, paths: Sequence[str], *, progress: Callable[[str, int, int], None] | None = None
) -> tuple[FileEntry, ...]:
    """Size and SHA-256 of files.

    Parameters
    ----------
    folder : Path
    paths : sequence of str
        Relative to the folder.
    progress : callable, optional
        Called with what is being done, how many files are done, and of how many.

    Returns
    -------
    tuple of FileEntry
        In the order of ``paths``.
    """

    def entry(path: str) -> FileEntry:
        file = folder / path
        return FileEntry(path=path, bytes=file.stat().st_size, sha256=sha256_file(file))

    entries = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(entry, paths):
            entries.append(found)
            if progress:
                progress("hashing", len(entries), len(paths))
    return tuple(entries)


def write_list(entries: Iterable[FileEntry], target: Path) -> ChecksumList:
    """Write a checksum list, all or nothing.

    Parameters
    ----------
    entries : iterable of FileEntry
    target : Path
        File ``<name>.tsv``.

    Returns
    -------
    ChecksumList
        What the manifest says of it.
    """
    rows = [(entry.path, str(entry.bytes), entry.sha256, entry.member) for entry in entries]
    width = 4 if any(row[3] for row in rows) else 3
    header = ("path", "bytes", "sha256", "member")
    write_text(target, "".join("\t".join(row[:width]) + "\n" for row in (header, *rows)))
    (listed,) = list_files(target.parent, [target.name])
    return ChecksumList(path=listed.path, bytes=listed.bytes, sha256=listed.sha256)
