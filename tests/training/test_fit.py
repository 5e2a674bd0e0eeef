"""Training end to end on phantoms: resume, equality with the plain path, refusals."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import InputError, LeakageError, RunError
from radtransfer.models.registry import BACKBONES
from radtransfer.models.weights import WeightsInfo, load_backbone, store_tensors, tensor_digest
from radtransfer.training import fit
from radtransfer.training.augment import resize
from radtransfer.training.features import stored_activations, stored_views
from radtransfer.training.fit import (
    _Fold,
    _Job,
    _restore,
    _snapshot,
    _Stage,
    _stages,
    _State,
    train_networks,
)
from radtransfer.training.networks import medical_weights, starting_backbone, trained_network
from radtransfer.training.runs import (
    NetworkSpec,
    RunRecord,
    RunStore,
    TrainingOptions,
    network,
    predictions_of,
)

keras = pytest.importorskip("keras")

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


def test_one_pass_serves_networks_that_found_the_same_weights_elsewhere(dataset: CuratedDataset) -> None:
    frozen, finetuned = (
        _Job.make(dataset, TASK, network(name), OPTIONS, {})
        for name in ("mobilenet_frozen", "mobilenet_finetuned")
    )
    downloaded = WeightsInfo("imagenet", "a mirror", "0" * 64, Path("weights"), ("its own host: no answer",))
    stored = WeightsInfo("imagenet", "a mirror", "0" * 64, Path("weights"))
    other = replace(stored, digest="1" * 64)
    first = replace(frozen, weights=downloaded)
    assert first.shares_activations(replace(finetuned, weights=stored))
    assert not first.shares_activations(replace(finetuned, weights=other))


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_activations_give_what_the_whole_network_gives(
    dataset: CuratedDataset, unbroken: RunStore, name: str
) -> None:
    (record,) = records(dataset, unbroken, name)
    backbone, model = trained_network(record)
    table = record.predictions()
    images = np.stack([resize(dataset.images[row], 32) for row in dataset.index(table["image_id"].tolist())])
    scores = np.asarray(model(backbone.preprocess(images), training=False))[:, 1]
    np.testing.assert_allclose(scores, table["score"], rtol=1e-4, atol=1e-6)


def job_of(dataset: CuratedDataset, name: str, **changes: object) -> _Job:
    options = TrainingOptions.model_validate(OPTIONS.model_dump() | changes)
    return _Job.make(dataset, TASK, network(name), options, {})


def prepared(job: _Job, tmp_path: Path) -> tuple[_Fold, tuple[_Stage, ...]]:
    """First fold of a job before its first epoch."""
    views = stored_views(job.dataset, job.dataset.image_ids, job.options)
    base = load_backbone(job.backbone, 32, job.weights, seed=5)
    stages = _stages(job, base, views, stored_activations(views, job.backbone, base, job.taps))
    return _Fold(job, job.run(0), stages, RunStore(tmp_path), lambda line: None), stages


@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_is_that_of_keras(dataset: CuratedDataset, tmp_path: Path, weighted: bool) -> None:
    """The last, smaller batch counts too; class weights and smoothing mean what they mean there."""
    changes = {"class_weights": "balanced", "label_smoothing": 0.2} if weighted else {}
    job = job_of(dataset, "mobilenet_frozen", dropout=0.0, batch_size=7, **changes)
    fold, (stage,) = prepared(job, tmp_path)
    stored = stage.source.stored
    features = np.random.default_rng(0).normal(size=stored.array.shape).astype(np.float32) * 3
    drawn = SimpleNamespace(array=features, rows=stored.rows)
    stage = replace(stage, source=replace(stage.source, stored=drawn), scaled_by=drawn)
    state = _State()
    fold._begin(stage, state)
    assert float(stage.head.get_layer("head_scaling").moving_variance[0]) == pytest.approx(9, rel=0.02)
    start = _snapshot(stage.model)
    fold._pass(stage, state)
    ours = stage.model.get_weights()

    rows, labels = fold.rows["train"], fold.labels["train"]
    assert len(rows) % 7 != 0
    rng = np.random.default_rng([5, 0, 0, 0])
    order, views_of = rng.permutation(len(rows)), rng.integers(2, size=len(rows))
    stage.model.compile("adam", keras.losses.CategoricalCrossentropy(label_smoothing=0.2 * weighted))
    stage.model.optimizer.build(stage.model.trainable_variables)
    _restore(stage.model, start)
    balance = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    stage.model.fit(
        features[views_of[order], rows[order]],
        np.eye(2)[labels[order]],
        batch_size=7,
        shuffle=False,
        verbose=0,
        class_weight=dict(enumerate(balance)) if weighted else None,
    )
    for mine, theirs, before in zip(ours, stage.model.get_weights(), start["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
        assert mine.ndim < 2 or np.abs(mine - before).max() > 1e-3


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_steps_in_one_call_are_those_of_many(
    dataset: CuratedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    """To the last bit, with dropout, calls of several lengths and a last batch of another size."""
    monkeypatch.setattr(fit, "STEPS_A_CALL", 2)
    fold, (stage,) = prepared(
        job_of(dataset, "mobilenet_frozen", batch_size=7, class_weights=weights), tmp_path
    )
    if stage.at_once is None:
        pytest.skip("on this backend each step is a call")
    state = _State()
    fold._begin(stage, state)
    start, found = _snapshot(stage.model), []
    for each in (stage, replace(stage, at_once=None)):
        _restore(stage.model, start)
        losses = [fold._pass(each, replace(state, epoch=epoch)) for epoch in range(2)]
        scores = [fold._scores(each, part).tolist() for part in ("validation", "test")]
        found.append(((losses, scores), _snapshot(stage.model)))
    assert found[0][0] == found[1][0]
    for part, values in found[0][1].items():
        for mine, theirs in zip(values, found[1][1][part], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert int(stage.model.optimizer.iterations) == 2 * -(-len(fold.rows["train"]) // 7)


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
    names = ["custom_cnn_scratch", "mobilenet_frozen"]
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


def test_a_backbone_in_bfloat16_is_another_run_of_nearly_the_same_numbers(
    dataset: CuratedDataset, tmp_path: Path
) -> None:
    job = job_of(dataset, "custom_cnn_scratch", precision="mixed_bfloat16")
    assert job.run(0).hash != job_of(dataset, "custom_cnn_scratch").run(0).hash
    views = stored_views(dataset, dataset.image_ids, OPTIONS)
    tap, stored = job.pooled, {}
    for precision in ("float32", "mixed_bfloat16"):
        base = load_backbone(job.backbone, 32, job.weights, seed=5, precision=precision)
        assert {weight.dtype for weight in base.get_weights()} == {np.dtype(np.float32)}
        stored[precision] = stored_activations(views, job.backbone, base, (tap,))[tap]
    exact, rounded = (stored[precision].array for precision in ("float32", "mixed_bfloat16"))
    assert exact.dtype == rounded.dtype == np.float32
    # each of six blocks rounds its input, kernel and output, by at most 1 part in 256
    assert np.linalg.norm(rounded - exact) < 6 * 3 / 256 * np.linalg.norm(exact)
    assert (rounded != exact).any()

    tuned = NetworkSpec(name="custom_cnn", backbone="custom_cnn", regime="finetuned", trainable_blocks=2)
    (record,) = train_networks(
        dataset,
        task=TASK,
        networks=[tuned],
        options=OPTIONS.model_copy(update={"precision": "mixed_bfloat16", "epochs": 1}),
        n_folds_used=1,
        store=RunStore(tmp_path),
    )
    _, model = trained_network(record)
    assert model.get_layer("block6_conv").compute_dtype == "bfloat16"
    assert model.get_layer("head").compute_dtype == "float32"
    assert {weight.dtype for weight in record.arrays().values()} == {np.dtype(np.float32)}


def test_fine_tuning_begins_with_small_steps(dataset: CuratedDataset, tmp_path: Path) -> None:
    """Over the first epochs the rate rises by equal steps to its full height."""
    job = job_of(dataset, "mobilenet_finetuned", finetune_warmup=2, finetune_learning_rate=1e-4)
    fold, stages = prepared(job, tmp_path)
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


def driver(
    dataset: CuratedDataset, store: RunStore, *names: str, **environment: str
) -> subprocess.Popen[str]:
    """Process that trains networks in the first fold."""
    arguments = [str(dataset.folder), TASK, str(store.root), ",".join(names), OPTIONS.model_dump_json()]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def test_two_drivers_train_no_run_twice_and_each_to_the_last_bit(
    dataset: CuratedDataset, unbroken: RunStore, tmp_path: Path
) -> None:
    """Other processes, with features of their own, come to the weights of this one."""
    store = RunStore(tmp_path / "runs")
    names = ("custom_cnn_scratch", "mobilenet_frozen")
    drivers = [driver(dataset, store, *names, RADTRANSFER_WORK=str(tmp_path)) for _ in range(2)]
    lines = [line for one in drivers for line in one.communicate()[0].splitlines()]
    assert [one.returncode for one in drivers] == [0, 0]
    epochs = [line.split(", loss")[0] for line in lines if ": epoch " in line]
    expected = records(dataset, unbroken, *names)
    assert len(epochs) == len(set(epochs)) == sum(len(record.history) for record in expected)
    for record in expected:
        other = store.load(record.spec)
        assert other.arrays().keys() == record.arrays().keys()
        for key, weights in record.arrays().items():
            np.testing.assert_array_equal(other.arrays()[key], weights)
        assert other.predictions().equals(record.predictions())


@pytest.mark.parametrize(
    "last_line",
    ["custom_cnn_scratch, fold 1, all: epoch 2", "mobilenet_finetuned, fold 1, blocks: epoch 2"],
)
def test_a_killed_run_ends_as_an_unbroken_one(
    dataset: CuratedDataset, unbroken: RunStore, tmp_path: Path, last_line: str
) -> None:
    name = last_line.split(",")[0]
    store = RunStore(tmp_path / "runs")
    child = driver(dataset, store, name)
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
        dataset, RunStore(tmp_path), "custom_cnn_scratch", epochs=24, patience=24, dropout=0.0
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


def test_a_cosine_takes_the_rate_to_nothing(dataset: CuratedDataset, tmp_path: Path) -> None:
    (record,) = records(
        dataset, RunStore(tmp_path), "mobilenet_frozen", epochs=4, patience=4, schedule="cosine"
    )
    rates = [epoch["learning_rate"] for epoch in record.history]
    half = np.sqrt(0.5) / 2
    np.testing.assert_allclose(rates, [1e-3, (0.5 + half) * 1e-3, 0.5e-3, (0.5 - half) * 1e-3])


def layer_widths() -> list[int]:
    """Channels of MobileNet's 27 convolutions (Howard et al. 2017, table 1)."""
    widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    return [32, *(width for pair in pairwise(widths) for width in pair)]


