"""Training on a Ray cluster of two nodes on this machine, some of which are killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched import EVENTS, Watched, events

from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import InputError
from radtransfer.training.executors.cluster import RayCluster
from radtransfer.training.executors.pool import ProcessPool
from radtransfer.training.executors.units import Executor
from radtransfer.training.runs import NetworkSpec, RunRecord, RunStore, TrainingOptions
from radtransfer.training.shared import STORE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is an extra and not installed"),
]

OPTIONS = TrainingOptions(
    input_size=32, views=1, epochs=12, patience=12, batch_size=8, head_units=(8,), learning_rate=1e-3, seed=5
)
NETWORKS = [
    NetworkSpec(name="from_scratch", backbone="custom_cnn", regime="scratch"),
    NetworkSpec(name="frozen", backbone="custom_cnn", regime="frozen"),
]
TASK = "pneumonia"
N_FOLDS = 3


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTRANSFER_WORK", str(folder))
        patch.setenv("RADTRANSFER_OFFLINE", "1")
        patch.setenv(EVENTS, str(folder / "events"))
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        )
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "1200")
        yield folder


@pytest.fixture(scope="module")
def dataset(work: Path) -> CuratedDataset:
    spec = PhantomSpec(n_patients=120, images_per_patient=1.2, size=64, auc=0.99, seed=3)
    return curate("phantom_xray", task=TASK, image_size=48, n_folds=N_FOLDS, seed=1, phantom=spec)


def train(dataset: CuratedDataset, store: RunStore, executor: Executor, **more: Any) -> list[RunRecord]:
    from radtransfer.training.fit import train_networks

    return train_networks(
        dataset, task=TASK, networks=NETWORKS, options=OPTIONS, store=store, executor=executor, **more
    )


@pytest.fixture(scope="module")
def unbroken(dataset: CuratedDataset) -> list[RunRecord]:
    """Runs of one process with one thread."""
    return train(dataset, RunStore(dataset.folder.parent / "unbroken"), ProcessPool(workers=1, threads=1))


@pytest.fixture
def cluster(work: Path) -> Iterator[Any]:
    """A head without a processor, for the driver, and no other node yet."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    (work / "events").unlink(missing_ok=True)
    yield made
    ray.shutdown()
    made.shutdown()


def assert_same(found: list[RunRecord], expected: list[RunRecord]) -> None:
    assert [record.spec for record in found] == [record.spec for record in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.environment["threads"] == other.environment["threads"] == 1
        assert one.predictions().equals(other.predictions())
        assert one.arrays().keys() == other.arrays().keys()
        for name, values in one.arrays().items():
            np.testing.assert_array_equal(values, other.arrays()[name])


class Killer(threading.Thread):
    """Kills a worker in the middle of a run, then the node of another one."""

    def __init__(self, log: Path, store: RunStore, kill_node: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self.log, self.store, self.kill_node = log, store, kill_node
        self.killed: list[dict[str, Any]] = []

    def run(self) -> None:
        os.kill(self._in_the_middle()["process"], signal.SIGKILL)
        self.kill_node(self._in_the_middle()["node"])

    def _in_the_middle(self) -> dict[str, Any]:
        """Wait for a run that has saved an epoch and is not finished."""
        while True:
            seen = events(self.log)
            ended = {(event["unit"], event["process"]) for event in seen if event["event"] == "end"}
            for event in seen:
                state = self.store.root / f"{event['unit']}.state" / "checkpoint.npz"
                if (
                    event["fold"] is not None
                    and (event["unit"], event["process"]) not in ended
                    and event["unit"] not in {one["unit"] for one in self.killed}
                    and state.is_file()
                ):
                    self.killed.append(event)
                    return event
            time.sleep(0.02)


def test_a_worker_and_a_whole_node_are_killed(
    dataset: CuratedDataset, unbroken: list[RunRecord], work: Path, tmp_path: Path, cluster: Any
) -> None:
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=1) for _ in range(2))}
    store, lines = RunStore(tmp_path / "runs"), list[str]()
    killer = Killer(
        work / "events", store, lambda node: cluster.remove_node(nodes[node], allow_graceful=False)
    )
    killer.start()
    executor = Watched(RayCluster(cluster.address))
    found = train(dataset, store, executor, progress=lines.append)
    killer.join(timeout=60)
    assert len(killer.killed) == 2
    assert_same(found, unbroken)
    seen = events(work / "events")
    assert {event["node"] for event in seen} == set(nodes)
    # all are there, and each was trained to its end once
    ended = Counter(event["unit"] for event in seen if event["event"] == "end" and event["fold"] is not None)
    assert set(ended) == {record.spec.hash for record in unbroken}
    assert set(ended.values()) == {1}
    assert sum("its worker died, tried again" in line for line in lines) >= 2
    assert sum(": done, " in line for line in lines) == len(unbroken)
    assert set(store.summary()["state"]) == {"finished"}


def test_nodes_without_a_common_disk_use_the_shared_store(
    dataset: CuratedDataset,
    unbroken: list[RunRecord],
    tmp_path: Path,
    cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv(STORE, str(tmp_path / "shared"))
    for name in ("one", "other"):
        cluster.add_node(num_cpus=1, env_vars={"RADTRANSFER_WORK": str(tmp_path / name)})
    store = RunStore(tmp_path / "runs")
    found = train(dataset, store, Watched(RayCluster(cluster.address)))
    assert_same(found, unbroken)
    trained = [
        {path.name for path in (tmp_path / name / "runs").glob("[0-9a-f]*")} for name in ("one", "other")
    ]
    assert all(trained)
    assert trained[0] | trained[1] == {record.spec.hash for record in unbroken}
    assert not (tmp_path / "shared" / "features").exists() or list((tmp_path / "shared").glob("features/*"))


def test_a_run_that_no_node_has_room_for_is_told(
    dataset: CuratedDataset, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_node(num_cpus=1)
    lines: list[str] = []
    with RayCluster(cluster.address, gpus=1).open(lines.append):
        assert lines == ["no node has 1 CPU and 1 GPU for a run now: waiting for one"]
    here = RayCluster(gpus=1)  # the same connection, as if Ray had been started for this call
    with pytest.raises(InputError, match=r"no node has 1 CPU and 1 GPU .*--address"), here.open(print):
        pass
