"""Pieces of MyST Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUBJECT = re.compile(r"(https?://[^\s;,)]+)")


def cell(text: str) -> str:
    """Text of a table's cell: in one line, without a bar that would end it."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = ()) -> str:
    """Table whose cells are Markdown.

    Parameters
    ----------
    head : sequence of str
        Heads of the columns.
    rows : iterable of sequence of str
    numeric : iterable of int
        Columns that are aligned as numbers.

    Returns
    -------
    str
        It scrolls on its own where it is wider than the page.
    """
    right = set(numeric)
    lines = [head, ["--:" if column in right else ":--" for column in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def links(text: str) -> str:
    """Text whose bare addresses are links."""
    return SUBJECT.sub(lambda match: f"<{match[1].rstrip('.')}>" + "." * match[1].endswith("."), text)


def recorded_table(name: str) -> str:
    """Directive that shows a table which a notebook recorded."""
    return f":::{{study-table}} {name}\n:::"


def slug(name: str) -> str:
    """Anchor of an explicit target, as docutils writes it."""
    return name.lower().replace("_", "-")


def details(summary: str, content: str) -> str:
    """Content that is folded until it is asked for."""
    return f":::{{dropdown}} {summary}\n{content}\n:::"