@pytest.mark.slow
def test_all_blocks_can_be_trained_at_once(dataset: CuratedDataset, tmp_path: Path) -> None:
    spec = NetworkSpec(
        name="all_at_once", backbone="mobilenet", regime="finetuned", trainable_blocks=14, staged=False
    )
    (record,) = train_networks(
        dataset, task=TASK, networks=[spec], options=OPTIONS, n_folds_used=1, store=RunStore(tmp_path)
    )
    assert {epoch["stage"] for epoch in record.history} == {"blocks"}
    # 27 kernels of the backbone, no normalisation, and the head
    normalisation = 2 * sum(layer_widths())
    head = 1024 * 8 + 8 + 8 * 2 + 2
    assert record.metrics["n_trainable"] == 3_206_976 - normalisation + head
    assert record.spec.options["staged"] is False
    too_many = spec.model_copy(update={"trainable_blocks": 15})
    with pytest.raises(InputError, match="trains 15 of 14 blocks"):
        train_networks(dataset, task=TASK, networks=[too_many], options=OPTIONS, store=RunStore(tmp_path))


def test_a_network_can_start_from_another_dataset(
    dataset: CuratedDataset, three_classes: CuratedDataset, tmp_path: Path
) -> None:
    store = RunStore(tmp_path)
    elsewhere = CuratedDataset(
        three_classes.folder, three_classes.info | {"dataset": "phantom_ct", "digest": "e" * 64}
    )
    (source,) = train_networks(
        elsewhere,
        task="brightness",
        networks=["custom_cnn_scratch"],
        options=OPTIONS.model_copy(update={"validation_fraction": 0.3, "epochs": 2}),
        n_folds_used=1,
        store=store,
    )
    frozen = NetworkSpec(name="custom_cnn_frozen", backbone="custom_cnn", regime="frozen")
    tuned = NetworkSpec(name="custom_cnn", backbone="custom_cnn", regime="finetuned", trainable_blocks=2)
    networks = [spec.starting_from("brightness") for spec in (frozen, tuned)]

    def train(**sources: RunRecord) -> list[RunRecord]:
        return train_networks(
            dataset,
            task=TASK,
            networks=networks,
            options=OPTIONS,
            n_folds_used=1,
            sources=sources,
            store=store,
        )

    found = train(brightness=source)
    _, donor = trained_network(source)
    given = [weight for layer in donor.layers if layer.name != "head" for weight in layer.get_weights()]
    for record in found:
        assert record.spec.weights == "medical"
        assert record.spec.weights_digest == tensor_digest(given)
        assert record.spec.options["source_run"] == source.spec.hash
        assert record.environment["weights"]["source"] == (
            f"run {source.spec.hash}: custom_cnn_scratch trained for brightness from random numbers"
        )
        backbone, model = trained_network(record)
        table = record.predictions()
        rows = dataset.index(table["image_id"].tolist())
        images = np.stack([resize(dataset.images[row], 32) for row in rows])
        scores = np.asarray(model(backbone.preprocess(images), training=False))[:, 1]
        np.testing.assert_allclose(scores, table["score"], rtol=1e-4, atol=1e-6)
        kept = [weight for layer in model.layers if layer.name != "head" for weight in layer.get_weights()]
        changed = [not np.array_equal(a, b) for a, b in zip(given, kept, strict=True)]
        # two blocks' kernels at most; statistics never
        assert sum(changed) <= (2 if record is found[1] else 0)

    with pytest.raises(InputError, match="unknown source 'brightness'"):
        train()
    with pytest.raises(InputError, match="did not train its backbone"):
        medical_weights(backbone, found[0])
    own = replace(source, environment={"dataset": "phantom_xray"})
    with pytest.raises(LeakageError, match="was trained on phantom_xray itself"):
        train(brightness=own)


