"""Training by an executor: the bits of one process, whoever dies."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import RunError
from radtransfer.training.executors.pool import ProcessPool
from radtransfer.training.executors.settings import ENVIRONMENT, ExecutorSettings
from radtransfer.training.executors.units import Outcome, Tell, Unit
from radtransfer.training.runs import NetworkSpec, RunRecord, RunStore, TrainingOptions

pytest.importorskip("keras")

# a tiny network: what counts here is who trains it
OPTIONS = TrainingOptions(
    input_size=32, views=1, epochs=3, patience=3, batch_size=8, head_units=(8,), learning_rate=1e-3, seed=5
)
SCRATCH = NetworkSpec(name="from_scratch", backbone="custom_cnn", regime="scratch")
FROZEN = NetworkSpec(name="frozen", backbone="custom_cnn", regime="frozen")
TASK = "pneumonia"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One work folder for the module, without a network: backbones start from none weights."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTRANSFER_WORK", str(folder))
        patch.setenv("RADTRANSFER_OFFLINE", "1")
        patch.delenv("RADTRANSFER_MIRROR", raising=False)
        yield folder


@pytest.fixture(scope="module")
def dataset(work: Path) -> CuratedDataset:
    spec = PhantomSpec(n_patients=120, images_per_patient=1.2, size=64, auc=0.99, seed=3)
    return curate("phantom_xray", task=TASK, image_size=48, n_folds=3, seed=1, phantom=spec)


def train(
    dataset: CuratedDataset,
    store: RunStore,
    options: TrainingOptions | dict[str, TrainingOptions] = OPTIONS,
    **more: object,
) -> list[RunRecord]:
    from radtransfer.training.fit import train_networks

    return train_networks(
        dataset,
        task=TASK,
        networks=[SCRATCH, FROZEN],
        options=options,
        n_folds_used=2,
        store=store,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def unbroken(dataset: CuratedDataset) -> list[RunRecord]:
    """Runs of this process."""
    return train(dataset, RunStore(dataset.folder.parent / "unbroken"))


def assert_same(found: Sequence[RunRecord], expected: Sequence[RunRecord]) -> None:
    assert [record.spec for record in found] == [record.spec for record in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.predictions().equals(other.predictions())
        weights, others = one.arrays(), other.arrays()
        assert weights.keys() == others.keys()
        for name, values in weights.items():
            np.testing.assert_array_equal(values, others[name])
        timeless = [
            [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in record.history]
            for record in (one, other)
        ]
        assert timeless[0] == timeless[1]


def test_a_pool_in_which_a_process_is_killed_gives_the_bits_of_one_process(
    dataset: CuratedDataset, unbroken: list[RunRecord], tmp_path: Path
) -> None:
    threads = unbroken[0].environment["threads"]
    lines: list[str] = []

    def watch(line: str) -> None:
        lines.append(line)
        if line.startswith("from_scratch") and "epoch 2" in line and not any("died" in x for x in lines):
            for process in multiprocessing.active_children()[:1]:
                process.kill()

    store = RunStore(tmp_path / "runs")
    found = train(dataset, store, executor=ProcessPool(workers=2, threads=threads), progress=watch)
    assert_same(found, unbroken)
    assert {record.environment["threads"] for record in found} == {threads}
    assert sum("died" in line for line in lines) >= 1
    # nothing is lost, nothing trained twice to its end, nothing left behind
    assert sorted(line.rpartition(",")[0] for line in lines if ": done, " in line) == sorted(
        f"{name}, fold {fold}: done" for name in ("from_scratch", "frozen") for fold in (1, 2)
    )
    assert set(store.summary()["state"]) == {"finished"}
    assert not list(store.root.glob("*.state"))


class Counted:
    """Executor that only counts."""

    def __init__(self) -> None:
        self.units: list[Unit] = []

    def run(self, units: Sequence[Unit], tell: Tell) -> Generator[tuple[Unit, Outcome]]:
        self.units += units
        for unit in units:
            yield unit, Outcome()


def test_only_what_is_missing_is_handed_out(
    dataset: CuratedDataset, unbroken: list[RunRecord], tmp_path: Path
) -> None:
    counted = Counted()
    store = RunStore(unbroken[0].folder.parent)
    assert_same(train(dataset, store, executor=counted), unbroken)
    assert counted.units == []
    with pytest.raises(RunError, match=r"4 runs failed.*it is not here .*RADTRANSFER_STORE"):
        train(dataset, RunStore(tmp_path), executor=counted)
    kinds = Counter(unit.fold is None for unit in counted.units)
    assert kinds == {True: 1, False: 4}
    (activations,) = (unit for unit in counted.units if unit.fold is None)
    after = {unit.networks[0].name: unit.after for unit in counted.units if unit.fold is not None}
    assert after == {"from_scratch": None, "frozen": activations.name}
    assert all(Unit.model_validate_json(unit.model_dump_json()) == unit for unit in counted.units)


class InThisProcess:
    """Units one after another, by way of their JSON."""

    def run(self, units: Sequence[Unit], tell: Tell) -> Generator[tuple[Unit, Outcome]]:
        from radtransfer.training.executors.units import perform

        for unit in units:
            copy = Unit.model_validate_json(unit.model_dump_json())
            yield unit, perform(copy, tell, threads=None, environment={})


def test_runs_that_fail_are_recorded_and_the_others_go_on(dataset: CuratedDataset, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    diverging = OPTIONS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(RunError, match=r"2 runs failed.*fold 1: the loss or a weight is no longer a number"):
        train(
            dataset,
            store,
            options={"from_scratch": diverging, "frozen": OPTIONS},
            executor=InThisProcess(),
        )
    summary = store.summary().set_index(["model", "fold"])["state"]
    assert set(summary["frozen"]) == {"finished"}
    assert set(summary["from_scratch"]) == {"failed"}


def test_a_worker_with_other_weights_is_refused(dataset: CuratedDataset, tmp_path: Path) -> None:
    counted = Counted()
    with pytest.raises(RunError):
        train(dataset, RunStore(tmp_path), executor=counted)
    told = counted.units[-1].model_copy(update={"name": "0" * 16})
    ((_, outcome),) = InThisProcess().run([told], print)
    assert "a worker would make another run of it: weights none (give" in str(outcome.error)
    gone = told.model_copy(update={"dataset": str(tmp_path / "gone")})
    ((_, outcome),) = InThisProcess().run([gone], print)
    assert "gone is not on this machine (give all nodes that folder, or set RADTRANSFER_STORE" in str(
        outcome.error
    )


@pytest.mark.slow
def test_the_environment_chooses_the_executor(
    dataset: CuratedDataset, unbroken: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ExecutorSettings(kind="process", workers=1, cpus_per_run=unbroken[0].environment["threads"])
    monkeypatch.setenv(ENVIRONMENT, settings.model_dump_json())
    lines: list[str] = []
    assert_same(train(dataset, RunStore(tmp_path), progress=lines.append), unbroken)
    assert "frozen, fold 2: done, 4 of 4" in lines
