"""The whole study: notebooks, book, and the time each took."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.table import Table

from radtransfer import paths
from radtransfer.atomic import write_json
from radtransfer.errors import StepError
from radtransfer.study.driver import StudyLog, run_study
from radtransfer.study.profiles import load_profile
from radtransfer.study.progress import Reporter, duration
from radtransfer.study.publish import verify_results

if TYPE_CHECKING:
    from collections.abc import Mapping


def installation_s() -> float | None:
    """Seconds that making this environment took, if make made it."""
    stamp = Path(sys.prefix) / "radtransfer-install.json"
    if not stamp.is_file():
        return None
    seconds: float = json.loads(stamp.read_text(encoding="utf-8"))["seconds"]
    return seconds


def build(profile: str | None = None) -> Path:
    """Render the book of a profile that was run, or of the published results.

    Parameters
    ----------
    profile : str, optional
        Name of a profile; the published results without it.

    Returns
    -------
    Path
        Folder of the HTML.

    Raises
    ------
    StepError
        If a step of the profile is not complete: its book would mix two runs.
    DataError
        If a published file is not the one that was published.
    """
    from radtransfer.study.bookbuild import build_book

    if profile is None:
        if paths.results_dir().is_dir():
            verify_results(paths.results_dir())
    elif StudyLog.path(profile).is_file():
        check_steps(profile)
    return build_book(profile)


def build_pdf(profile: str | None = None) -> Path:
    """Render the book as `build` does, and print it.

    Parameters
    ----------
    profile : str, optional
        Name of a profile; the published results without it.

    Returns
    -------
    Path
        ``book.pdf``, beside the folder of the HTML.

    Raises
    ------
    PrintError
        If there is no Chromium, or it fails; and whatever `build` raises.
    """
    from radtransfer.study.bookprint import print_book

    html = build(profile)
    return print_book(html, html.with_name("book.pdf"))


def check_steps(name: str, taken: Mapping[str, str] | None = None) -> None:
    """Check that what a profile's steps left is of one run.

    Parameters
    ----------
    name : str
        Name of the profile.
    taken : mapping of str to str, optional
        Steps that were not run, and the digests of the records that stood for theirs.

    Raises
    ------
    StepError
        Naming the first step that is not complete, or older than one that it builds on.
    """
    profile = load_profile(name)
    log = StudyLog.read(profile)
    keys = log.keys(taken)
    for step in (step for step in profile.notebooks if step not in (taken or {})):
        entry = log.steps.get(step)
        if entry is None or any(keys.get(need) != key for need, key in entry.parts.previous.items()):
            raise StepError(
                f"{step} of profile {name!r} has not been run since the steps it builds on",
                hint=f"radtransfer run --profile {name}",
            )


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
    reporter = reporter or Reporter()
    begin = monotonic()
    results = run_study(profile, force=force, reporter=reporter)
    start = monotonic()
    reporter.line("run     book")
    page = build(profile)
    book_s = monotonic() - start
    reporter.line(f"done    book in {duration(book_s)}")

    table = Table("step", "time", "why", box=None, pad_edge=False)
    if (made := installation_s()) is not None:
        table.add_row("environment", duration(made), "when .venv was made")
    for result in results:
        time = duration(result.seconds) if result.reason else "-"
        table.add_row(result.name, time, result.reason or "nothing changed")
    table.add_row("book", duration(book_s), "")
    reporter.console.print(table)
    write_json(
        paths.study_dir(profile) / "timings.json",
        {
            "environment_s": made,
            "steps_s": {result.name: result.seconds for result in results},
            "complete": all(result.reason for result in results),
            "book_s": book_s,
            # notebooks that run side by side take less than the sum of their times
            "all_s": (made or 0.0) + monotonic() - begin,
        },
    )
    reporter.line(f"book: {page}")
