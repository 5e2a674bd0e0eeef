"""Pin the newest dependencies that fit ``pyproject.toml``: both locks and ``environment.yml``.

``environment.yml`` is made of the other two, so that users of conda get the same versions; a test
fails when they disagree. ``python tools/lock.py --conda`` makes it alone; ``--keep`` adds what is new
in ``pyproject.toml`` and leaves every other pin as it is.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
UV = ROOT / ".venv" / "bootstrap" / "bin" / "uv"
OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header")
CONDA_HEADER = """\
# conda env create -f environment.yml
# Made by `make lock` of pyproject.toml and requirements.lock: the same versions, for users of conda.
"""


def direct_requirements() -> list[Requirement]:
    """What ``pyproject.toml`` asks for, development tools included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    return [Requirement(line) for line in asked]


def locked_requirements(lock: Path = ROOT / "requirements.lock") -> list[Requirement]:
    """Pinned requirements of a lock, markers included."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [
        Requirement(line.removesuffix("\\")) for line in lines if line and not line.startswith((" ", "#"))
    ]


def conda_environment() -> str:
    """Text of ``environment.yml``: Python, pip, and each direct dependency as it is locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {canonicalize_name(requirement.name) for requirement in direct_requirements()}
    pins = [str(pin) for pin in locked_requirements() if canonicalize_name(pin.name) in direct]
    content = {
        "name": project["name"],
        "channels": ["conda-forge"],
        "dependencies": [f"python{project['requires-python']}", "pip", {"pip": [*pins, "-e ."]}],
    }
    return CONDA_HEADER + yaml.safe_dump(content, sort_keys=False, width=1000)


def main() -> None:
    """Write the locks, unless only conda's file is wanted, and that file."""
    if sys.argv[1:] != ["--conda"]:
        upgrade = () if sys.argv[1:] == ["--keep"] else ("--upgrade",)
        asked = ("pyproject.toml", "--group", "dev", "--fork-strategy", "fewest", *upgrade)
        for name, source, text in (
            ("requirements.lock", asked, None),
            ("bootstrap.lock", ("-", *upgrade), "uv>=0.8\n"),
        ):
            command = (str(UV), "pip", "compile", *source, *OPTIONS, "--quiet", "-o", name)
            subprocess.run(command, check=True, cwd=ROOT, input=text, text=True)
    (ROOT / "environment.yml").write_text(conda_environment(), encoding="utf-8")


if __name__ == "__main__":
    main()
