"""Training end to end on phantoms: resume, equality with the plain path, refusals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import InputError, RunError
from radtransfer.training.runs import RunStore, TrainingOptions, predictions_of

pytest.importorskip("keras")

from radtransfer.models.weights import load_backbone
from radtransfer.training.features import stored_activations, stored_views
from radtransfer.training.fit import (
    _Fold,
    _Job,
    _restore,
    _snapshot,
    _stages,
    _State,
    train_networks,
    trained_network,
)
from radtransfer.training.runs import network

OPTIONS = TrainingOptions(
    input_size=32, views=1, epochs=3, patience=3, batch_size=8, head_units=(8,), learning_rate=1e-3, seed=5
)
NETWORKS = ("custom_cnn_scratch", "mobilenet_frozen", "mobilenet_finetuned")
TASK = "pneumonia"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One work folder for the module, without a network: backbones start from random weights."""
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


@pytest.fixture(scope="module")
def unbroken(dataset: CuratedDataset) -> RunStore:
    """Store in which every network was trained in one go, in the first fold."""
    store = RunStore(dataset.folder.parent / "unbroken")
    train_networks(dataset, task=TASK, networks=NETWORKS, options=OPTIONS, n_folds_used=1, store=store)
    return store


def records(dataset: CuratedDataset, store: RunStore, *names: str, **changes: object) -> list:
    options = TrainingOptions.model_validate(OPTIONS.model_dump() | changes)
    return train_networks(
        dataset, task=TASK, networks=names or NETWORKS, options=options, n_folds_used=1, store=store
    )


def test_runs_score_the_validation_and_test_part_of_their_fold(
    dataset: CuratedDataset, unbroken: RunStore
) -> None:
    found = records(dataset, unbroken)
    table = predictions_of(found)
    split = dataset.folds.split(0, validation_fraction=0.1, seed=5)
    for (_, part), rows in table.groupby(["model", "part"]):
        assert tuple(rows["image_id"]) == split.ids(str(part))
        np.testing.assert_array_equal(
            rows["label"], dataset.labels(TASK)[dataset.index(split.ids(str(part)))]
        )
    assert not set(table["image_id"]) & set(dataset.holdout.ids("test"))
    assert table["score"].between(0, 1).all()
    for record in found:
        assert record.timings["n_train"] == len(split.ids("train"))
        assert record.timings["epochs"] == len(record.history)


def test_random_weights_are_never_called_pretrained(dataset: CuratedDataset, unbroken: RunStore) -> None:
    found = {record.spec.model: record for record in records(dataset, unbroken)}
    assert found["custom_cnn_scratch"].spec.weights == "none"
    for name in ("mobilenet_frozen", "mobilenet_finetuned"):
        assert set(found[name].predictions()["weights"]) == {"random"}
        assert "RADTRANSFER_OFFLINE" in " ".join(found[name].environment["weights"]["reasons"])


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_activations_give_what_the_whole_network_gives(
    dataset: CuratedDataset, unbroken: RunStore, name: str
) -> None:
    from radtransfer.training.augment import resize

    (record,) = records(dataset, unbroken, name)
    backbone, model = trained_network(record)
    table = record.predictions()
    images = np.stack([resize(dataset.images[row], 32) for row in dataset.index(table["image_id"].tolist())])
    scores = np.asarray(model(backbone.preprocess(images), training=False))[:, 1]
    np.testing.assert_allclose(scores, table["score"], rtol=1e-4, atol=1e-6)


