"""Delimited text, read strictly: a table that breaks its own form is refused with the line that does."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

import pandas as pd

from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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
        One row per line, columns as in the header; an empty field is null.

    Raises
    ------
    DataError
        If the file is missing or no UTF-8 text, names a column twice, lacks a required one, or has a line
        with more or fewer fields than the header. The message names the line.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start})", hint="save it as UTF-8") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    lines = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        rows = []
        for fields in lines:
            if not fields:  # a blank line
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path}, line {lines.line_num}: {len(fields)} fields, but the header has {len(header)}"
                )
            rows.append([field.strip() for field in fields])
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}") from error
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path} has two columns {name!r}")
    for name in required:
        if name not in header:
            raise DataError(f"{path} has no column {name!r}", hint=f"it has: {', '.join(header)}")
    frame = pd.DataFrame(rows, columns=header, dtype=str)
    return frame.mask(frame == "")
