"""What a person sees while the study runs: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

HEARTBEAT_S = 60.0
"""Seconds between two signs of life where there is no terminal."""


def duration(seconds: float) -> str:
    """Time as a person says it: ``"4.2 s"``, ``"3 min 20 s"``, ``"2 h 05 min"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class LastLine:
    """Writable stream that keeps the last line written to it; a notebook's own progress."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        """Take what a notebook printed."""
        # a progress bar rewrites its line with carriage returns
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        if lines:
            self.text = lines[-1]
        return len(text)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


class Reporter:
    """Says what the driver does.

    Parameters
    ----------
    console : rich Console, optional
        Standard output by default; whether it is a terminal decides the form.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()

    def line(self, text: str) -> None:
        """Print one line, however long."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def running(self, name: str, expected_s: float | None) -> Iterator[LastLine]:
        """Show that a step is under way, for how long, and how long the last run took.

        Parameters
        ----------
        name : str
            The step.
        expected_s : float or None
            Seconds it took last time, if known.

        Yields
        ------
        LastLine
            Where the step's output goes; its last line is shown.
        """
        of = f" of about {duration(expected_s)}" if expected_s else ""
        last, done = LastLine(), Event()
        show = self._live if self.console.is_terminal else self._heartbeat
        thread = Thread(target=show, args=(name, of, last, done), daemon=True)
        thread.start()
        try:
            yield last
        finally:
            done.set()
            thread.join()

    def _live(self, name: str, of: str, last: LastLine, done: Event) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(name, total=None, note=of)
            while not done.wait(0.2):
                progress.update(task, note=f"{of}  {last.text}"[:120])

    def _heartbeat(self, name: str, of: str, last: LastLine, done: Event) -> None:
        start = monotonic()
        while not done.wait(HEARTBEAT_S):
            note = f": {last.text}" if last.text else ""
            self.line(f"        {name}, {duration(monotonic() - start)}{of}{note}")
