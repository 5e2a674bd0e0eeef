"""Pin the newest dependencies that fit ``pyproject.toml``: the locks and ``environment.yml``.

``requirements.lock`` is the environment of the study. What an extra adds to it is in a lock of its own,
``requirements-NAME.lock``, which holds nothing but the difference; ``python tools/lock.py --extras`` makes
those alone. ``environment.yml`` is made of ``pyproject.toml`` and ``requirements.lock``, so that users of
conda get the same versions; a test fails when they disagree. ``python tools/lock.py --conda`` makes it alone.
``python tools/lock.py --keep`` adds what is new in ``pyproject.toml`` and leaves every other pin as it is.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
UV = Path(sys.prefix) / "bootstrap" / "bin" / "uv"
OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header")
STUDY = ("pyproject.toml", "--group", "dev", "--fork-strategy", "fewest")
EXTRAS = {"gpu": ("--group", "gpu"), "jax": ("--extra", "jax"), "ray": ("--extra", "ray")}
"""Where ``pyproject.toml`` says what an extra adds, in uv's terms."""
REPLACED = {"gpu": ("tensorflow-cpu",)}
"""Packages that an extra comes instead of."""
CONDA_HEADER = """\
# conda env create -f environment.yml
# Made by `make lock` of pyproject.toml and requirements.lock: the same versions, for users of conda.
"""


def direct_requirements(extra: str = "") -> list[Requirement]:
    """What ``pyproject.toml`` asks for: the study with its development tools, or what an extra adds."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = content["project"], content["dependency-groups"]
    if extra:
        asked = (groups | project["optional-dependencies"])[extra]
    else:
        asked = [*project["dependencies"], *groups["dev"]]
    return [Requirement(line) for line in asked]


def locked_requirements(lock: Path = LOCK) -> list[Requirement]:
    """Pinned requirements of a lock, markers included."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [
        Requirement(line.removesuffix("\\")) for line in lines if line and not line.startswith((" ", "#"))
    ]


def extra_lock(name: str) -> Path:
    """Lock of what an extra adds."""
    return ROOT / f"requirements-{name}.lock"


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


def pin(*asked: str, text: str | None = None) -> str:
    """What uv pins a set of requirements to."""
    command = (str(UV), "pip", "compile", *asked, *OPTIONS, "--quiet")
    return subprocess.run(command, check=True, cwd=ROOT, input=text, text=True, stdout=subprocess.PIPE).stdout


def pin_extra(name: str) -> str:
    """Text of an extra's lock: what pinning it with the study gives beyond ``requirements.lock``."""
    replaced = REPLACED.get(name, ())
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as excluded:
        print(*replaced, sep="\n", file=excluded, flush=True)
        whole = pin(*STUDY, *EXTRAS[name], "--constraints", LOCK.name, "--excludes", excluded.name)
    there = entries(LOCK.read_text(encoding="utf-8"))
    added = [entry for line, entry in entries(whole).items() if line not in there]
    return "\n".join([*(f"# instead of {package}" for package in replaced), *added]) + "\n"


def entries(text: str) -> dict[str, str]:
    """Entries of a lock by the line that pins them; the others are their hashes."""
    return {entry.split("\n")[0]: entry for entry in re.split(r"\n(?=\w)", text.strip())}


def main() -> None:
    """Write what is asked for: all by default."""
    asked = sys.argv[1:]
    if not asked:
        (ROOT / "bootstrap.lock").write_text(pin("-", "--upgrade", text="uv>=0.8\n"), encoding="utf-8")
        LOCK.write_text(pin(*STUDY, "--upgrade"), encoding="utf-8")
    if asked == ["--keep"]:
        LOCK.write_text(pin(*STUDY, "--constraints", LOCK.name), encoding="utf-8")
    if asked != ["--conda"]:
        for name in EXTRAS:
            extra_lock(name).write_text(pin_extra(name), encoding="utf-8")
    (ROOT / "environment.yml").write_text(conda_environment(), encoding="utf-8")


if __name__ == "__main__":
    main()
