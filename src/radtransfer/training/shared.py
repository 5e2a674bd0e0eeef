"""A store that machines without a common disk share: any path that fsspec can open.

A folder is kept as its files, each under the SHA-256 of its bytes, and a list that names them. The
list comes last and in one piece, so that a folder without one is not there, and two machines that
write the same folder at once never mix their files.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radtransfer.atomic import atomic_folder
from radtransfer.errors import InputError, RadtransferError, RunError
from radtransfer.hashing import sha256_file
from radtransfer.training.optional import optional

STORE = "RADTRANSFER_STORE"
"""Environment variable that names the store."""

CHECKSUMS = "SHA256SUMS"


def shared_store() -> SharedStore | None:
    """Store that ``RADTRANSFER_STORE`` names, None if it is not set."""
    path = os.environ.get(STORE)
    return SharedStore(path) if path else None


class SharedStore:
    """Folders of files by name, for instance ``runs/0123456789abcdef``.

    Parameters
    ----------
    path : str
        As fsspec takes it: ``s3://bucket/study``, ``/mnt/disk/study``.

    Raises
    ------
    InputError
        If fsspec does not know the protocol, or needs another package for it.
    """

    def __init__(self, path: str) -> None:
        core = optional("fsspec").core
        try:
            self._files, self._root = core.url_to_fs(path)
        except (ImportError, ValueError) as error:
            raise InputError(f"{STORE} cannot be opened: {error}", hint="name a path of fsspec") from None

    def push(self, folder: Path, name: str) -> None:
        """Put a finished folder into the store, unless it is there.

        Parameters
        ----------
        folder : Path
            Its files are taken, sub-folders and hidden files are not.
        name : str
        """
        if self._listed(name) is not None:
            return
        files = sorted(
            file
            for file in folder.iterdir()
            if file.is_file() and file.name != CHECKSUMS and not file.name.startswith(".")
        )
        digests = {file: sha256_file(file) for file in files}
        with self._explained(), tempfile.TemporaryDirectory() as scratch:
            for file, digest in digests.items():
                self._put(file, f"{name}/{digest}")
            listed = Path(scratch) / CHECKSUMS
            listed.write_text(
                "".join(f"{digest}  {file.name}\n" for file, digest in digests.items()), encoding="utf-8"
            )
            self._put(listed, f"{name}/{CHECKSUMS}")

    def fetch(self, name: str, folder: Path) -> bool:
        """Take a folder from the store.

        Parameters
        ----------
        name : str
        folder : Path
            Where it will lie, with the list of its files as ``SHA256SUMS``.

        Returns
        -------
        bool
            Whether the store has it.

        Raises
        ------
        RunError
            If a file of it is damaged.
        """
        listed = self._listed(name)
        if listed is None:
            return False
        with self._explained(), atomic_folder(folder) as partial:
            for line in listed.splitlines():
                digest, file = line.split("  ", 1)
                target = partial / Path(file).name  # a stranger's list may name other folders
                self._files.get_file(f"{self._root}/{name}/{digest}", str(target))
                if sha256_file(target) != digest:
                    raise RunError(
                        f"{file} of {name} is damaged in the shared store",
                        hint=f"delete {name} there and run again",
                    )
            (partial / CHECKSUMS).write_text(listed, encoding="utf-8")
        return True

    def _listed(self, name: str) -> str | None:
        with self._explained():
            try:
                # not by a listing, which file systems remember
                found: bytes = self._files.cat_file(f"{self._root}/{name}/{CHECKSUMS}")
            except FileNotFoundError:
                return None
        return found.decode("utf-8")

    def _put(self, file: Path, name: str) -> None:
        """Write a file in one piece: on a disk others would see it grow."""
        target = f"{self._root}/{name}"
        partial = f"{target}.{secrets.token_hex(4)}"
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(file), partial)
        self._files.mv(partial, target)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RadtransferError:
            raise
        except Exception as error:  # each file system has its own
            raise RadtransferError(
                f"the shared store {self._root} failed: {type(error).__name__}: {error}",
                hint=f"is {STORE} right, and may this machine write there?",
            ) from error
