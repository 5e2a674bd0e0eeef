"""Ten thousand mutated files through every parser of files from outside.

``python benchmarks/fuzz.py [--files N] [--first SEED] [--quick] [--output FILE.json]``: all parsers in turn,
in a process of their own; ``--quick`` takes a tenth of the files.
Prints a line for every file that crashes or hangs a parser, lets anything but the project's own errors
escape, is refused without its name, or gets the parser to write outside of its folder, to start a program,
to open a connection or to unpickle; then one JSON object with the counts by parser. Fails if there was any
such file. A file is made again by its parser's name and seed; see ``tests/fuzz``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fuzz"))

from harness import Outcome, Worker, summary
from parsers import PARSERS

from radtransfer.atomic import write_json

N_FILES = 10_000
REPORT_EVERY_S = 60


def feed(n_files: int, first: int, outcomes: list[Outcome]) -> None:
    start = told = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Worker(Path(folder).resolve()) as worker:
        for i in range(n_files):
            seed, parser = divmod(i, len(PARSERS))
            outcome = worker.parse(PARSERS[parser], first + seed)
            outcomes.append(outcome)
            if not outcome.ok:
                print(f"{outcome.parser} {outcome.seed}: {outcome.verdict}: {outcome.told}", flush=True)
            if time.monotonic() - told > REPORT_EVERY_S:
                told = time.monotonic()
                print(f"{i + 1} of {n_files} files in {told - start:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=N_FILES)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    start = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):  # what was done until then is told
        feed(options.files // 10 if options.quick else options.files, options.first, outcomes)
    wrong = sum(not outcome.ok for outcome in outcomes)
    report = {
        "files": len(outcomes),
        "wrong": wrong,
        "seconds": round(time.monotonic() - start),
        **summary(outcomes),
    }
    if options.output:
        write_json(options.output, report)
    print(json.dumps(report, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
