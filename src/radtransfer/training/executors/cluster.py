"""A Ray cluster, or Ray on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import radtransfer
from radtransfer import paths
from radtransfer.errors import InputError, RadtransferError, RunError
from radtransfer.hashing import sha256_file, sha256_json
from radtransfer.training.executors.units import Distributed, Outcome, Tell, Unit, Workers, perform
from radtransfer.training.failures import explain
from radtransfer.training.optional import optional
from radtransfer.training.shared import STORE

SENT = (STORE, "RADTRANSFER_OFFLINE", "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")
"""Environment variables that workers take over where their node has none of its own."""

SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""A process takes all memory of its GPU otherwise."""


class RayCluster(Distributed):
    """Executor on a Ray cluster; Ray says which node has room for a run.

    The package must be installed on every node, in the same version. Nodes need a disk in common
    with the driver, where the work folder lies, or a shared store (``RADTRANSFER_STORE``).

    Parameters
    ----------
    address : str, optional
        Of the cluster; ``auto`` finds the one this machine belongs to. Without, Ray is started here.
    cpus : int
        Processors reserved for each run, and its threads.
    gpus : float
        Share of a GPU reserved for each run.
    retries : int
        How often a run is tried again whose worker or node died.
    """

    def __init__(
        self, address: str | None = None, *, cpus: int = 1, gpus: float = 0.0, retries: int = 3
    ) -> None:
        super().__init__(retries)
        self.address, self.cpus, self.gpus = address, cpus, gpus

    @contextmanager
    def open(self, tell: Tell) -> Iterator[Workers]:
        """Workers, which are stopped when the block ends; the connection to Ray stays."""
        ray = optional("ray")
        if not ray.is_initialized():
            _connect(ray, self.address)
        self._check(ray, tell)
        # Ray's own retries would be without end where a run is too large for its node
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_perform)
        tasks = _Tasks(ray, task, self.cpus, _environment(shared_gpu=0 < self.gpus < 1), tell)
        try:
            yield tasks
        finally:
            tasks.stop()

    def _check(self, ray: Any, tell: Tell) -> None:
        wanted = {"CPU": float(self.cpus), "GPU": self.gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0.0) >= share for name, share in wanted.items()) for node in nodes):
            return
        told = f"no node has {self.cpus} CPU and {self.gpus:g} GPU for a run"
        if self.address is None:
            raise InputError(told, hint="ask for less, or name a cluster with --address")
        tell(f"{told} now: waiting for one")  # clusters may grow when there is work


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RadtransferError(
            f"no Ray cluster at {address or 'this machine'}: {' '.join(str(error).split())}",
            hint="is it up? 'ray status' on its head node tells",
        ) from error


def _environment(*, shared_gpu: bool) -> dict[str, str]:
    found = {name: os.environ[name] for name in SENT if name in os.environ}
    if STORE not in found:  # then the disk is common, and what is stored there serves all
        found["RADTRANSFER_WORK"] = str(paths.work_dir())
    return found | (SHARED_GPU if shared_gpu else {})


class _Tasks(Workers):
    def __init__(self, ray: Any, task: Any, threads: int, environment: Mapping[str, str], tell: Tell) -> None:
        self.ray, self.task, self.tell = ray, task, tell
        self.arguments = (threads, environment, _code())
        self.running: dict[Any, Unit] = {}

    def has_room(self) -> bool:
        return True  # Ray keeps what no node has room for

    def start(self, unit: Unit) -> None:
        self.running[self.task.remote(unit, *self.arguments)] = unit

    def wait(self) -> list[tuple[Unit, Outcome | None]]:
        ready, _ = self.ray.wait(list(self.running), num_returns=1)
        ended = [(self.running.pop(reference), reference) for reference in ready]
        return [(unit, self._outcome(unit, reference)) for unit, reference in ended]

    def _outcome(self, unit: Unit, reference: Any) -> Outcome | None:
        try:
            outcome: Outcome = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:  # it could not even be begun
            return Outcome(error=explain(error.cause or error))
        except self.ray.exceptions.RayError as error:
            self.tell(f"{unit.title}: {type(error).__name__}")  # its text names machines
            return None
        return outcome

    def stop(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)


def _perform(unit: Unit, threads: int, environment: Mapping[str, str], code: str) -> Outcome:
    if code != _code():
        return Outcome(
            error=RunError(
                "a node has other code of radtransfer than the driver",
                hint="install the same version on all nodes",
            )
        )
    return perform(unit, lambda line: None, threads=threads, environment=environment)


@cache
def _code() -> str:
    """Digest of the package: a run's name says nothing about a node that has another one."""
    root = Path(radtransfer.__file__).parent
    return sha256_json({str(file.relative_to(root)): sha256_file(file) for file in root.rglob("*.py")})
