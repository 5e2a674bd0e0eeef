"""Kill the training driver at random moments until all runs are finished, and compare with unbroken ones.

Two drivers work on one store at a time; either is killed with SIGKILL after a random while and
started again. At the end every run must have the very weights, scores and history of a store that
was never disturbed, and no epoch may have been trained by both drivers at once.

    python benchmarks/training_resume.py [--kills 20] [--networks NAMES] [--folds 5] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CHILD = """
import sys
from pathlib import Path
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import curate
from radtransfer.training.fit import train_networks
from radtransfer.training.runs import RunStore, TrainingOptions

spec = PhantomSpec(n_patients=120, images_per_patient=1.2, size=64, seed=3)
train_networks(
    curate("phantom_xray", task="pneumonia", image_size=48, n_folds=int(sys.argv[3]), seed=1, phantom=spec),
    task="pneumonia",
    networks=sys.argv[2].split(","),
    options=TrainingOptions(
        input_size=32, views=1, epochs=8, patience=8, batch_size=8, head_units=(8,), seed=5
    ),
    store=RunStore(Path(sys.argv[1])),
    progress=lambda line: print(line, flush=True),
)
"""
NETWORKS = "custom_cnn_scratch,mobilenet_frozen,mobilenet_finetuned,efficientnet_lite0_frozen"
LONGEST_FUSE = 12
"""Lines of progress after which a driver is killed at the latest."""

LONGEST_WAIT_S = 1.0
"""And then anywhere in an epoch, or between two."""

EPOCH = re.compile(r"(\w+, fold \d+, \w+: epoch \d+),")


def start(store: Path, log: Path, what: Sequence[str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(store), *what], stdout=stream, stderr=subprocess.DEVNULL
        )


def main() -> None:
    """Print one line a figure; exit with 1 if a run differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    what = [arguments.networks, str(arguments.folds)]
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ |= {"RADTRANSFER_WORK": str(work), "RADTRANSFER_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if start(work / "unbroken", work / "unbroken.log", what).wait():
            sys.exit((work / "unbroken.log").read_text())
        disturbed = [work / "first.log", work / "second.log"]
        drivers = [start(work / "runs", log, what) for log in disturbed]
        fuses = [draw.randint(1, LONGEST_FUSE) for _ in drivers]
        kills = 0
        while any(driver.poll() is None for driver in drivers):
            time.sleep(0.05)
            for victim, log in enumerate(disturbed):
                lines = log.read_text().count("\n")
                if drivers[victim].poll() is None and kills < arguments.kills and lines >= fuses[victim]:
                    time.sleep(draw.uniform(0, LONGEST_WAIT_S))
                    drivers[victim].send_signal(signal.SIGKILL)
                    drivers[victim].wait()
                    kills += 1
                    drivers[victim] = start(work / "runs", log, what)
                    fuses[victim] = lines + draw.randint(1, LONGEST_FUSE)
        differ = compare(work / "unbroken", work / "runs")
        logs = [log.read_text() for log in disturbed]
        epochs = Counter(EPOCH.findall("\n".join(logs)))
        print(f"kills {kills}")
        print(f"runs resumed {sum(log.count('goes on after epoch') for log in logs)}")
        print(f"epochs trained again after a kill {sum(epochs.values()) - len(epochs)}")
        print(f"runs that differ {len(differ)} of {len(list((work / 'unbroken').glob('*/record.json')))}")
        sys.exit(1 if differ else 0)


def compare(unbroken: Path, disturbed: Path) -> list[str]:
    """Runs whose weights, scores or history are not those of the undisturbed ones."""
    from radtransfer.training.runs import RunStore

    differ = []
    for told in unbroken.glob("*/record.json"):
        one, other = (RunStore.open(root / told.parent.name) for root in (unbroken, disturbed))
        weights = [record.arrays() for record in (one, other)]
        same = weights[0].keys() == weights[1].keys() and all(
            np.array_equal(weights[0][key], weights[1][key]) for key in weights[0]
        )
        same &= one.predictions().equals(other.predictions())
        history = [[(e["loss"], e["validation_loss"]) for e in record.history] for record in (one, other)]
        if not same or history[0] != history[1]:
            differ.append(told.parent.name)
    return differ


if __name__ == "__main__":
    main()
