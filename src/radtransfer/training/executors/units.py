"""Units of training, and the order in which several workers do them.

A unit is plain values, so that any process on any machine can do it. What it does is named and not
sent along: a worker sets its threads and its backend before it imports anything that reads them.
"""

from __future__ import annotations

import os
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Protocol

from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from radtransfer.errors import RadtransferError, RunError
from radtransfer.training.failures import explain
from radtransfer.training.runs import NetworkSpec, TrainingOptions

Tell = Callable[[str], None]

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "NPROC")
"""Where TensorFlow, OpenMP (PyTorch too) and XLA on a processor look for their number of threads."""


class Unit(BaseModel):
    """A run, or the activations that several runs start from.

    Attributes
    ----------
    name : str
        Of the run: the hash of its spec. Unique among the units of a call.
    title : str
        What people call it.
    work : str
        What is done with it, as ``module:function``; called with the unit and a callable that takes
        lines to show. Returns False if another process has the run in hand.
    dataset : str
        Folder of the curated dataset.
    final : bool
        Whether the hold-out part is the test part, and not one of the folds.
    task : str
    networks : tuple of NetworkSpec
        The one that is trained, or all whose activations are wanted.
    options : tuple of TrainingOptions
        Of each network.
    fold : int or None
        None if there is nothing to train.
    sources : dict of str to str
        Folders of earlier runs by the task that :attr:`NetworkSpec.source` names.
    weights : str
        Folder of the pretrained weights, empty without.
    store : str
        Folder of the run store.
    after : str or None
        Name of the unit that has to be done before.
    wait : bool
        Whether to wait for another process that has the run in hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    work: str
    dataset: str
    final: bool = False
    task: str
    networks: tuple[NetworkSpec, ...]
    options: tuple[TrainingOptions, ...]
    fold: int | None = None
    sources: dict[str, str] = {}
    weights: str = ""
    store: str
    after: str | None = None
    wait: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a unit.

    Attributes
    ----------
    done : bool
        False if another process had the run in hand.
    error : RadtransferError or None
        Why it failed.
    trace : str
        The worker's traceback.
    """

    done: bool = True
    error: RadtransferError | None = None
    trace: str = ""

    def raise_if_failed(self) -> None:
        """Raise the error, with the worker's traceback as a note.

        Raises
        ------
        RadtransferError
        """
        if self.error is not None:
            if self.trace:
                self.error.add_note(self.trace)
            raise self.error


class Executor(Protocol):
    """Does units somewhere."""

    def run(self, units: Sequence[Unit], tell: Tell) -> Generator[tuple[Unit, Outcome]]:
        """Do units, each once; what is unfinished when the generator is closed is stopped.

        Parameters
        ----------
        units : sequence of Unit
        tell : callable of str
            Told what happens.

        Yields
        ------
        unit : Unit
        outcome : Outcome
            As units end; of each exactly one.
        """


def perform(unit: Unit, tell: Tell, *, threads: int | None, environment: Mapping[str, str]) -> Outcome:
    """Do a unit in this process; nothing escapes but the end of the process.

    Parameters
    ----------
    unit : Unit
    tell : callable of str
    threads : int or None
        Threads of computation; all cores if None.
    environment : mapping of str to str
        Environment variables of the driver, taken over where this machine has none of its own.
    """
    try:
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        if threads is not None:
            limit_threads(threads)
        return Outcome(done=resolve_name(unit.work)(unit, tell) is not False)
    except Exception as error:
        return Outcome(error=explain(error), trace=traceback.format_exc())


def limit_threads(threads: int) -> None:
    """Let this process compute with so many threads; to be called before a backend is loaded.

    The number of threads can change the last bits of a result, and is part of each record.
    """
    os.environ |= dict.fromkeys(THREADS, str(threads))
    threadpool_limits(threads)  # what was loaded before


class Workers(ABC):
    """Processes that do one unit each at a time."""

    @abstractmethod
    def has_room(self) -> bool:
        """Whether another unit can be started now."""

    @abstractmethod
    def start(self, unit: Unit) -> None:
        """Give a unit to a worker."""

    @abstractmethod
    def wait(self) -> list[tuple[Unit, Outcome | None]]:
        """Units that ended since, at least one; None for one whose worker died."""


class Distributed(ABC):
    """Executor with several workers, any of which may die.

    Parameters
    ----------
    retries : int
        How often a unit is tried again whose worker died.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries

    @abstractmethod
    def open(self, tell: Tell) -> AbstractContextManager[Workers]:
        """Workers, which are stopped when the block ends."""

    def run(self, units: Sequence[Unit], tell: Tell) -> Generator[tuple[Unit, Outcome]]:
        """Do units, each once; see :meth:`Executor.run`."""
        waiting, held = deque(units), deque[Unit]()
        outcomes: dict[str, Outcome] = {}
        deaths: Counter[str] = Counter()
        running = 0
        with self.open(tell) as workers:
            while waiting or held or running:
                if not waiting and not running:  # what another process has in hand comes last
                    waiting = deque(unit.model_copy(update={"wait": True}) for unit in held)
                    held.clear()
                for _ in range(len(waiting)):
                    unit = waiting.popleft()
                    before = outcomes.get(unit.after) if unit.after else Outcome()
                    if before is not None and before.error is not None:
                        outcomes[unit.name] = before
                        yield unit, before
                    elif before is not None and workers.has_room():
                        workers.start(unit)
                        running += 1
                    else:
                        waiting.append(unit)
                if not running:
                    continue
                for unit, outcome in workers.wait():
                    running -= 1
                    if outcome is None:
                        deaths[unit.name] += 1
                        if deaths[unit.name] <= self.retries:
                            tell(f"{unit.title}: its worker died, tried again")
                            waiting.appendleft(unit)
                            continue
                        outcome = Outcome(error=_too_often(unit, deaths[unit.name]))
                    if not outcome.done:
                        held.append(unit)
                        continue
                    outcomes[unit.name] = outcome
                    yield unit, outcome


def _too_often(unit: Unit, deaths: int) -> RunError:
    return RunError(
        f"{unit.title}: its worker died {deaths} times",
        hint="most often memory: fewer workers, a smaller batch_size or input_size, or larger machines",
    )
