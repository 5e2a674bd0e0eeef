"""Time the same runs on one core and on two: processes of a pool, and nodes of a Ray cluster on this machine.

    python benchmarks/executors.py [--quick] [--runs 4] [--run-seconds 40] [--output FILE]

Efficiency is the time on one core over twice the time on two. A node is one raylet with one processor; the
head has none. The pool, measured beside, says what two processes without Ray make of this machine. Everything
is in the times but the start of Ray: the workers' import of TensorFlow, too. All executors must give the same
bits. Without Ray only the pool is timed. The machine should be idle: what else runs on it takes from the two
cores and not from the one. ``--quick`` makes short runs, of which no efficiency is demanded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

TARGET = 0.85
SHORTEST_RUN_S = 30.0
TASK = "pneumonia"


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """Address of a cluster of so many nodes with a core each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


class Study:
    """The runs, and stores to make them in."""

    def __init__(self, work: Path, n_runs: int) -> None:
        from radtransfer.data.phantoms import PhantomSpec
        from radtransfer.data.store import curate

        self.work, self.n_runs = work, n_runs
        self.dataset = curate(
            "phantom_xray",
            task=TASK,
            image_size=64,
            n_folds=max(n_runs, 2),
            seed=1,
            phantom=PhantomSpec(n_patients=300, images_per_patient=1.0, size=64, seed=3),
        )

    def time(self, name: str, executor: Any, *, epochs: int, n_runs: int) -> tuple[float, list[Any]]:
        """Seconds that an executor takes, and what it made."""
        from radtransfer.training.fit import train_networks
        from radtransfer.training.runs import RunStore, TrainingOptions

        options = TrainingOptions(
            input_size=64, views=1, epochs=epochs, patience=epochs, batch_size=32, head_units=(8,), seed=5
        )
        started = time.perf_counter()
        records = train_networks(
            self.dataset,
            task=TASK,
            networks=["custom_cnn_scratch"],
            options=options,
            n_folds_used=n_runs,
            store=RunStore(self.work / name),
            executor=executor,
        )
        seconds = time.perf_counter() - started
        print(f"{name}: {seconds:.1f} s, {epochs} epochs a run", file=sys.stderr, flush=True)
        return seconds, records


def same(one: list[Any], other: list[Any]) -> bool:
    """Whether two executors made the same runs to the last bit."""
    return all(
        a.predictions().equals(b.predictions())
        and all(np.array_equal(values, b.arrays()[name]) for name, values in a.arrays().items())
        for a, b in zip(one, other, strict=True)
    )


def main() -> int:
    """Print the report; exit with 1 if it misses a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=4, help="runs, a multiple of two")
    parser.add_argument("--run-seconds", type=float, default=40.0, help="of training, at least; on one core")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    n_runs, wanted_s = (2, 4.0) if arguments.quick else (arguments.runs, arguments.run_seconds)

    from radtransfer.training.executors.cluster import RayCluster
    from radtransfer.training.executors.pool import ProcessPool

    with tempfile.TemporaryDirectory() as name:
        os.environ |= {
            "RADTRANSFER_WORK": name,
            "RADTRANSFER_OFFLINE": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "600",
        }
        study = Study(Path(name), n_runs)
        # the views are stored by then, and an epoch is timed
        _, tried = study.time("trial", ProcessPool(workers=1, threads=1), epochs=4, n_runs=1)
        epoch_s = statistics.median(epoch["seconds"] for epoch in tried[0].history[1:])
        epochs = math.ceil(wanted_s / epoch_s)
        seconds: dict[str, float] = {}
        made: dict[str, list[Any]] = {}
        for workers in (1, 2):
            title = f"pool_{workers}"
            seconds[title], made[title] = study.time(
                title, ProcessPool(workers=workers, threads=1), epochs=epochs, n_runs=n_runs
            )
        if importlib.util.find_spec("ray") is None:
            print("ray is not installed: the pool alone was timed", file=sys.stderr)
        else:
            for count in (1, 2):
                title = f"ray_{count}"
                with nodes(count) as address:
                    seconds[title], made[title] = study.time(
                        title, RayCluster(address), epochs=epochs, n_runs=n_runs
                    )
        run_s = statistics.median(record.timings["train_s"] for record in made["pool_1"])
        efficiency = {
            kind: seconds[f"{kind}_1"] / (2 * seconds[f"{kind}_2"])
            for kind in ("pool", "ray")
            if f"{kind}_1" in seconds
        }
        identical = all(same(made["pool_1"], others) for others in made.values())
    met = identical and (
        arguments.quick or (run_s >= SHORTEST_RUN_S and efficiency.get("ray", 1.0) >= TARGET)
    )
    report = {
        "cores": len(os.sched_getaffinity(0)),
        "quick": arguments.quick,
        "n_runs": n_runs,
        "run_s": run_s,
        "seconds": seconds,
        "efficiency": efficiency,
        "identical": identical,
        "target": TARGET,
        "met": met,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
