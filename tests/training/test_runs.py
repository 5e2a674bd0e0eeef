"""Run specs, records and the store: names, damage, atomicity."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from radtransfer.errors import InputError, RunError
from radtransfer.hashing import sha256_file
from radtransfer.training.runs import (
    NETWORKS,
    PREDICTION_COLUMNS,
    NetworkSpec,
    RunSpec,
    RunStore,
    TrainingOptions,
    network,
    predictions_frame,
    predictions_of,
)


def spec(**changes: object) -> RunSpec:
    values = {
        "recipe": 1,
        "kind": "network",
        "model": "vgg16_frozen",
        "task": "pneumonia",
        "dataset_digest": "d" * 64,
        "folds_digest": "f" * 64,
        "fold": 0,
        "seed": 7,
        "options": {"learning_rate": 1e-3, "head_units": (256, 64)},
    }
    return RunSpec.model_validate(values | changes)


def frame(run: RunSpec, n: int = 4) -> pd.DataFrame:
    return predictions_frame(
        run,
        image_ids=[f"i{k}" for k in range(n)],
        patient_ids=[f"p{k // 2}" for k in range(n)],
        part=["validation", *["test"] * (n - 1)],
        labels=[k % 2 for k in range(n)],
        scores=np.linspace(0, 1, n),
    )


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def test_record_comes_back_as_written(store: RunStore) -> None:
    run = spec()
    weights = {"head/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
    store.write(run, frame(run), history=[{"epoch": 1, "loss": 0.5}], timings={"train_s": 2}, arrays=weights)

    assert store.has(run)
    record = store.load(run)
    assert record.spec.hash == run.hash
    assert record.history == ({"epoch": 1, "loss": 0.5},)
    assert record.timings == {"train_s": 2.0}
    pd.testing.assert_frame_equal(record.predictions(), frame(run), check_dtype=False)
    assert tuple(record.predictions().columns) == PREDICTION_COLUMNS
    np.testing.assert_array_equal(record.arrays()["head/kernel"], weights["head/kernel"])


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": 2},
        {"kind": "baseline"},
        {"model": "mobilenet_frozen"},
        {"task": "sex"},
        {"dataset_digest": "e" * 64},
        {"folds_digest": "0" * 64},
        {"fold": 1},
        {"seed": 8},
        {"weights": "imagenet"},
        {"weights_digest": "a"},
        {"options": {"learning_rate": 2e-3, "head_units": (256, 64)}},
    ],
)
def test_every_field_of_a_spec_changes_its_name(changes: dict[str, object]) -> None:
    assert spec(**changes).hash != spec().hash


def test_a_name_survives_json_and_another_process() -> None:
    run = spec()
    code = (
        "import sys, json; from radtransfer.training.runs import RunSpec;"
        "print(RunSpec.model_validate(json.load(sys.stdin)).hash, 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=run.model_dump_json(), text=True, capture_output=True, check=True
    )
    assert done.stdout.split() == [run.hash, "False"]


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        spec(weight="imagenet")
    with pytest.raises(ValidationError):
        TrainingOptions(learningrate=1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["predictions.parquet", "record.json"])
@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_damage_is_refused_and_named(store: RunStore, name: str, damage: str) -> None:
    run = spec()
    file = store.write(run, frame(run)).folder / name
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(RunError, match=rf"{name} is {damage}.*delete"):
        store.load(run)


def test_an_absent_run_and_a_foreign_folder_are_refused(store: RunStore) -> None:
    run, other = spec(), spec(fold=1)
    with pytest.raises(RunError, match="no run record"):
        store.load(run)
    store.write(other, frame(other)).folder.rename(store.folder(run))
    with pytest.raises(RunError, match="another run"):
        store.load(run)


def test_writing_drops_the_state_and_leaves_nothing_half_written(store: RunStore) -> None:
    run = spec()
    store.state_folder(run).mkdir(parents=True)
    store.write(run, frame(run))
    assert [entry.name for entry in store.root.iterdir()] == [run.hash]

    other = spec(fold=1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write(other, frame(other), metrics={"auc": float("nan")})
    assert not store.has(other)
    assert [entry.name for entry in store.root.iterdir()] == [run.hash]


@given(score=st.sampled_from([float("nan"), float("inf"), -float("inf")]), position=st.integers(0, 3))
def test_scores_that_are_not_finite_are_refused(score: float, position: int) -> None:
    scores = [0.1, 0.2, 0.3, 0.4]
    scores[position] = score
    with pytest.raises(RunError, match=f"not finite.*i{position}"):
        predictions_frame(
            spec(),
            image_ids=["i0", "i1", "i2", "i3"],
            patient_ids=["p"] * 4,
            part="test",
            labels=[0, 1, 0, 1],
            scores=scores,
        )


def test_two_scores_for_one_image_are_refused(store: RunStore) -> None:
    run = spec()
    with pytest.raises(RunError, match="image a has two scores"):
        predictions_frame(
            run, image_ids=["a", "a"], patient_ids=["p", "p"], part="test", labels=[0, 0], scores=[0.1, 0.2]
        )
    # the same image in validation and test of two folds is right; twice in one is not
    one = store.write(run, frame(run))
    other = spec(fold=1)
    table = predictions_of([one, store.write(other, frame(other))])
    assert len(table) == 8
    again = spec(seed=8)
    with pytest.raises(InputError, match="two scores of vgg16_frozen"):
        predictions_of([one, store.write(again, frame(again))])
    with pytest.raises(InputError, match="no run records"):
        predictions_of([])


def test_a_record_that_holds_code_is_not_executed(store: RunStore, tmp_path: Path) -> None:
    """A stranger's record with right checksums, whose weights are a pickle that would write a file."""
    told = tmp_path / "executed"

    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (told,)

    run = spec()
    folder = store.write(run, frame(run), arrays={"a": np.zeros(2)}).folder
    np.savez(folder / "weights.npz", allow_pickle=True, a=np.array([Code()], dtype=object))
    sums = folder / "SHA256SUMS"
    kept = [line for line in sums.read_text().splitlines() if "weights" not in line]
    sums.write_text("\n".join([*kept, f"{sha256_file(folder / 'weights.npz')}  weights.npz"]) + "\n")
    record = store.load(run)
    assert len(record.predictions()) == 4
    with pytest.raises(ValueError, match="allow_pickle=False"):
        record.arrays()
    assert not told.exists()
    with np.load(folder / "weights.npz", allow_pickle=True) as stored:
        _ = stored["a"]
    assert told.exists()  # it would have been


