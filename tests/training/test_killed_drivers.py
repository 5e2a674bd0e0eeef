"""Drivers killed at random moments until all runs are finished, against drivers that never were.

Two drivers work on one store at a time; either is killed with SIGKILL after a random while and
started again.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from radtransfer.training.runs import RunStore

DRIVER = """
import sys
from pathlib import Path
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import curate
from radtransfer.training.fit import train_networks
from radtransfer.training.runs import RunStore, TrainingOptions

spec = PhantomSpec(n_patients=120, images_per_patient=1.2, size=64, seed=3)
train_networks(
    curate("phantom_xray", task="pneumonia", image_size=48, n_folds=5, seed=1, phantom=spec),
    task="pneumonia",
    networks=sys.argv[2].split(","),
    options=TrainingOptions(
        input_size=32, views=1, epochs=8, patience=8, batch_size=8, head_units=(8,), seed=5
    ),
    store=RunStore(Path(sys.argv[1])),
    progress=lambda line: print(line, flush=True),
)
"""
NETWORKS = ("custom_cnn_scratch", "mobilenet_frozen", "mobilenet_finetuned", "efficientnet_lite0_frozen")
N_RUNS, KILLS = 20, 20
LONGEST_FUSE = 12
"""Lines of progress after which a driver is killed at the latest."""

LONGEST_WAIT_S = 1.0
"""And then anywhere in an epoch, or between two."""

EPOCH = re.compile(r"(\w+, fold \d+, \w+: epoch \d+),")


def start(store: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(store), ",".join(NETWORKS)],
            stdout=stream,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"RADTRANSFER_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )


@pytest.mark.slow
def test_20_runs_whose_drivers_are_killed_at_random_end_as_unbroken_ones(work: Path) -> None:
    pytest.importorskip("keras")
    draw = random.Random(0)
    work.mkdir()
    assert start(work / "unbroken", work / "unbroken.log").wait() == 0
    logs = [work / "first.log", work / "second.log"]
    drivers = [start(work / "runs", log) for log in logs]
    fuses = [draw.randint(1, LONGEST_FUSE) for _ in drivers]
    kills = 0
    while any(driver.poll() is None for driver in drivers):
        time.sleep(0.05)
        for victim, log in enumerate(logs):
            lines = log.read_text().count("\n")
            if drivers[victim].poll() is None and kills < KILLS and lines >= fuses[victim]:
                time.sleep(draw.uniform(0, LONGEST_WAIT_S))
                drivers[victim].send_signal(signal.SIGKILL)
                drivers[victim].wait()
                kills += 1
                drivers[victim] = start(work / "runs", log)
                fuses[victim] = lines + draw.randint(1, LONGEST_FUSE)
    assert kills == KILLS
    assert [driver.wait() for driver in drivers] == [0, 0]

    expected = {told.parent.name for told in (work / "unbroken").glob("*/record.json")}
    assert len(expected) == N_RUNS
    assert {told.parent.name for told in (work / "runs").glob("*/record.json")} == expected
    for run in expected:
        one, other = (RunStore.open(work / root / run) for root in ("unbroken", "runs"))
        weights = [record.arrays() for record in (one, other)]
        assert weights[0].keys() == weights[1].keys()
        for name, values in weights[0].items():
            np.testing.assert_array_equal(weights[1][name], values)
        assert one.predictions().equals(other.predictions())
        losses = [[(e["loss"], e["validation_loss"]) for e in record.history] for record in (one, other)]
        assert losses[0] == losses[1]
    text = "\n".join(log.read_text() for log in logs)
    assert "goes on after epoch" in text
    # a kill costs the epoch that it hit, if that was told and not yet kept; nothing else is trained twice
    epochs = Counter(EPOCH.findall(text))
    assert sum(epochs.values()) - len(epochs) <= KILLS