def test_what_fails_is_recorded_and_the_others_go_on(
    dataset: CuratedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path)
    epoch = _Fold._epoch

    def failing(self: _Fold, stage: object, state: _State, best: list) -> list:
        if self.run.fold == 0:
            raise MemoryError
        if self.run.fold == 1 and state.epoch == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return epoch(self, stage, state, best)

    def train() -> list[RunRecord]:
        return train_networks(dataset, task=TASK, networks=["mobilenet_frozen"], options=OPTIONS, store=store)

    with monkeypatch.context() as patch:
        patch.setattr(_Fold, "_epoch", failing)
        with pytest.raises(RunError, match=r"2 runs failed.*fold 1: out of memory.*fold 2: the disk is full"):
            train()
    assert store.summary()["state"].tolist() == ["failed", "failed", "finished"]
    assert len(train()) == 3
    assert store.summary()["state"].tolist() == ["finished"] * 3


FULL = """
import json
import os
import sys
from pathlib import Path
from radtransfer.data.store import CuratedDataset
from radtransfer.errors import RunError
from radtransfer.training.fit import train_networks
from radtransfer.training.runs import RunStore, TrainingOptions

store = RunStore(Path(sys.argv[2]))
filler = store.root / "filler"


def leave(n_bytes):
    filler.unlink(missing_ok=True)
    with filler.open("wb") as stream:
        free = os.statvfs(store.root)
        stream.write(bytes(free.f_bavail * free.f_frsize - n_bytes))


def progress(line):
    if "fold 1: FAILED" in line:
        leave(200_000)  # for what is needed to go on, and not for the record as well
    elif "fold 2: FAILED" in line:
        filler.unlink()


def train():
    train_networks(
        CuratedDataset.open(Path(sys.argv[1])),
        task="pneumonia",
        networks=["mobilenet_frozen"],
        options=TrainingOptions.model_validate_json(sys.argv[3]),
        store=store,
        progress=progress,
    )


leave(60_000)
try:
    train()
    message = ""
except RunError as error:
    message = error.message
states = store.summary()[["state", "message"]].to_numpy().tolist()
train()
print(json.dumps([message, states, store.summary()["state"].tolist()]))
"""
IN_SMALL_DISK = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'