def test_an_epoch_is_that_of_keras(dataset: CuratedDataset, tmp_path: Path) -> None:
    """The last, smaller batch of an epoch counts too."""
    options = OPTIONS.model_copy(update={"dropout": 0.0, "batch_size": 7})
    job = _Job.make(dataset, TASK, network("mobilenet_frozen"), options)
    views = stored_views(dataset, [str(i) for i in dataset.folds.table["image_id"]], options)
    base = load_backbone(job.backbone, 32, job.weights, seed=5)
    stages = _stages(job, base, views, stored_activations(views, job.backbone, base, job.taps))
    stored = stages[0].source.stored
    features = np.random.default_rng(0).normal(size=stored.array.shape).astype(np.float32)
    source = replace(stages[0].source, stored=SimpleNamespace(array=features, rows=stored.rows))
    stage, state = replace(stages[0], source=source), _State()
    fold = _Fold(job, job.run(0), [stage], RunStore(tmp_path), lambda line: None)
    fold._begin(stage, state)
    start = _snapshot(stage.model)
    fold._pass(stage, state)
    ours = stage.model.get_weights()

    _restore(stage.model, start)
    rows, labels = fold.rows["train"], fold.labels["train"]
    assert len(rows) % 7 != 0
    rng = np.random.default_rng([5, 0, 0, 0])
    order, views_of = rng.permutation(len(rows)), rng.integers(2, size=len(rows))
    stage.model.fit(
        features[views_of[order], rows[order]],
        np.eye(2)[labels[order]],
        batch_size=7,
        shuffle=False,
        verbose=0,
    )
    for mine, theirs, before in zip(ours, stage.model.get_weights(), start["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
        assert mine.ndim < 2 or np.abs(mine - before).max() > 1e-3


@pytest.fixture(scope="module")
def three_classes(dataset: CuratedDataset) -> CuratedDataset:
    """The same images with a task of three classes: brightness in thirds."""
    folder = dataset.folder.with_name("three_classes")
    shutil.copytree(dataset.folder, folder)
    frame = pd.read_parquet(folder / "cohort.parquet")
    third = pd.qcut(np.asarray(dataset.images).mean(axis=(1, 2)), 3, labels=False)
    frame.assign(label_brightness=pd.array(third, dtype="Int64")).to_parquet(folder / "cohort.parquet")
    info = {"tasks": [TASK, "brightness"], "classes": {"brightness": ["dark", "grey", "bright"]}}
    return CuratedDataset(folder, dataset.info | info)


def test_a_task_of_three_classes_is_one_softmax(three_classes: CuratedDataset, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"validation_fraction": 0.3, "epochs": 12, "patience": 12})
    names = ["custom_cnn_scratch", "mobilenet_finetuned"]
    found = train_networks(
        three_classes,
        task="brightness",
        networks=names,
        options=options,
        n_folds_used=1,
        store=RunStore(tmp_path),
    )
    for record in found:
        table = record.predictions()
        by_image = table.groupby(["image_id", "part"])
        assert set(by_image["target"].agg(tuple)) == {("dark", "grey", "bright")}
        np.testing.assert_allclose(by_image["score"].sum(), 1, rtol=1e-5)
        assert record.spec.options["classes"] == ["dark", "grey", "bright"]
        truth = three_classes.labels("brightness")[three_classes.index(table["image_id"].tolist())]
        assert (table["label"] == (truth == np.tile([0, 1, 2], len(table) // 3))).all()
        _, model = trained_network(record)
        assert model.output_shape == (None, 3)
    assert found[0].history[-1]["loss"] < found[0].history[0]["loss"]


def test_fine_tuning_begins_with_small_steps(dataset: CuratedDataset, tmp_path: Path) -> None:
    """Over the first epochs the rate rises by equal steps to its full height."""
    options = OPTIONS.model_copy(update={"finetune_warmup": 2, "finetune_learning_rate": 1e-4})
    job = _Job.make(dataset, TASK, network("mobilenet_finetuned"), options)
    views = stored_views(dataset, [str(i) for i in dataset.folds.table["image_id"]], options)
    base = load_backbone(job.backbone, 32, job.weights, seed=5)
    stages = _stages(job, base, views, stored_activations(views, job.backbone, base, job.taps))
    fold = _Fold(job, job.run(0), stages, RunStore(tmp_path), lambda line: None)
    rates: list[float] = []
    model = stages[1].model
    step = model.train_on_batch

    def watched(*arguments: object) -> object:
        rates.append(float(model.optimizer.learning_rate))
        return step(*arguments)

    model.train_on_batch = watched
    for epoch in range(3):
        fold._pass(stages[1], _State(stage=1, epoch=epoch, learning_rate=1e-4))
    n_steps = -(-len(fold.rows["train"]) // 8)
    expected = [*np.linspace(0, 1e-4, 2 * n_steps + 1)[1:], *[1e-4] * n_steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_a_finished_run_is_not_trained_again(dataset: CuratedDataset, unbroken: RunStore) -> None:
    lines: list[str] = []
    before = {file: file.stat().st_mtime_ns for file in unbroken.root.rglob("*") if file.is_file()}
    train_networks(
        dataset,
        task=TASK,
        networks=NETWORKS,
        options=OPTIONS,
        n_folds_used=1,
        store=unbroken,
        progress=lines.append,
    )
    assert lines == []
    assert {file: file.stat().st_mtime_ns for file in unbroken.root.rglob("*") if file.is_file()} == before


CHILD = """
import sys
from pathlib import Path
from radtransfer.data.store import CuratedDataset
from radtransfer.training.fit import train_networks
from radtransfer.training.runs import RunStore, TrainingOptions

train_networks(
    CuratedDataset.open(Path(sys.argv[1])),
    task=sys.argv[2],
    networks=sys.argv[4].split(","),
    options=TrainingOptions.model_validate_json(sys.argv[5]),
    n_folds_used=1,
    store=RunStore(Path(sys.argv[3])),
    progress=lambda line: print(line, flush=True),
)
"""


@pytest.mark.parametrize(
    "last_line",
    ["custom_cnn_scratch, fold 1, all: epoch 2", "mobilenet_finetuned, fold 1, blocks: epoch 2"],
)
def test_a_killed_run_ends_as_an_unbroken_one(
    dataset: CuratedDataset, unbroken: RunStore, tmp_path: Path, last_line: str
) -> None:
    name = last_line.split(",")[0]
    store = RunStore(tmp_path / "runs")
    arguments = [str(dataset.folder), TASK, str(store.root), name, OPTIONS.model_dump_json()]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(last_line):
            child.send_signal(signal.SIGKILL)
            break
    assert child.wait(timeout=60) == -signal.SIGKILL
    child.stdout.close()
    (expected,) = records(dataset, unbroken, name)
    assert not store.has(expected.spec)
    assert (store.state_folder(expected.spec) / "checkpoint.npz").is_file()

    lines: list[str] = []
    (resumed,) = train_networks(
        dataset,
        task=TASK,
        networks=[name],
        options=OPTIONS,
        n_folds_used=1,
        store=store,
        progress=lines.append,
    )
    assert any("goes on after epoch" in line for line in lines)
    assert not any(line.startswith(f"{name}, fold 1, {last_line.split()[3]} epoch 1,") for line in lines)
    np.testing.assert_array_equal(resumed.predictions()["score"], expected.predictions()["score"])
    for key, weights in expected.arrays().items():
        np.testing.assert_array_equal(resumed.arrays()[key], weights)
    timeless = [
        [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in record.history]
        for record in (resumed, expected)
    ]
    assert timeless[0] == timeless[1]
    assert not store.state_folder(expected.spec).exists()


def test_a_network_learns_what_it_is_shown(dataset: CuratedDataset, tmp_path: Path) -> None:
    (record,) = records(
        dataset, RunStore(tmp_path), "custom_cnn_scratch", epochs=16, patience=16, dropout=0.0
    )
    losses = [epoch["loss"] for epoch in record.history]
    assert losses[-1] < losses[0] / 2


def test_patience_ends_training_and_the_best_epoch_counts(dataset: CuratedDataset, tmp_path: Path) -> None:
    (record,) = records(
        dataset, RunStore(tmp_path), "mobilenet_frozen", epochs=40, patience=4, learning_rate=0.1
    )
    losses = [epoch["validation_loss"] for epoch in record.history]
    assert len(losses) < 40
    assert min(losses[-4:]) >= min([*losses[:-4], record.metrics["validation_loss"]])
    assert record.metrics["validation_loss"] <= min(losses)
    # the loss before the first epoch counts too and is not in the history: some value must explain it
    rates = [epoch["learning_rate"] for epoch in record.history]
    assert rates[-1] < rates[0]
    assert rates in [scheduled(losses, start) for start in (np.inf, *(np.nextafter(losses, 0)))]


def scheduled(losses: list[float], start: float, rate: float = 0.1) -> list[float]:
    """Rates by epoch: halved when two epochs have passed without progress."""
    rates, best, waited = [], start, 0
    for loss in losses:
        rates.append(rate)
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == 2:
            rate, waited = rate / 2, 0
    return rates


def test_a_loss_that_is_no_number_is_refused(dataset: CuratedDataset, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"custom_cnn_scratch, fold 1: .*no longer a number.*lower the learning"
    ):
        records(dataset, RunStore(tmp_path), "custom_cnn_scratch", learning_rate=1e30)


def test_wrong_input_is_refused_before_anything_is_trained(dataset: CuratedDataset, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    with pytest.raises(InputError, match="did you mean 'vgg16_frozen'"):
        records(dataset, store, "custom_cnn_scratch", "vgg16_frosen")
    with pytest.raises(InputError, match="at least 32 px"):
        records(dataset, store, "mobilenet_frozen", input_size=16)
    with pytest.raises(InputError, match="4 folds wanted where the dataset has 3"):
        train_networks(dataset, task=TASK, networks=NETWORKS, options=OPTIONS, n_folds_used=4, store=store)
    assert not store.root.exists()
