"""Errors that are messages to a person: what is wrong, where, and what to do about it."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


LONGEST = 1200
"""Characters of a message above which its middle is left out."""


class RadtransferError(Exception):
    """Base of every error the command line reports in one line.

    Parameters
    ----------
    message : str
        What is wrong and where. Made one line of printable characters, whatever a file put into it.
    hint : str, optional
        What to do about it; appended to the message.

    Attributes
    ----------
    exit_status : int
        Exit status of the command line: 2 for wrong input, 1 for a failure while running.
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = _one_line(message)
        self.hint = _one_line(hint)
        super().__init__(f"{self.message} ({self.hint})" if hint else self.message)

    def __reduce__(self) -> tuple[Callable[[str], RadtransferError], tuple[str]]:
        # from another process the same words come back
        return partial(type(self), hint=self.hint), (self.message,)


def _one_line(text: str) -> str:
    """Text without what a file may have put into it to break a line or command a terminal."""
    words = " ".join(text.split())
    if len(words) > LONGEST:
        words = f"{words[: LONGEST // 2]} [...] {words[-LONGEST // 4 :]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in words)


class InputError(RadtransferError, ValueError):
    """A parameter, file or table that the caller can correct."""

    exit_status = 2


class DataError(RadtransferError):
    """Data that are absent, damaged or not what their manifest entry says."""


class LeakageError(DataError, ValueError):
    """A patient, duplicate group or image that would stand in two parts of a split."""


class WeightsError(RadtransferError):
    """Pretrained weights that are damaged or do not fit their network."""


class RunError(RadtransferError):
    """A training run that could not be completed."""


class StepError(RadtransferError):
    """A notebook of the study that failed."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Error for a name that does not exist, with the nearest one that does.

    Parameters
    ----------
    kind : str
        What the name should name, for instance ``"profile"``.
    name : str
        The name as given.
    known : iterable of str
        Valid names.

    Returns
    -------
    InputError
        To be raised by the caller.
    """
    valid = sorted(known)
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(valid)}"
    return InputError(f"unknown {kind} {name!r}", hint=hint)