def test_younger_settings_name_a_run_only_where_they_are_not_the_default() -> None:
    old = TrainingOptions().identity()
    assert not TrainingOptions.LATER & set(old)
    assert TrainingOptions(schedule="cosine").identity() == old | {"schedule": "cosine"}
    assert TrainingOptions(label_smoothing=0.1).identity() == old | {"label_smoothing": 0.1}
    assert TrainingOptions(class_weights="balanced").identity() == old | {"class_weights": "balanced"}
    vgg16 = network("vgg16_finetuned")
    assert vgg16.identity() == {
        "name": "vgg16_finetuned",
        "backbone": "vgg16",
        "regime": "finetuned",
        "trainable_blocks": 1,
    }
    transferred = vgg16.starting_from("haemorrhage")
    assert transferred.identity() == vgg16.identity() | {
        "name": "vgg16_finetuned_from_haemorrhage",
        "source": "haemorrhage",
    }
    assert network("vgg16_finetuned_at_once").identity()["staged"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {"regime": "scratch", "source": "pneumonia"},
        {"regime": "scratch", "staged": False},
        {"regime": "frozen", "trainable_blocks": 1},
        {"regime": "finetuned", "trainable_blocks": 0},
    ],
)
def test_networks_that_contradict_themselves_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="mine"):
        NetworkSpec.model_validate({"name": "mine", "backbone": "vgg16"} | changes)


def test_networks_are_named_after_themselves() -> None:
    assert all(name == entry.name for name, entry in NETWORKS.items())
    assert all((entry.trainable_blocks > 0) == (entry.regime == "finetuned") for entry in NETWORKS.values())
    with pytest.raises(InputError, match="did you mean 'vgg16_frozen'"):
        network("vgg16_frosen")


def test_a_claim_that_is_not_waited_for_says_who_has_the_run(store: RunStore) -> None:
    run = spec()
    with store.claim(run) as first, store.claim(run, wait=False) as second:
        assert (first, second) == (True, False)
        with store.claim(spec(fold=1), wait=False) as other:
            assert other
    with store.claim(run, wait=False) as third:
        assert third


def test_claim_keeps_a_second_process_waiting(store: RunStore) -> None:
    code = (
        "import sys, json; from pathlib import Path;"
        "from radtransfer.training.runs import RunSpec, RunStore;"
        "run = RunSpec.model_validate(json.load(sys.stdin)); store = RunStore(Path(sys.argv[1]))\n"
        "with store.claim(run): print(store.has(run))"
    )
    run = spec()
    with store.claim(run):
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(store.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdin is not None
        waiting.stdin.write(run.model_dump_json())
        waiting.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=3)
        store.write(run, frame(run))
    assert waiting.stdout is not None
    assert waiting.stdout.read().strip() == "True"
    assert waiting.wait(timeout=30) == 0
    waiting.stdout.close()
