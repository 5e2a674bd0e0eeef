"""Make ``.venv`` of the hash-pinned locks; the first step of every ``make`` target.

Runs on the system's Python with nothing installed. An environment that matches its lock is left as
it is. pip installs uv from ``bootstrap.lock``, uv everything else from ``requirements.lock``: both
refuse a file whose hash is not listed, and uv is several times faster.

``python tools/install.py EXTRA ...`` makes an environment of its own, ``.venv-EXTRA``: what
``requirements-EXTRA.lock`` lists comes on top, or instead. The lock in that folder lists everything in it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"

FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
"""Settings of pip that uv has too, under another name; uv does not read pip's."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the checkout.

    Attributes
    ----------
    folder : Path
    extras : tuple of str
        Names of the locks beside ``requirements.lock``.
    """

    folder: Path
    extras: tuple[str, ...] = ()

    @classmethod
    def of(cls, extras: list[str]) -> Environment:
        """Environment of the study, or another one with extras; an unknown extra ends the program."""
        names = sorted(set(extras))
        for name in names:
            if not (ROOT / extra_lock(name)).is_file():
                known = sorted(path.stem.partition("-")[2] for path in ROOT.glob(extra_lock("*")))
                sys.exit(f"make: there is no extra {name!r}; there are {', '.join(known)}")
        return cls(ROOT / "-".join((".venv", *names)), tuple(names))

    @property
    def stamp(self) -> Path:
        """Says what the environment was made of, once it is complete."""
        return self.folder / "radtransfer-install.json"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def tool(self) -> Path:
        """Folder of uv: its own, so that making the environment exact does not remove it."""
        return self.folder / "bootstrap"

    @property
    def lock(self) -> Path:
        """Everything that is installed in it: with extras a lock of its own."""
        return (self.folder if self.extras else ROOT) / LOCK

    def made_of(self) -> dict[str, str]:
        """Everything the environment is made of, by name."""
        files = ("bootstrap.lock", LOCK, *map(extra_lock, self.extras), "pyproject.toml")
        digests = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in files}
        return {**digests, "Python": platform.python_version(), "folder": str(ROOT)}

    def why_not(self) -> str:
        """Why the environment has to be made; empty if it stands."""
        if not self.python.exists():
            return "there is none yet"
        if not self.stamp.is_file():
            return "it was not completed, or not made by make"
        before = json.loads(self.stamp.read_text())["made_of"]
        changed = [name for name, value in self.made_of().items() if before.get(name) != value]
        return f"{', '.join(changed)} changed" if changed else ""

    def version(self) -> str:
        """Version of the environment's interpreter; empty if it does not start."""
        command = (self.python, "-c", "import platform; print(platform.python_version())")
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""


def extra_lock(name: str) -> str:
    """File name of an extra's lock."""
    return f"requirements-{name}.lock"


def joined(lock: str, *extras: str) -> str:
    """Lock that the locks of extras add to: their pins stand instead of others of the same package.

    A line ``# instead of PACKAGE`` takes out another one.
    """
    for extra in extras:
        names = {*re.findall(r"^# instead of (\S+)$", extra, re.M), *re.findall(r"^(\S+)==", extra, re.M)}
        entries = re.split(r"^(?=\w)", lock, flags=re.M)
        lock = "".join(entry for entry in entries if entry.partition("==")[0] not in names) + extra
    return lock


def run(*command: str | Path, **environment: str) -> None:
    """Run a command; its failure ends the installation."""
    try:
        subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=os.environ | environment)
    except subprocess.CalledProcessError as error:
        sys.exit(f"make: installation stopped (see above): {' '.join(error.cmd)}")


def index_settings(python: str | Path) -> dict[str, str]:
    """Where pip finds packages, for uv; what the user set for uv itself wins."""
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
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
    environment = Environment.of(sys.argv[1:])
    name, made_of = environment.folder.name, environment.made_of()
    reason = environment.why_not()
    if not reason:
        locks = " and ".join((LOCK, *map(extra_lock, environment.extras)))
        print(f"environment: {name} matches {locks}, nothing to install")
        return
    print(f"environment: making {name} with Python {made_of['Python']}: {reason}", flush=True)
    start = time.monotonic()
    environment.stamp.unlink(missing_ok=True)
    if environment.version() != made_of["Python"]:
        run(sys.executable, "-m", "venv", "--clear", environment.folder)
    shutil.rmtree(environment.tool, ignore_errors=True)
    run(
        environment.python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--no-deps",
        "--target",
        environment.tool,
        "-r",
        "bootstrap.lock",
    )
    # the best match over all indexes is what pip does; hashes make it safe
    settings = {
        "UV_COMPILE_BYTECODE": "1",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        **index_settings(environment.python),
    }
    # in a terminal uv shows its progress, elsewhere it would list every package
    uv = (environment.tool / "bin" / "uv", "pip", *(() if sys.stdout.isatty() else ("--quiet",)))
    if environment.extras:
        texts = [(ROOT / lock).read_text() for lock in (LOCK, *map(extra_lock, environment.extras))]
        environment.lock.write_text(joined(*texts))
    run(*uv, "sync", "--python", environment.python, "--require-hashes", environment.lock, **settings)
    run(
        *uv,
        "install",
        "--python",
        environment.python,
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        ".",
        **settings,
    )
    seconds = round(time.monotonic() - start, 1)
    environment.stamp.write_text(json.dumps({"seconds": seconds, "made_of": made_of}, indent=2) + "\n")
    print(f"environment: ready after {seconds} s")


if __name__ == "__main__":
    main()
