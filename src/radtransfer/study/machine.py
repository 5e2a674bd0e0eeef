"""What machine and which versions a result was made with; never whose machine, nor where on it."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement

from radtransfer import paths


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def interrupt_kernels() -> None:
    """Interrupt the kernels that this process started, as a terminal would."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ipykernel_launcher" in child.cmdline():
                child.send_signal(signal.SIGINT)


def cpu_model() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs the driver sees; TensorFlow is not asked, it takes seconds to load."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listing.splitlines() if line.strip()]


def lock_file() -> Path:
    """Lock that this environment was made of: the study's, or with extras (GPU=1) the one that lies in it."""
    with_extras = Path(sys.prefix) / "requirements.lock"
    return with_extras if with_extras.is_file() else paths.project_root() / "requirements.lock"


def locked_versions(lock: Path | None = None) -> dict[str, str]:
    """Version by package that the lock asks for on this platform."""
    lines = (lock or lock_file()).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.removesuffix("\\")) for line in lines if line[:1].isalnum()]
    wanted = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in wanted}


def installed_version(package: str) -> str | None:
    """Version of an installed package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def differences_from_lock() -> dict[str, tuple[str, str | None]]:
    """Packages whose installed version is not the locked one: (locked, installed)."""
    pairs = {name: (version, installed_version(name)) for name, version in locked_versions().items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def environment() -> dict[str, Any]:
    """Everything about this machine that a reader needs to judge a number or a time.

    Returns
    -------
    dict
        JSON values: python, system, machine, cpu, cores, memory_gib, gpus, variables that change
        numbers, and the version of every locked package. No host, user or folder is named.
    """
    chosen = ("KERAS_BACKEND", "OMP_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus(),
        "variables": {name: os.environ[name] for name in chosen if name in os.environ},
        "packages": {name: installed_version(name) for name in locked_versions()},
    }
