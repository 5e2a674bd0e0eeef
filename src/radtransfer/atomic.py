"""Writing that leaves either the whole file or folder, or nothing.

Everything the study keeps is written under a temporary name beside its destination and moved
into place when complete, so that a killed process never leaves a half-written record behind.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtransfer.errors import RadtransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL = ".partial-"
"""Marks temporary names; whatever bears it was abandoned and may be deleted."""


def _explain(error: OSError, target: Path) -> OSError | RadtransferError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RadtransferError(
            f"the disk is full: {target} was not written",
            hint="free some space or set RADTRANSFER_WORK to another disk, then run again",
        )
    return error


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``target`` when the block succeeds.

    Parameters
    ----------
    target : Path
        Final name; its folder is made if need be.

    Yields
    ------
    Path
        Temporary path in the same folder, with the same suffix.

    Raises
    ------
    RadtransferError
        If the disk is full; other errors pass unchanged. Nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=target.suffix, dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes private files; results are as readable as any other file of the user
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(target)
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` when the block succeeds.

    If ``target`` exists by then (another process was faster), the new folder is dropped: folders
    are named by content, so both hold the same.

    Parameters
    ----------
    target : Path
        Final name.

    Yields
    ------
    Path
        Empty temporary folder beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target.parent))
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o777 & ~umask)
        try:
            partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_file(target) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and infinities are refused."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
