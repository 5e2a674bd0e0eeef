"""Runs that fail: each with a clear record, while the others go on."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from radtransfer.errors import InputError, RadtransferError, RunError
from radtransfer.training.runs import RunSpec, RunStore

OUT_OF_MEMORY = ("ResourceExhaustedError", "RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory")
"""How TensorFlow, JAX and PyTorch say it, in the name or the text of their errors."""


def explain(error: Exception) -> RadtransferError:
    """What a failure means to a person.

    Parameters
    ----------
    error : Exception
        Whatever ended a run.

    Returns
    -------
    RadtransferError
        The same, if it is one of the package's own.
    """
    if isinstance(error, RadtransferError):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(mark in text for mark in OUT_OF_MEMORY):
        return RunError(
            "out of memory", hint="use a smaller batch_size or input_size, or close other programs"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            "the disk is full", hint="free some space or set RADTRANSFER_WORK to another disk, then run again"
        )
    return RunError(text.splitlines()[0])


class Failures:
    """Failures among the runs of one call.

    Parameters
    ----------
    store : RunStore
        Keeps a record of each.
    tell : callable of str
        Told of each when it happens.
    """

    def __init__(self, store: RunStore, tell: Callable[[str], None]) -> None:
        self.store, self.tell = store, tell
        self._found: list[tuple[RunSpec, RadtransferError]] = []

    @contextmanager
    def of(self, runs: Sequence[RunSpec]) -> Iterator[None]:
        """Let the block fail for these runs alone.

        Input that is wrong for all runs (:class:`~radtransfer.errors.InputError`) and the user's
        interruption pass.
        """
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            told = explain(error)
            if told is not error:
                told.__cause__ = error
            for run in runs:
                self._found.append((run, told))
                self.tell(f"{run_title(run)}: FAILED: {told}")
                try:
                    self.store.fail(run, told, traceback.format_exc())
                except (OSError, RadtransferError) as second:  # the disk may be what failed
                    self.tell(f"{run_title(run)}: its failure could not be recorded: {second}")

    def raise_if_any(self) -> None:
        """Raise what happened once all runs have had their turn.

        Raises
        ------
        RadtransferError
            The failure, or a list of several.
        """
        if not self._found:
            return
        (run, error), *others = self._found
        if not others:
            raise type(error)(_titled(run, error.message), hint=error.hint) from error
        lines = "; ".join(_titled(run, str(error)) for run, error in self._found)
        raise RunError(
            f"{len(self._found)} runs failed, the others are finished: {lines}",
            hint="run again when the causes are removed: what is finished stays",
        ) from error


def run_title(run: RunSpec) -> str:
    """What people call a run."""
    return f"{run.model}, fold {run.fold + 1}"


def _titled(run: RunSpec, message: str) -> str:
    return message if message.startswith(run_title(run)) else f"{run_title(run)}: {message}"
