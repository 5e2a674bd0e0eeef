"""Feeding mutated files to parsers in a process of its own, and watching what they do.

The worker reads requests (a parser's name and a seed), builds the case's valid files in a fresh folder,
spoils one and parses. Only :class:`~radtransfer.errors.RadtransferError` may come out of a parser, in one
line that names a file of the case. An audit hook sees what Python code opens, starts, connects to and
unpickles; a listing of the surroundings sees what other code leaves there. The caller ends a worker that
hangs and notices one that dies.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

LIMIT_S = 20.0
"""Most processor time that one file may take."""

PATIENCE = 15
"""By how much more the clock may show, for the machine may be busy."""

START_S = 900
"""Longest wait for a worker, which loads every library first."""

MEMORY_BYTES = 6 << 30
"""Address space of a worker; libraries take 2 GiB of it."""

GROWTH_BYTES = 1 << 30
"""Most by which one file may raise the memory in use."""

LONGEST = 2000
"""Most characters of a message."""

CANARY = "secret/canary.png"
"""Outside of the case's folder; no file may lead there."""

FORBIDDEN = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
    "pickle.find_class", "socket.connect", "socket.bind", "os.symlink", "os.link", "urllib.Request",
    "pty.spawn",
)  # fmt: skip
WRITING = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.utime",
)


@dataclass
class Outcome:
    """What came of one mutated file."""

    parser: str
    seed: int
    verdict: str
    """accepted or refused; or wrong: escaped, message, forbidden, memory, hang, crash."""
    told: str = ""
    seconds: float = 0.0
    advice: bool = False
    """Whether the message says what to do."""

    @property
    def ok(self) -> bool:
        return self.verdict in ("accepted", "refused")


@dataclass
class Watch:
    """Audit hook: remembers what a parser may not do."""

    folder: Path
    seen: list[str] = field(default_factory=list)
    on: bool = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event} {str(args)[:200]}")
        elif event == "open" and isinstance(args[0], (str, bytes)):
            self._check_open(str(Path(os.fsdecode(args[0])).resolve()), args[1], args[2])
        elif event in WRITING and not self._inside(str(Path(os.fsdecode(args[0])).resolve())):
            self.seen.append(f"{event} {args[0]!r}")

    def _inside(self, path: str) -> bool:
        return path.startswith(f"{self.folder}{os.sep}")

    def _check_open(self, path: str, mode: str | None, flags: int) -> None:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+")
        if writes and not self._inside(path) and path != os.devnull:
            self.seen.append(f"wrote {path}")
        if path.endswith(CANARY) or path == "/etc/passwd":
            self.seen.append(f"read {path}")


def _surroundings(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(root.rglob("*"))
        if not path.is_relative_to(root / "case")
    }


def judge(error: Exception | None, names: Iterable[str]) -> tuple[str, str]:
    """Verdict on what a parser raised, and the text to show."""
    from radtransfer.errors import RadtransferError

    if error is None:
        return "accepted", ""
    if not isinstance(error, RadtransferError):
        where = traceback.extract_tb(error.__traceback__)
        own = [
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in where
            if "radtransfer" in frame.filename
        ]
        return "escaped", f"{type(error).__name__}: {str(error)[:200]} ({' < '.join(reversed(own[-3:]))})"
    told = str(error)
    if not told.isprintable() or len(told) > LONGEST:
        return "message", f"not one printable line of at most {LONGEST} characters: {told[:300]!r}"
    if not any(name in told for name in names):
        return "message", f"names no file: {told}"
    return "refused", told