def test_a_disk_that_fills_fails_the_runs_it_hits(dataset: CuratedDataset, tmp_path: Path) -> None:
    """A real one: while a checkpoint is written, then a record; the third fold has room."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", IN_SMALL_DISK, str(tmp_path)]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a small disk")
    arguments = [
        str(dataset.folder),
        str(tmp_path),
        OPTIONS.model_copy(update={"epochs": 1}).model_dump_json(),
    ]
    done = subprocess.run(
        [*unshare, sys.executable, "-c", FULL, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    message, states, afterwards = json.loads(done.stdout.splitlines()[-1])
    assert message.startswith("2 runs failed, the others are finished: mobilenet_frozen, fold 1: the disk")
    assert [state for state, _ in states] == ["failed", "failed", "finished"]
    assert "checkpoint.npz was not written (free some space" in states[0][1]
    assert "the disk is full" in states[1][1]
    assert "checkpoint" not in states[1][1]
    assert afterwards == ["finished"] * 3


def test_runs_in_another_driver_s_hand_come_last(dataset: CuratedDataset, tmp_path: Path) -> None:
    store, lines = RunStore(tmp_path), []
    claims = ExitStack()
    claims.enter_context(store.claim(job_of(dataset, "mobilenet_frozen", epochs=1).run(0)))

    def progress(line: str) -> None:
        lines.append(line)
        if line.startswith("mobilenet_frozen, fold 3, head: epoch 1"):
            claims.close()  # the other driver is done, or dead

    train_networks(
        dataset,
        task=TASK,
        networks=["mobilenet_frozen"],
        options=OPTIONS.model_copy(update={"epochs": 1}),
        store=store,
        progress=progress,
    )
    trained = [line.split(",")[1] for line in lines if "epoch 1" in line]
    assert trained == [" fold 2", " fold 3", " fold 1"]


def test_a_class_that_a_fold_lacks_fails_that_fold_alone(
    three_classes: CuratedDataset, tmp_path: Path
) -> None:
    frame = three_classes.cohort.frame
    table = three_classes.folds.table
    second = frame["image_id"].isin(table.loc[table["fold"] == 1, "image_id"])
    labels = three_classes.cohort.labels("brightness").mask(second & (frame["label_brightness"] == 2), 0)
    cohort = three_classes.cohort.assign(label_brightness=labels)
    lacking = CuratedDataset(three_classes.folder, three_classes.info | {"digest": "a" * 64})
    lacking.__dict__["cohort"] = cohort  # stands for the cached one
    store = RunStore(tmp_path)
    with pytest.raises(RunError, match="fold 2: the test part has no image of class 'bright'"):
        train_networks(
            lacking,
            task="brightness",
            networks=["mobilenet_frozen"],
            options=OPTIONS.model_copy(update={"validation_fraction": 0.3, "epochs": 1}),
            store=store,
        )
    assert store.summary()["state"].tolist() == ["finished", "failed", "finished"]


def test_recipe_and_defaults_give_the_names_that_records_have(dataset: CuratedDataset) -> None:
    """Records of recipe 2 stay valid while settings are added: these names were given at its start."""
    named = SimpleNamespace(
        digest="d" * 64,
        folds=SimpleNamespace(digest="f" * 64),
        cohort=SimpleNamespace(classes_of=lambda task: ("no", "yes")),
    )
    names = {
        "custom_cnn_scratch": "888d26d3f10f7089",
        "vgg16_frozen": "a94594fe63d6808b",
        "mobilenet_finetuned": "b1f9c0c6b8fe0284",
    }
    for name, expected in names.items():
        spec = network(name)
        job = _Job(named, TASK, spec, BACKBONES[spec.backbone], WeightsInfo("none"), TrainingOptions(seed=5))
        assert job.run(1).hash == expected


def test_a_loss_that_is_no_number_is_refused(dataset: CuratedDataset, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"custom_cnn_scratch, fold 1: .*no longer a number.*lower the learning"
    ):
        # next to the largest float32: sums overflow, where smaller steps may only saturate
        records(dataset, RunStore(tmp_path), "custom_cnn_scratch", learning_rate=3e38)


def test_wrong_input_is_refused_before_anything_is_trained(dataset: CuratedDataset, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    with pytest.raises(InputError, match="did you mean 'vgg16_frozen'"):
        records(dataset, store, "custom_cnn_scratch", "vgg16_frosen")
    with pytest.raises(InputError, match="at least 32 px"):
        records(dataset, store, "mobilenet_frozen", input_size=16)
    with pytest.raises(InputError, match="4 folds wanted where the dataset has 3"):
        train_networks(dataset, task=TASK, networks=NETWORKS, options=OPTIONS, n_folds_used=4, store=store)
    assert not store.root.exists()


def test_a_share_of_the_patients_is_trained_for_as_many_steps(
    dataset: CuratedDataset, unbroken: RunStore
) -> None:
    # 0.3 of the images do not go into an epoch a whole number of times, nor into batches
    small, whole = (
        records(dataset, unbroken, "mobilenet_frozen", training_fraction=share)[0] for share in (0.3, 1.0)
    )
    assert 0.2 < small.timings["n_train"] / whole.timings["n_train"] < 0.4
    assert small.spec.hash != whole.spec.hash
    assert whole.spec.hash == records(dataset, unbroken, "mobilenet_frozen")[0].spec.hash
    job = _Job.make(
        dataset,
        TASK,
        network("mobilenet_frozen"),
        OPTIONS.model_copy(update={"training_fraction": 0.3}),
        {},
    )
    seen: list[int] = []
    views = stored_views(dataset, dataset.image_ids, job.options)
    base = load_backbone(job.backbone, 32, job.weights, seed=5)
    stages = _stages(job, base, views, stored_activations(views, job.backbone, base, job.taps))
    fold = _Fold(job, job.run(0), stages, unbroken, lambda line: None)
    stage = stages[0]
    seen_rows: list[np.ndarray] = []
    source = SimpleNamespace(
        n_views=stage.source.n_views,
        batch=lambda of, rows: (seen.append(len(rows)), seen_rows.append(rows), stage.source.batch(of, rows))[
            2
        ],
    )
    fold._pass(replace(stage, source=source), _State())  # type: ignore[arg-type]
    assert sum(seen) == whole.timings["n_train"]
    assert set(np.concatenate(seen_rows).tolist()) == set(fold.rows["train"].tolist())


def test_blocks_that_lose_their_weights_are_the_only_ones(dataset: CuratedDataset, work: Path) -> None:
    parts = BACKBONES["mobilenet"]
    kept, lost = (
        NetworkSpec(name="n", backbone="mobilenet", regime="frozen", reinitialised=blocks)
        for blocks in ((), ("block2", "block3"))
    )
    weights = WeightsInfo("none")
    other = load_backbone(parts, 32, weights, seed=99)
    path = work / "other.npz"
    store_tensors(path, other.get_weights())
    known = WeightsInfo("imagenet", "planted", tensor_digest(other.get_weights()), path)
    before, after = (starting_backbone(spec, parts, OPTIONS, known) for spec in (kept, lost))
    changed = {
        one.name
        for one, two in zip(before.layers, after.layers, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    }
    # batch normalisation starts alike everywhere
    assert changed == {f"conv_{kind}_{n}" for kind in ("dw", "pw") for n in (2, 3)}
    with pytest.raises(InputError, match="block of mobilenet"):
        _Job.make(dataset, TASK, lost.model_copy(update={"reinitialised": ("block99",)}), OPTIONS, {})


def test_the_same_network_is_trained_alike_from_two_starts(
    dataset: CuratedDataset, unbroken: RunStore
) -> None:
    options = OPTIONS.model_copy(update={"epochs": 1, "normalisation_momentum": 0.9})
    scratch, whole = (
        train_networks(
            dataset,
            task=TASK,
            networks=[NetworkSpec(name=regime, backbone="custom_cnn", regime=regime)],  # type: ignore[arg-type]
            options=options,
            n_folds_used=1,
            store=unbroken,
        )[0]
        for regime in ("scratch", "whole")
    )
    # there are no weights of this network, so that both start alike, and everything else is alike, too
    np.testing.assert_array_equal(scratch.predictions()["score"], whole.predictions()["score"])
    assert whole.metrics["n_trainable"] == scratch.metrics["n_trainable"]
    assert [entry["stage"] for entry in whole.history] == ["all"]
