"""Write book/timings.csv from a fresh clone in which `make study` and `make test` were run.

    python tools/record_timings.py PATH_OF_THE_CLONE

Only a first run counts: steps that were skipped would look fast.
"""

import csv
import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "book" / "timings.csv"


def rows(clone: Path) -> list[tuple[str, str, float]]:
    """Command, step and seconds, with a total for each command."""
    study = json.loads((clone / "work/study/quick/timings.json").read_text())
    checks = json.loads((clone / "work/test/checks.json").read_text())
    if not study["complete"] or checks["failed"]:
        sys.exit("record_timings: a step was skipped or a check failed; use a fresh clone")
    steps = {"environment": study["environment_s"], **study["steps_s"], "book": study["book_s"]}
    return [
        (f"make {command}", step, round(value, 1))
        for command, seconds, total in (
            ("study", steps, study["all_s"]),
            ("test", checks["seconds"], sum(checks["seconds"].values())),
        )
        for step, value in (*seconds.items(), ("all", total))
    ]


def main() -> None:
    """Write the table."""
    found = rows(Path(sys.argv[1]))
    with TARGET.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("Command", "Step", "Seconds"))
        writer.writerows(found)


if __name__ == "__main__":
    main()
