"""Why a step runs: its key, kept in parts so that what changed can be named.

A step's key covers everything that can change its result: the notebook's code, the package under
it, its parameters, the checksums of its data, the dependency lock, the interpreter, and the keys of
the steps it builds on. Of the package only this sub-package and the command line are left out:
imports point one way (a test keeps it so), hence no notebook's result can depend on them.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

import radtransfer
from radtransfer import paths
from radtransfer.data.manifest import load_manifest
from radtransfer.hashing import sha256_file, sha256_json
from radtransfer.study.machine import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from radtransfer.data.manifest import Dataset, WeightsEntry
    from radtransfer.study.profiles import Notebook, NotebookParameters

PACKAGE = Path(radtransfer.__file__).parent
DRIVER = ("study", "cli.py", "__main__.py")
"""Parts of the package that no notebook imports."""


class KeyParts(BaseModel):
    """What a step's result depends on.

    Attributes
    ----------
    notebook : str
        Digest of the code cells.
    parameters : dict
        NotebookParameters as the profile gives them.
    src : dict of str to str
        Digest by file of the package.
    data : dict of str to str
        Digest by manifest entry, and by further file that the notebook reads.
    lock : str
        Digest of ``requirements.lock``, see :func:`radtransfer.study.machine.lock_file`.
    python : str
        Version of the interpreter.
    previous : dict of str to str
        Key by step that this one needs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notebook: str
    parameters: dict[str, Any]
    src: dict[str, str]
    data: dict[str, str]
    lock: str
    python: str
    previous: dict[str, str]

    @property
    def key(self) -> str:
        """The step's key: 64 hexadecimal digits."""
        return sha256_json(self.model_dump())

    def changes_since(self, before: KeyParts) -> str:
        """Say what changed.

        Parameters
        ----------
        before : KeyParts
            The parts under which the step last ran.

        Returns
        -------
        str
            For instance ``"parameters changed: EPOCHS 2 -> 3; src changed: data/store.py"``;
            empty if nothing did.
        """
        reasons = []
        if self.notebook != before.notebook:
            reasons.append("notebook changed")
        if changed := _changed(before.parameters, self.parameters):
            told = [
                f"{name} {_short(before.parameters.get(name))} -> {_short(self.parameters.get(name))}"
                for name in changed
            ]
            reasons.append(f"parameters changed: {', '.join(told)}")
        if changed := _changed(before.src, self.src):
            reasons.append(f"src changed: {_first(changed)}")
        if changed := _changed(before.data, self.data):
            reasons.append(f"data changed: {_first(changed)}")
        if self.lock != before.lock:
            reasons.append("requirements.lock changed")
        if self.python != before.python:
            reasons.append(f"Python changed: {before.python} -> {self.python}")
        if changed := _changed(before.previous, self.previous):
            reasons.append(f"built on {_first(changed)}, which ran again")
        return "; ".join(reasons)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    absent = object()
    return sorted(name for name in {*before, *after} if before.get(name, absent) != after.get(name, absent))


def _first(names: list[str], count: int = 3) -> str:
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest} more" if rest > 0 else "")


def _short(value: object, width: int = 40) -> str:
    text = json.dumps(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def key_parts(notebook: Notebook, parameters: NotebookParameters, previous: Mapping[str, str]) -> KeyParts:
    """Collect what a step's result depends on, as it stands now.

    Parameters
    ----------
    notebook : Notebook
        The step.
    parameters : NotebookParameters
        Its checked parameters.
    previous : mapping of str to str
        Keys of the steps it needs.

    Returns
    -------
    KeyParts
        To be compared with those of the last run.
    """
    lock = lock_file()
    return KeyParts(
        notebook=code_digest(notebook.path),
        parameters=parameters.model_dump(mode="json"),
        src=src_digests(),
        data=data_digests(parameters) | _file_digests(notebook),
        lock=_digest(lock),
        python=platform.python_version(),
        previous=dict(previous),
    )


def _digest(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _file_digests(notebook: Notebook) -> dict[str, str]:
    return {name: _digest(paths.project_root() / name) for name in notebook.reads}


def code_digest(notebook: Path) -> str:
    """Digest of a notebook's code cells; prose and outputs do not count."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return sha256_json(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"])


def src_digests() -> dict[str, str]:
    """Digest by file of the package, data files included, without driver and command line."""
    return {str(path.relative_to(PACKAGE)): sha256_file(path) for path in _sources()}


def _sources() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        hidden = any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and inside.parts[0] not in DRIVER:
            yield path


def data_digests(parameters: NotebookParameters) -> dict[str, str]:
    """Digest by manifest entry that a notebook reads.

    An entry pins the checksum of every file, so that it stands for the data. Where the files come
    from does not matter: every source must give the same bytes.
    """
    manifest = load_manifest()
    used: dict[str, Dataset | WeightsEntry] = {name: manifest.dataset(name) for name in parameters.datasets}
    if parameters.uses_weights:
        used |= {f"weights of {name}": entry for name, entry in manifest.weights.items()}
    return {
        name: sha256_json(entry.model_dump(mode="json", exclude={"sources"})) for name, entry in used.items()
    }
