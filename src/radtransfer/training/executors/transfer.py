"""What a unit reads, on machines that have no disk in common: by way of the shared store."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from radtransfer import paths
from radtransfer.errors import RunError
from radtransfer.training.executors.units import Unit
from radtransfer.training.shared import STORE, SharedStore, shared_store


def offer(unit: Unit) -> None:
    """Put all that a unit reads into the shared store, if there is one.

    Parameters
    ----------
    unit : Unit
        With folders of this machine.
    """
    store = shared_store()
    if store is None:
        return
    for name, folder in _read(unit).items():
        store.push(folder, name)


def obtain(unit: Unit) -> Unit:
    """Have all that a unit reads on this machine.

    Parameters
    ----------
    unit : Unit
        With folders of the driver's machine.

    Returns
    -------
    Unit
        With folders of this one.

    Raises
    ------
    RunError
        If a folder is neither on a common disk nor in the shared store.
    """
    store = shared_store()
    if store is None:
        for folder in _read(unit).values():
            if not folder.is_dir():
                raise RunError(
                    f"{folder} is not on this machine",
                    hint=f"give all nodes that folder, or set {STORE} to a store that all can reach",
                )
        return unit
    here = {}
    for name, folder in _read(unit).items():
        here[str(folder)] = str(_fetch(store, name))
    return unit.model_copy(
        update={
            "dataset": here[unit.dataset],
            "weights": here.get(unit.weights, ""),
            "sources": {task: here[folder] for task, folder in unit.sources.items()},
            "store": str(paths.runs_dir()),
        }
    )


def _read(unit: Unit) -> dict[str, Path]:
    """Folders that a unit reads, by their name in the work folder."""
    named = [("curated", unit.dataset), *(("runs", folder) for folder in unit.sources.values())]
    if unit.weights:
        named.append(("weights", unit.weights))
    return {f"{kind}/{Path(folder).name}": Path(folder) for kind, folder in named}


def _fetch(store: SharedStore, name: str) -> Path:
    target = paths.work_dir() / name
    if name.startswith("weights/"):
        _fetch_weights(store, name, target)
    elif not target.is_dir() and not store.fetch(name, target):
        raise RunError(f"{name} is not in the shared store", hint="was it emptied? run again")
    return target


def _fetch_weights(store: SharedStore, name: str, target: Path) -> None:
    """Add files to a folder that may be there without them, where they were looked for in vain."""
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / ".lock"):
        if any(target.glob("*.npz")):
            return
        fetched = target / ".fetched"
        shutil.rmtree(fetched, ignore_errors=True)
        store.fetch(name, fetched)
        for file in sorted(fetched.iterdir(), key=lambda file: file.suffix != ".npz"):  # tensors first
            file.replace(target / file.name)
        fetched.rmdir()
