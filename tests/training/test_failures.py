"""Runs that fail: what is said, what is kept, and that the others go on."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest

from radtransfer.errors import InputError, LeakageError, RadtransferError, RunError
from radtransfer.training.failures import Failures, explain
from radtransfer.training.runs import RunSpec, RunStore, predictions_frame


class ResourceExhaustedError(Exception):
    """Bears the name of TensorFlow's."""


def run(fold: int) -> RunSpec:
    return RunSpec(
        recipe=2,
        kind="network",
        model="vgg16_frozen",
        task="pneumonia",
        dataset_digest="d",
        folds_digest="f",
        fold=fold,
        seed=1,
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory .*smaller batch_size"),
        (ResourceExhaustedError("OOM when allocating tensor"), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full .*RADTRANSFER_WORK"),
        (PermissionError(errno.EACCES, "not allowed"), r"PermissionError: .*not allowed"),
        (ZeroDivisionError("first line\nsecond"), "^ZeroDivisionError: first line$"),
    ],
)
def test_what_ended_a_run_is_said_in_a_line(error: Exception, message: str) -> None:
    with pytest.raises(RunError, match=message):
        raise explain(error)


def test_errors_of_the_package_say_it_themselves() -> None:
    error = LeakageError("patient p is in two parts")
    assert explain(error) is error


def test_others_go_on_and_the_summary_lists_all(tmp_path: Path) -> None:
    store, lines = RunStore(tmp_path), []
    failures = Failures(store, lines.append)
    with failures.of([run(0)]):
        raise MemoryError
    with failures.of([run(1)]):
        table = predictions_frame(
            run(1),
            image_ids=["a", "b"],
            patient_ids=["p", "q"],
            part="test",
            labels=[0, 1],
            scores=np.array([0.1, 0.9]),
        )
        store.write(run(1), table)
    with failures.of([run(2), run(3)]):
        raise RunError(
            "vgg16_frozen, fold 3: the loss or a weight is no longer a number", hint="lower the rate"
        )
    assert lines[0] == (
        "vgg16_frozen, fold 1: FAILED: out of memory "
        "(use a smaller batch_size or input_size, or close other programs)"
    )
    with pytest.raises(
        RunError,
        match=r"3 runs failed, .*: vgg16_frozen, fold 1: out of memory .*; vgg16_frozen, fold 3: the",
    ) as raised:
        failures.raise_if_any()
    assert isinstance(raised.value.__cause__.__cause__, MemoryError)

    summary = store.summary()
    assert summary["state"].tolist() == ["failed", "finished", "failed", "failed"]
    assert summary["run"].tolist() == [run(fold).hash for fold in range(4)]
    assert (
        summary["message"][2]
        == "vgg16_frozen, fold 3: the loss or a weight is no longer a number (lower the rate)"
    )
    # nor has one finished that a process was killed in writing
    shutil.copytree(store.folder(run(1)), tmp_path / ".partial-1")
    (store.state_folder(run(5))).mkdir()
    (store.state_folder(run(5)) / "spec.json").write_text(run(5).model_dump_json())
    assert store.summary()["state"].tolist() == ["failed", "finished", "failed", "failed", "interrupted"]
    assert store.summary()["fold"].tolist() == [0, 1, 2, 3, 5]
    shutil.rmtree(store.state_folder(run(5)))
    # a run that is finished after all has not failed
    store.write(run(0), table.assign(fold=0, run=run(0).hash))
    assert store.summary()["state"].tolist() == ["finished", "finished", "failed", "failed"]


def test_one_failure_is_raised_as_itself(tmp_path: Path) -> None:
    failures = Failures(RunStore(tmp_path), lambda line: None)
    failures.raise_if_any()
    with failures.of([run(4)]):
        raise LeakageError("patient p is in two parts")
    with pytest.raises(LeakageError, match=r"^vgg16_frozen, fold 5: patient p is in two parts$"):
        failures.raise_if_any()


def test_wrong_input_and_the_user_s_interruption_end_everything(tmp_path: Path) -> None:
    failures = Failures(RunStore(tmp_path), lambda line: None)
    for error in (InputError("no such network"), KeyboardInterrupt()):
        with pytest.raises(type(error)), failures.of([run(0)]):
            raise error
    assert not list(tmp_path.iterdir())


def test_a_disk_too_full_for_the_record_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, lines = RunStore(tmp_path), []

    def full(*_: object) -> None:
        raise RadtransferError("the disk is full")

    monkeypatch.setattr(store, "fail", full)
    failures = Failures(store, lines.append)
    with failures.of([run(0)]):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert lines[1] == "vgg16_frozen, fold 1: its failure could not be recorded: the disk is full"
    with pytest.raises(RunError, match="vgg16_frozen, fold 1: the disk is full"):
        failures.raise_if_any()