def _peak_kib() -> int:
    """Largest memory of this process; the count of getrusage begins with that of the parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(root: Path, module: str) -> None:
    """Answer requests on standard input until it ends; the cases are those of ``module``."""
    import numpy as np

    source = importlib.import_module(module)
    growth_limit = getattr(source, "GROWTH_BYTES", GROWTH_BYTES)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    cases, case_folder = source.all_cases(), root / "case"
    (root / CANARY).parent.mkdir(parents=True)
    from PIL import Image

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / CANARY)
    around = _surroundings(root)
    watch = Watch(root / "case")
    sys.addaudithook(watch)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries that print
    os.dup2(1, 2)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        parser, seed = json.loads(line)
        rng = random.Random(f"{parser} {seed}")
        case = rng.choice(cases[parser])
        folder = case_folder / f"set{seed}"
        case.write(folder)
        name = case.mutate(folder, rng)
        error, start = None, time.perf_counter()
        peak = _peak_kib()
        watch.seen, watch.on = [], True
        try:
            case.parse(folder)
        except Exception as raised:
            error = raised
        watch.on = False
        seconds = time.perf_counter() - start
        growth = (_peak_kib() - peak) << 10
        verdict, told = judge(error, {*case.names, folder.name})
        before, around = around, _surroundings(root)
        if watch.seen:
            verdict, told = "forbidden", "; ".join(watch.seen[:3])
        elif around != before:
            verdict, told = "forbidden", "something was written outside of the folder"
        elif growth > growth_limit:
            verdict, told = "memory", f"{growth >> 20} MiB"
        answer = {
            "verdict": verdict,
            "told": f"{name}: {told}" if told else "",
            "seconds": seconds,
            "advice": bool(getattr(error, "hint", "")),
        }
        print(json.dumps(answer), file=answers, flush=True)
        _remove(folder)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


class Worker:
    """A process that parses mutated files; started anew when one of them ends it."""

    def __init__(self, root: Path, module: str = "parsers") -> None:
        self.root, self.module, self.process = root, module, None
        self.lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> int:
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        status, self.process = self.process.wait(), None
        return status

    def _start(self) -> None:
        folder = tempfile.mkdtemp(dir=self.root)
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"
        )
        self.process = subprocess.Popen(
            [sys.executable, __file__, folder, self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process.stdout, self.lines), daemon=True).start()
        if self.lines.get(timeout=START_S) != "ready\n":
            raise RuntimeError(f"the worker did not start; run {__file__} {folder} {self.module}")

    @staticmethod
    def _listen(stream: Any, lines: queue.Queue[str]) -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    def _answer(self) -> str | None:
        """A line, nothing if the worker died, None if it hangs.

        Its own processor time counts, for the machine may be busy; and the clock, for it may sleep.
        """
        process, waited = psutil.Process(self.process.pid), 0.0
        begun = sum(process.cpu_times()[:2])
        while waited < PATIENCE * LIMIT_S:
            try:
                return self.lines.get(timeout=1)
            except queue.Empty:
                waited += 1
            with contextlib.suppress(psutil.Error):
                if sum(process.cpu_times()[:2]) - begun > LIMIT_S:
                    return None
        return None

    def parse(self, parser: str, seed: int) -> Outcome:
        """Have one mutated file parsed."""
        if self.process is None:
            self._start()
        self.process.stdin.write(json.dumps([parser, seed]) + "\n")
        self.process.stdin.flush()
        if (answer := self._answer()) is None:
            self._end()
            return Outcome(parser, seed, "hang", f"more than {LIMIT_S:g} s", LIMIT_S)
        if not answer:
            status = self._end()
            return Outcome(
                parser, seed, "crash", signal.Signals(-status).name if status < 0 else f"exit {status}"
            )
        return Outcome(parser, seed, **json.loads(answer))


def summary(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """Counts of verdicts and the slowest file, by parser."""
    by_parser: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_parser.setdefault(outcome.parser, []).append(outcome)
    return {
        parser: {
            "files": len(some),
            **Counter(outcome.verdict for outcome in some),
            "with advice": sum(outcome.advice for outcome in some),
            "slowest_s": round(max(outcome.seconds for outcome in some), 3),
        }
        for parser, some in by_parser.items()
    }


if __name__ == "__main__":
    work(Path(sys.argv[1]).resolve(), sys.argv[2])
