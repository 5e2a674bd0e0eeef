"""What this machine can do, on one screen."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from radtransfer import paths
from radtransfer.data.manifest import load_manifest
from radtransfer.study.machine import cores, cpu_model, differences_from_lock, gpus

if TYPE_CHECKING:
    from collections.abc import Iterator

KERAS_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
PROBE_S = 3.0
"""Seconds to wait for a host; a blocked network often does not answer at all."""

MEMORY_GIB, DISK_GIB = 6, 8
"""Memory that VGG16 at 224 px takes, and disk for environment, data and activations."""

State = Literal["ok", "note", "lacking"]


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes
    ----------
    subject : str
        What was looked at.
    state : {"ok", "note", "lacking"}
        ``lacking`` if a run is likely to fail for it.
    text : str
        What was found, and what to do.
    """

    subject: str
    state: State
    text: str


def examine() -> Iterator[Finding]:
    """Look at everything a run needs; runs nothing and downloads nothing.

    Yields
    ------
    Finding
        One a line, cheap ones first.
    """
    yield _python()
    yield Finding("processor", "ok", f"{cores()} cores, {cpu_model()}")
    yield _memory()
    yield _disk()
    found = gpus()
    yield Finding("GPU", "ok" if found else "note", ", ".join(found) or "none seen; the CPU does the work")
    yield _packages()
    yield _mirror()
    yield _data()
    yield _weights()


def _python() -> Finding:
    folder = Path(sys.prefix)
    own = folder.parent == paths.project_root() and folder.name.startswith(".venv")
    name = f"the project's {folder.name}"
    where = name if own else "another environment than the project's .venv: use make"
    return Finding("Python", "ok" if own else "note", f"{platform.python_version()} of {where}")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    free = memory.available / 2**30
    text = f"{free:.1f} GiB of {memory.total / 2**30:.1f} GiB available"
    if free < MEMORY_GIB:
        return Finding("memory", "lacking", f"{text}; `published` takes {MEMORY_GIB}: smaller BATCH_SIZE")
    return Finding("memory", "ok", text)


def _disk() -> Finding:
    folder = paths.work_dir()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free < DISK_GIB:
        text = f"{free:.1f} GiB free in {folder}; {DISK_GIB} are needed: set RADTRANSFER_WORK to another disk"
        return Finding("disk", "lacking", text)
    return Finding("disk", "ok", f"{free:.0f} GiB free in {folder}")


def _packages() -> Finding:
    different = differences_from_lock()
    if not different:
        return Finding("packages", "ok", "as requirements.lock has them")
    name, (locked, installed) = next(iter(different.items()))
    text = f"{len(different)} not as locked, first {name}: {installed or 'absent'} instead of {locked}"
    return Finding("packages", "note", f"{text}; make environment")


def _mirror() -> Finding:
    chosen = os.environ.get("RADTRANSFER_MIRROR")
    if not chosen:
        return Finding("mirror", "note", "RADTRANSFER_MIRROR is not set; data come from their own hosts")
    if not Path(chosen).is_dir():
        return Finding("mirror", "lacking", f"RADTRANSFER_MIRROR={chosen} is not a folder")
    return Finding("mirror", "ok", chosen)


def _data() -> Finding:
    known = [name for name, entry in load_manifest().datasets.items() if not entry.generated]
    here = [name for name in known if (paths.raw_dir() / name).is_dir()]
    absent = [name for name in known if name not in here]
    text = f"fetched: {', '.join(here) or 'none'}"
    return Finding("data", "ok", text + (f"; fetched when needed: {', '.join(absent)}" if absent else ""))


def _weights() -> Finding:
    folder = paths.weights_dir()
    cached = [name for name in load_manifest().weights if any(folder.glob(f"{name}*"))]
    have = f"cached: {', '.join(cached) or 'none'}"
    if os.environ.get("RADTRANSFER_OFFLINE"):
        return Finding("weights", "note", f"{have}; RADTRANSFER_OFFLINE is set, nothing is downloaded")
    if _answers(KERAS_HOST):
        return Finding("weights", "ok", f"{have}; Keras's host answers")
    return Finding("weights", "note", f"{have}; Keras's host does not answer, packages are tried through pip")


def _answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_S):
            return True
    except urllib.error.HTTPError as error:
        # a host answers for a folder with an error of its own; a proxy that forbids it with 403
        return error.code in (400, 404)
    except OSError:
        return False
