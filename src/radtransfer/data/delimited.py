"""Delimited text, read strictly: a table that breaks its own form is refused with the line that does."""

from __future__ import annotations

import csv
import gzip
import zlib
from typing import TYPE_CHECKING

import pandas as pd

from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_BYTES = 1 << 30
"""Unpacked size above which a table is refused; the largest public one has 50 MB."""

CORRECT = "correct the line, or say what separates fields"


def read_delimited(path: Path, *, required: Iterable[str] = (), separator: str = ",") -> pd.DataFrame:
    """Read a table of text.

    Parameters
    ----------
    path : Path
        UTF-8, with or without byte-order mark; gzipped if its name ends in ``.gz``.
    required : iterable of str
        Columns that must be there.
    separator : str
        What separates fields.

    Returns
    -------
    DataFrame of str
        One row per record, columns as in the header; an empty field is null. The index is the line on which
        the record ends, the header's being the first.

    Raises
    ------
    DataError
        If the file is missing or no UTF-8 text, names a column twice, lacks a required one, or has a line
        with more or fewer fields than the header. The message names the line.
    """
    text = _text(path)
    lines = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        rows, numbers = [], []
        for fields in lines:
            if not fields:  # a blank line
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path}, line {lines.line_num}: {len(fields)} fields, but the header has {len(header)}",
                    hint=CORRECT,
                )
            rows.append([field.strip() for field in fields])
            numbers.append(lines.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}", hint=CORRECT) from error
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path} has two columns {name!r}", hint="rename or remove one")
    for name in required:
        if name not in header:
            raise DataError(f"{path} has no column {name!r}", hint=f"it has: {_listed(header)}")
    frame = pd.DataFrame(rows, columns=header, index=pd.Index(numbers, dtype=int), dtype=str)
    return frame.mask(frame == "")


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def separator_of(path: Path, candidates: Iterable[str]) -> str:
    """Find out what separates the fields of a table.

    Parameters
    ----------
    path : Path
        As for :func:`read_delimited`.
    candidates : iterable of str

    Returns
    -------
    str
        The one candidate that occurs in the header.

    Raises
    ------
    DataError
        If none or several do.
    """
    header = _text(path).split("\n", 1)[0]
    found = [separator for separator in candidates if separator in header]
    if len(found) != 1:
        told = "none" if not found else "several"
        raise DataError(
            f"{path}: the header has {told} of {' '.join(map(repr, candidates))}",
            hint="say what separates fields",
        )
    return found[0]


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES >> 20} MiB", hint="divide the table")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing", hint="restore it") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start})", hint="save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="restore it") from error
