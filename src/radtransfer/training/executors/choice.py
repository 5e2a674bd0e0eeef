"""The executor that a person chose."""

from __future__ import annotations

from radtransfer.training.executors.cluster import RayCluster
from radtransfer.training.executors.pool import ProcessPool
from radtransfer.training.executors.settings import ExecutorSettings
from radtransfer.training.executors.units import Executor


def chosen_executor(settings: ExecutorSettings | None = None) -> Executor | None:
    """Executor of some settings.

    Parameters
    ----------
    settings : ExecutorSettings, optional
        Those of ``RADTRANSFER_EXECUTOR`` by default.

    Returns
    -------
    Executor or None
        None is this process.
    """
    settings = settings or ExecutorSettings.from_environment()
    if settings.kind == "process":
        return ProcessPool(settings.workers, settings.cpus_per_run, settings.retries)
    if settings.kind == "ray":
        return RayCluster(
            settings.address,
            cpus=settings.cpus_per_run or 1,
            gpus=settings.gpus_per_run,
            retries=settings.retries,
        )
    return None
