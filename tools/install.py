"""Make ``.venv`` of the hash-pinned lock; the first step of every ``make`` target.

Runs on the system's Python with nothing installed. An environment that matches its lock is left as
it is. pip installs uv from ``bootstrap.lock``, uv everything else from ``requirements.lock``: both
refuse a file whose hash is not listed, and uv is several times faster.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "radtransfer-install.json"
PYTHON = VENV / "bin" / "python"
TOOL = VENV / "bootstrap"

FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
"""Settings of pip that uv has too, under another name; uv does not read pip's."""


def wanted() -> dict[str, str]:
    """Everything the environment is made of, by name."""
    files = ("bootstrap.lock", "requirements.lock", "pyproject.toml")
    digests = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in files}
    return {**digests, "Python": platform.python_version(), "folder": str(ROOT)}


def why_not(made_of: dict[str, str]) -> str:
    """Why the environment has to be made; empty if it stands."""
    if not PYTHON.exists():
        return "there is none yet"
    if not STAMP.is_file():
        return "it was not completed, or not made by make"
    before = json.loads(STAMP.read_text())["made_of"]
    changed = [name for name, value in made_of.items() if before.get(name) != value]
    return f"{', '.join(changed)} changed" if changed else ""


def python_of_venv() -> str:
    """Version of the environment's interpreter; empty if it does not start."""
    command = (PYTHON, "-c", "import platform; print(platform.python_version())")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def run(*command: str | Path, **environment: str) -> None:
    """Run a command; its failure ends the installation."""
    try:
        subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=os.environ | environment)
    except subprocess.CalledProcessError as error:
        sys.exit(f"make: installation stopped (see above): {' '.join(error.cmd)}")


def index_settings() -> dict[str, str]:
    """Where pip finds packages, for uv; what the user set for uv itself wins."""
    listing = subprocess.run(
        [PYTHON, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, str] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        name = FROM_PIP.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            # pip prints a list as a quoted string with one entry a line
            found[name] = " ".join(str(ast.literal_eval(value)).split())
    return found


def main() -> None:
    """Make the environment, if need be."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        needed = " to ".join(".".join(map(str, limit)) for limit in (OLDEST, NEWEST))
        sys.exit(
            f"make: Python {needed} is needed, this is {platform.python_version()}; "
            "install one, or name it: make PYTHON=python3.11"
        )
    made_of = wanted()
    reason = why_not(made_of)
    if not reason:
        print("environment: .venv matches requirements.lock, nothing to install")
        return
    print(f"environment: making .venv with Python {made_of['Python']}: {reason}", flush=True)
    start = time.monotonic()
    STAMP.unlink(missing_ok=True)
    if python_of_venv() != made_of["Python"]:
        run(sys.executable, "-m", "venv", "--clear", VENV)
    # uv has a folder of its own, so that making the environment exact does not remove it
    shutil.rmtree(TOOL, ignore_errors=True)
    run(
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--no-deps",
        "--target",
        TOOL,
        "-r",
        "bootstrap.lock",
    )
    # the best match over all indexes is what pip does; hashes make it safe
    settings = {"UV_COMPILE_BYTECODE": "1", "UV_INDEX_STRATEGY": "unsafe-best-match", **index_settings()}
    # in a terminal uv shows its progress, elsewhere it would list every package
    uv = (TOOL / "bin" / "uv", "pip", *(() if sys.stdout.isatty() else ("--quiet",)))
    run(*uv, "sync", "--python", PYTHON, "--require-hashes", "requirements.lock", **settings)
    run(
        *uv,
        "install",
        "--python",
        PYTHON,
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        ".",
        **settings,
    )
    seconds = round(time.monotonic() - start, 1)
    STAMP.write_text(json.dumps({"seconds": seconds, "made_of": made_of}, indent=2) + "\n")
    print(f"environment: ready after {seconds} s")


if __name__ == "__main__":
    main()
