"""Tables as a reader sees them: accessible, scrollable, formatted as a journal would."""

from __future__ import annotations

import numbers
from html import escape
from typing import Any, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict

from radtransfer.report.numbers import format_interval, format_number
from radtransfer.stats.result import Estimate

ABSENT = "\N{EN DASH}"
"""Shown where there is no value; never ``NaN``."""


def _is_absent(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, Estimate):
        return format_interval(value.estimate, value.low, value.high, level=None, digits=digits)
    if _is_absent(value):
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return str(value)
    # numpy scalars are registered as numbers, but only Python's own are formatted here
    plain = int(value) if isinstance(value, numbers.Integral) else float(value)
    return format_number(plain, digits=digits)


def _html_cell(text: str) -> str:
    """Let an interval go under its estimate where there is little room, and break nowhere else."""
    estimate, _, interval = escape(text).partition(" (")
    return f'{estimate} <span class="rt-interval">({interval}</span>' if interval else estimate


def _with_named_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Make a named index ordinary columns; an unnamed one carries nothing worth showing."""
    named = any(name is not None for name in frame.index.names)
    return frame.reset_index() if named else frame.reset_index(drop=True)


def plain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Frame for a CSV file: each column of `Estimate` becomes ``x``, ``x_low``, ``x_high``.

    Parameters
    ----------
    frame : DataFrame
        Cells may be estimates, numbers, text or missing.

    Returns
    -------
    DataFrame
        Without estimates, a named index as first column.
    """
    columns: dict[str, Any] = {}
    for label, column in _with_named_index(frame).items():
        if any(isinstance(value, Estimate) for value in column):
            for suffix, part in (("", "estimate"), ("_low", "low"), ("_high", "high")):
                columns[f"{label}{suffix}"] = [getattr(value, part, None) for value in column]
        else:
            columns[str(label)] = column
    return pd.DataFrame(columns)


class Table(BaseModel):
    """A table of formatted text.

    Attributes
    ----------
    caption : str
        What the table shows; read out first by screen readers.
    columns : tuple of str
        Column heads. Cells of the first column head their rows.
    rows : tuple of tuple of str
        Formatted cells, as many as there are columns.
    numeric : tuple of bool
        Which columns are aligned as numbers.
    data : str
        Address of the same table as CSV, relative to the page of its notebook; empty if none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    data: str = ""

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, caption: str, digits: int = 3, data: str = "") -> Self:
        """Format a frame whose cells are `Estimate`, numbers, text or missing.

        Parameters
        ----------
        frame : DataFrame
            A named index becomes the first column; an unnamed one is left out.
        caption : str
            What the table shows, and at which level the intervals of its estimates are.
        digits : int
            Decimals of floats and estimates.
        data : str
            Address of the CSV file.
        """
        frame = _with_named_index(frame)
        columns = [list(column) for _, column in frame.items()]
        return cls(
            caption=caption,
            columns=tuple(str(label) for label in frame.columns),
            rows=tuple(zip(*([_cell(value, digits) for value in column] for column in columns), strict=True)),
            numeric=tuple(
                all(isinstance(value, (numbers.Real, Estimate)) or _is_absent(value) for value in column)
                for column in columns
            ),
            data=data,
        )

    def html(self) -> str:
        """Accessible table in a region that scrolls on its own, sideways, on a small screen."""
        caption = escape(self.caption)
        kinds = ["rt-numeric" if numeric else "rt-text" for numeric in self.numeric]
        head = "".join(
            f'<th scope="col" class="{kind}">{escape(label)}</th>'
            for label, kind in zip(self.columns, kinds, strict=True)
        )
        body = "".join(
            "<tr>"
            + f'<th scope="row" class="{kinds[0]}">{escape(row[0])}</th>'
            + "".join(
                f'<td class="{kind}">{_html_cell(cell) if kind == "rt-numeric" else escape(cell)}</td>'
                for cell, kind in zip(row[1:], kinds[1:], strict=True)
            )
            + "</tr>\n"
            for row in self.rows
        )
        link = f'<p class="rt-data"><a href="{escape(self.data)}">Table as CSV</a></p>' if self.data else ""
        return (
            f'<div class="rt-table" role="region" aria-label="{caption}" tabindex="0">\n'
            f"<table>\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}</tbody>\n</table>\n</div>{link}"
        )

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        """One line; notebooks show the HTML."""
        return f"Table: {self.caption} ({len(self.rows)} rows)"
