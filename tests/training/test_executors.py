"""Executors on work that is no training: order, deaths, failures, and what people choose."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from radtransfer.errors import InputError, RadtransferError, RunError
from radtransfer.training.executors.choice import chosen_executor
from radtransfer.training.executors.cluster import RayCluster
from radtransfer.training.executors.pool import ProcessPool
from radtransfer.training.executors.settings import ENVIRONMENT, ExecutorSettings
from radtransfer.training.executors.units import Distributed, Outcome, Tell, Unit, Workers, perform
from radtransfer.training.runs import TrainingOptions, network


def unit(name: str, work: str = "noted", folder: Path | str = "", after: str | None = None) -> Unit:
    return Unit(
        name=name,
        title=f"run {name}",
        work=f"{__name__}:{work}",
        dataset="",
        task="pneumonia",
        networks=(network("vgg16_frozen"),),
        options=(TrainingOptions(),),
        store=str(folder),
        after=after,
    )


def noted(unit: Unit, tell: Tell) -> None:
    """Leave a mark for every time that it is done."""
    tell(f"{unit.name} begins")
    with (Path(unit.store) / unit.name).open("a") as stream:
        stream.write(f"{os.getpid()} {os.environ['TF_NUM_INTRAOP_THREADS']} {'tensorflow' in sys.modules}\n")


def deadly(unit: Unit, tell: Tell) -> None:
    """End the process by force, the first time."""
    died = Path(unit.store) / f"{unit.name}.died"
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    noted(unit, tell)


def failing(unit: Unit, tell: Tell) -> None:
    raise MemoryError


def wrong(unit: Unit, tell: Tell) -> None:
    raise InputError("no such task", hint="name another")


def held(unit: Unit, tell: Tell) -> bool:
    """In the hands of another process until it is waited for."""
    if unit.wait:
        noted(unit, tell)
    return unit.wait


def slow(unit: Unit, tell: Tell) -> None:
    (Path(unit.store) / "writing").write_text(str(os.getpid()))
    (Path(unit.store) / "writing").rename(Path(unit.store) / "slow")
    time.sleep(60)


class Here(Workers):
    """So many workers, all in this process; they end units in the order of their start.

    One that is given the unit ``mortal`` dies, two times.
    """

    def __init__(self, limit: int, tell: Tell, started: list[Unit]) -> None:
        self.limit, self.tell, self.started = limit, tell, started
        self.running: list[Unit] = []

    def has_room(self) -> bool:
        return len(self.running) < self.limit

    def start(self, unit: Unit) -> None:
        self.running.append(unit)
        self.started.append(unit)

    def wait(self) -> list[tuple[Unit, Outcome | None]]:
        unit = self.running.pop(0)
        if unit.name == "mortal" and [one.name for one in self.started].count(unit.name) < 3:
            return [(unit, None)]
        return [(unit, perform(unit, self.tell, threads=None, environment={}))]


class InThisProcess(Distributed):
    def __init__(self, limit: int, retries: int = 3) -> None:
        super().__init__(retries)
        self.limit, self.started = limit, list[Unit]()

    @contextmanager
    def open(self, tell: Tell) -> Iterator[Workers]:
        yield Here(self.limit, tell, self.started)


def outcomes(executor: Distributed, *units: Unit, lines: list[str] | None = None) -> dict[str, Outcome]:
    ended = list(executor.run(units, [].append if lines is None else lines.append))
    assert sorted(unit.name for unit, _ in ended) == sorted(unit.name for unit in units)
    return {unit.name: outcome for unit, outcome in ended}


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_a_unit_begins_when_the_one_before_it_is_done(tmp_path: Path, limit: int) -> None:
    executor = InThisProcess(limit)
    found = outcomes(
        executor,
        unit("a", folder=tmp_path, after="activations"),
        unit("b", folder=tmp_path, after="activations"),
        unit("activations", folder=tmp_path),
        unit("c", folder=tmp_path),
    )
    assert all(outcome == Outcome() for outcome in found.values())
    names = [unit.name for unit in executor.started]
    assert names.index("activations") < min(names.index("a"), names.index("b"))
    assert len(names) == 4


def test_what_needs_a_unit_that_failed_fails_with_it(tmp_path: Path) -> None:
    found = outcomes(
        InThisProcess(2),
        unit("activations", "failing", tmp_path),
        unit("a", folder=tmp_path, after="activations"),
        unit("b", folder=tmp_path),
    )
    assert "out of memory" in str(found["a"].error)
    assert found["b"] == Outcome()
    assert not (tmp_path / "a").exists()


def test_what_another_process_has_in_hand_comes_last(tmp_path: Path) -> None:
    executor = InThisProcess(1)
    outcomes(executor, unit("a", "held", tmp_path), unit("b", folder=tmp_path))
    assert [(unit.name, unit.wait) for unit in executor.started] == [("a", False), ("b", False), ("a", True)]
    assert len((tmp_path / "a").read_text().splitlines()) == 1


def test_a_unit_whose_workers_die_is_tried_again_but_not_for_ever(tmp_path: Path) -> None:
    lines: list[str] = []
    units = [unit("mortal", folder=tmp_path), unit("b", folder=tmp_path)]
    found = outcomes(InThisProcess(2, retries=2), *units, lines=lines)
    assert found == {"mortal": Outcome(), "b": Outcome()}
    assert lines.count("run mortal: its worker died, tried again") == 2
    found = outcomes(InThisProcess(2, retries=1), *units)
    with pytest.raises(RunError, match=r"run mortal: its worker died 2 times .*memory"):
        found["mortal"].raise_if_failed()


def test_processes_work_with_their_threads_and_tell_what_they_do(tmp_path: Path) -> None:
    lines: list[str] = []
    names = [f"run{number}" for number in range(5)]
    found = outcomes(
        ProcessPool(workers=2, threads=3), *(unit(name, folder=tmp_path) for name in names), lines=lines
    )
    assert set(found.values()) == {Outcome()}
    assert sorted(lines) == [f"{name} begins" for name in names]
    told = [(tmp_path / name).read_text().split() for name in names]
    assert {(threads, loaded) for _, threads, loaded in told} == {("3", "False")}
    processes = {int(process) for process, _, _ in told}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_a_killed_process_takes_only_its_own_unit_with_it(tmp_path: Path) -> None:
    lines: list[str] = []
    works = {"a": "deadly", "b": "noted", "c": "deadly", "d": "noted", "e": "failing", "f": "wrong"}
    pool = ProcessPool(workers=2, threads=1)
    found = outcomes(pool, *(unit(name, work, tmp_path) for name, work in works.items()), lines=lines)
    for name in "abcd":
        assert found[name] == Outcome()
        assert len((tmp_path / name).read_text().splitlines()) == 1
    assert sorted(line for line in lines if "died" in line) == [
        "run a: its worker died, tried again",
        "run c: its worker died, tried again",
    ]
    with pytest.raises(RunError, match="out of memory") as raised:
        found["e"].raise_if_failed()
    assert "raise MemoryError" in "".join(raised.value.__notes__)  # the worker's traceback
    assert type(found["f"].error) is InputError
    assert str(found["f"].error) == "no such task (name another)"


def test_processes_end_with_the_call(tmp_path: Path) -> None:
    units = [unit("a", folder=tmp_path), unit("b", "slow", tmp_path)]
    running = ProcessPool(workers=2, threads=1).run(units, print)
    next(running)
    while not (tmp_path / "slow").exists():
        time.sleep(0.01)
    running.close()
    for process in ((tmp_path / name).read_text().split()[0] for name in ("a", "slow")):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


def test_variables_of_the_driver_do_not_replace_those_of_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADTRANSFER_WORK", "of the node")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.delenv("KERAS_BACKEND")
    of_the_driver = {"RADTRANSFER_WORK": "of the driver", "KERAS_BACKEND": "jax"}
    perform(unit("a", folder=tmp_path), print, threads=None, environment=of_the_driver)
    assert (os.environ["RADTRANSFER_WORK"], os.environ["KERAS_BACKEND"]) == ("of the node", "jax")


def test_the_default_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert chosen_executor() is None


def test_a_choice_reaches_another_process_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ExecutorSettings.make(kind="process", workers=3, cpus_per_run=2, gpus_per_run=None)
    monkeypatch.setenv(ENVIRONMENT, settings.model_dump_json())
    assert ExecutorSettings.from_environment() == settings
    pool = chosen_executor()
    assert isinstance(pool, ProcessPool)
    assert (pool.workers, pool.threads) == (3, 2)
    settings = ExecutorSettings(kind="ray", address="auto", gpus_per_run=0.5)
    cluster = chosen_executor(settings)
    assert isinstance(cluster, RayCluster)
    assert (cluster.address, cluster.cpus, cluster.gpus) == ("auto", 1, 0.5)


def test_cores_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for workers, threads in ((None, 1), (2, 4), (3, 2), (16, 1)):
        assert ProcessPool(workers).threads == threads


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "rai"}, "executor: kind: .*'in-process', 'process' or 'ray'"),
        ({"workers": 2}, "workers has no meaning for 'in-process', only for process"),
        ({"kind": "process", "gpus_per_run": 1.0}, "gpus_per_run has no meaning for 'process', only for ray"),
        ({"kind": "process", "address": "auto"}, "address has no meaning"),
        ({"kind": "process", "workers": 0}, "executor: workers: .*greater than or equal to 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExecutorSettings.make(**given)


def test_a_broken_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "ray")
    with pytest.raises(InputError, match=ENVIRONMENT):
        chosen_executor()


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RadtransferError, match=r"^ray is not installed \(.*\[ray\]'\)$"):
        ExecutorSettings.make(kind="ray")
