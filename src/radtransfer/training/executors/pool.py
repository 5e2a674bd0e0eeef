"""A pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from radtransfer.training.executors.units import Distributed, Outcome, Tell, Unit, Workers, perform

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


class ProcessPool(Distributed):
    """Executor with processes of its own, one unit each at a time.

    A worker that dies takes nothing with it but its unit, which is tried again; that is why it is
    not :class:`concurrent.futures.ProcessPoolExecutor`, which then gives up all of them. Scripts
    that use it need ``if __name__ == "__main__":``, as always where processes are spawned.

    Parameters
    ----------
    workers : int, optional
        As many as there are cores by default.
    threads : int, optional
        Of each worker; by default the cores are divided.
    retries : int
    """

    def __init__(self, workers: int | None = None, threads: int | None = None, retries: int = 3) -> None:
        super().__init__(retries)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = workers or cores
        self.threads = threads or max(1, cores // self.workers)

    @contextmanager
    def open(self, tell: Tell) -> Iterator[Workers]:
        """Workers, which are stopped when the block ends."""
        processes = _Processes(self.workers, self.threads, tell)
        try:
            yield processes
        finally:
            processes.stop()


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: connection.Connection[Any, Any]
    unit: Unit | None = None

    def end(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()


class _Processes(Workers):
    def __init__(self, limit: int, threads: int, tell: Tell) -> None:
        self.limit, self.threads, self.tell = limit, threads, tell
        self.workers: list[_Worker] = []

    def has_room(self) -> bool:
        return sum(worker.unit is not None for worker in self.workers) < self.limit

    def start(self, unit: Unit) -> None:
        for worker in [worker for worker in self.workers if worker.unit is None]:
            try:
                worker.pipe.send(unit)
            except OSError:  # it died while it was idle
                self._drop(worker)
            else:
                worker.unit = unit
                return
        worker = self._new()
        worker.pipe.send(unit)
        worker.unit = unit

    def wait(self) -> list[tuple[Unit, Outcome | None]]:
        ended: list[tuple[Unit, Outcome | None]] = []
        while not ended:
            busy = {worker.pipe: worker for worker in self.workers if worker.unit is not None}
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                unit = worker.unit
                assert unit is not None
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):  # also in the middle of a message
                    self._drop(worker)
                    ended.append((unit, None))
                    continue
                if isinstance(message, Outcome):
                    worker.unit = None
                    ended.append((unit, message))
                else:
                    self.tell(message)
        return ended

    def stop(self) -> None:
        for worker in self.workers:
            worker.end()

    def _new(self) -> _Worker:
        # a forked process would inherit the threads of TensorFlow without their state
        context = multiprocessing.get_context("spawn")
        mine, its = context.Pipe()
        process = context.Process(target=_serve, args=(its, self.threads), daemon=True)
        process.start()
        its.close()  # or its end would never be seen to close
        self.workers.append(_Worker(process, mine))
        return self.workers[-1]

    def _drop(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.end()


def _serve(pipe: connection.Connection[Any, Any], threads: int) -> None:
    """Do units as they come, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's goes to all; the driver will stop us

    def tell(line: str) -> None:
        try:
            pipe.send(line)
        except OSError:
            os._exit(1)  # the driver is gone; what is unfinished goes on from here the next time

    while True:
        try:
            unit = pipe.recv()
        except EOFError:
            return
        pipe.send(perform(unit, tell, threads=threads, environment={}))
