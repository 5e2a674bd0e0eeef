"""All checks of ``make test``, each with the time it took; every one runs, any failure fails."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "work" / "test"

PYTHON = (sys.executable, "-m")
CHECKS = {
    "ruff check": (*PYTHON, "ruff", "check"),
    "ruff format": (*PYTHON, "ruff", "format", "--check"),
    "mypy": (*PYTHON, "mypy"),
    "imports": (Path(sys.executable).with_name("lint-imports"), "--no-cache"),
    "pytest": (*PYTHON, "pytest", "-n", "2", "--dist", "worksteal", "--durations", "20", "-m", "not slow"),
    # every notebook through papermill, then the book with warnings fatal
    "tiny study": (*PYTHON, "radtransfer", "study", "--profile", "tiny"),
}
if (ROOT / "results" / "runs.json").is_file():  # results that were published without it cannot be recomputed
    # a caption that is worded otherwise since the publication is no fault of its results
    CHECKS["results"] = (*PYTHON, "radtransfer", "verify", "--from-predictions", "--data-only")


def main() -> None:
    """Run the checks in order."""
    # records of an earlier call would let steps be skipped that this one must show to work
    shutil.rmtree(SCRATCH, ignore_errors=True)
    environment = os.environ | {"RADTRANSFER_WORK": str(SCRATCH)}
    seconds, failed = {}, []
    for name, command in CHECKS.items():
        print(f"--- {name}", flush=True)
        start = time.monotonic()
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            failed.append(name)
        seconds[name] = round(time.monotonic() - start, 1)
    print("---")
    for name, value in seconds.items():
        print(f"{name:12} {value:7.1f} s  {'FAILED' if name in failed else 'passed'}")
    print(f"{'all':12} {sum(seconds.values()):7.1f} s")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    (SCRATCH / "checks.json").write_text(json.dumps({"seconds": seconds, "failed": failed}, indent=2) + "\n")
    sys.exit(f"make test: {', '.join(failed)} failed" if failed else 0)


if __name__ == "__main__":
    main()
