"""The whole study: notebooks, book, and the time each took."""

from __future__ import annotations

import json
from time import monotonic

from rich.table import Table

from radtransfer import paths
from radtransfer.study.driver import run_study
from radtransfer.study.progress import Reporter, duration


def installation_s() -> float | None:
    """Seconds that making ``.venv`` took, if make made it."""
    stamp = paths.project_root() / ".venv" / "radtransfer-install.json"
    if not stamp.is_file():
        return None
    seconds: float = json.loads(stamp.read_text(encoding="utf-8"))["seconds"]
    return seconds


def run_and_build(profile: str, *, force: bool = False, reporter: Reporter | None = None) -> None:
    """Run a profile, build its book, and print a table of the steps with where the book is.

    Parameters
    ----------
    profile : str
        Name of the profile.
    force : bool
        Run steps whose result stands, too.
    reporter : Reporter, optional
        Says what is done; standard output by default.
    """
    from radtransfer.study.bookbuild import build_book

    reporter = reporter or Reporter()
    results = run_study(profile, force=force, reporter=reporter)
    start = monotonic()
    reporter.line("run     book")
    page = build_book(profile)
    book_s = monotonic() - start
    reporter.line(f"done    book in {duration(book_s)}")

    table = Table("step", "time", "why", box=None, pad_edge=False)
    if (made := installation_s()) is not None:
        table.add_row("environment", duration(made), "when .venv was made")
    for result in results:
        table.add_row(result.name, duration(result.seconds), result.reason or "skipped")
    table.add_row("book", duration(book_s), "")
    reporter.console.print(table)
    reporter.line(f"book: {page}")
