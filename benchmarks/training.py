"""Training of VGG16 beside the loop of the Keras guide to transfer learning, on the same images.

``python benchmarks/training.py [--quick] [--images 1000] [--size 160] [--output FILE.json]``

Phantoms of chest radiographs, five folds. Each part runs in a process of its own, so that neither side gets
the other's settings; ratios are of times of one call. The guide's loop keeps the base in the model, calls it
with ``training=False``, and puts pooling and the head on it; ``fit`` trains it fold by fold from a
``tf.data`` pipeline. Its epochs are all alike: two are timed after the first trace, and stand for 100.

- *Heads*: the frozen network, five folds of 20 epochs, timed whole with the pass that its activations come
  from. Target: 40 times faster. Equal predictions: both sides train the first fold for two epochs with the
  same initial weights and order, without dropout and views, and score the test part with the weights of the
  least validation loss. Target: no difference above 1e-4.
- *Blocks*: the last block trained with the head, likewise. Of our side two epochs are timed, too, and stand
  for 100, checkpoints included. Target: 3 times faster. Equal: predictions of the two sides differ by no more
  than those of two seeds of ours, in root mean square.
- *Rates*: heads of five learning rates, against the first. The pass is timed once and counted on both
  sides. Target: under 1.3 times as long.
- *Forward*: arithmetic of the pass against the machine's matrix product. The clock of a processor that others
  share changes by the minute, so the product is timed in pauses of the pass, which are not counted: the best
  of each pause, and of them the mean. Target: 0.8 of it. The fastest of all products is reported, too. Where
  the processor multiplies bfloat16: that pass, and the AUC of heads on it. Target: 1.5 times faster.
- *Input*: an epoch of training all of a network, against as many steps on one batch that is there already,
  in turns. The fastest networks are the hardest case. Target: 5 % more.

ImageNet weights are taken if they lie in the work folder, else random ones: speed does not depend on them.
Exit status 1 if a target is missed. ``--quick`` shows that it runs: with few small images fixed costs weigh
more than what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from radtransfer import paths
from radtransfer.atomic import write_json
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.training.runs import RunStore, TrainingOptions, network

TASK = "pneumonia"
N_FOLDS, EPOCHS, TIMED = 5, 20, 2
FROZEN, TUNED = "vgg16_frozen", "vgg16_finetuned_at_once"
RATES = (1e-3, 3e-4, 2e-3, 5e-4, 1e-4)
INPUT_NETWORKS = ("custom_cnn_scratch", "mobilenet_scratch")
TURNS, STEPS = 5, 16
TARGETS = {
    "heads": 40.0,
    "heads_difference": 1e-4,
    "blocks": 3.0,
    "blocks_difference": 1.0,
    "rates": 1.3,
    "forward": 0.8,
    "bfloat16": 1.5,
    "input": 1.05,
}
AT_MOST = {"heads_difference", "blocks_difference", "rates", "input"}
BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Flags of processors that multiply it; the others convert, and are slower than in float32."""


def images_of(n_images: int, size: int) -> CuratedDataset:
    """So many phantoms in five folds; none is held out or left out for an age."""
    patients = PhantomSpec(n_patients=n_images, images_per_patient=1, size=size, seed=3)
    return curate(
        "phantom_xray",
        task=TASK,
        image_size=size,
        age_min=0,
        age_max=120,
        test_fraction=0,
        n_folds=N_FOLDS,
        seed=1,
        phantom=patients,
    )


def options_of(dataset: CuratedDataset, **changes: Any) -> TrainingOptions:
    """Options without views, that never stop early."""
    given = {
        "input_size": dataset.images.shape[1],
        "views": 0,
        "epochs": EPOCHS,
        "patience": EPOCHS,
        "seed": 5,
    }
    return TrainingOptions.model_validate(given | changes)


def compared(dataset: CuratedDataset, **changes: Any) -> TrainingOptions:
    """Options under which both sides take the same steps."""
    return options_of(
        dataset, epochs=TIMED, patience=TIMED, dropout=0.0, finetune_warmup=0, schedule="constant", **changes
    )


def quiet(_: str) -> None:
    """Progress that nobody reads."""


class Clock:
    """Progress that keeps the time of each line about an epoch."""

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def __call__(self, line: str) -> None:
        if ": epoch " in line:
            self.epochs.append(perf_counter())


# --- what is measured, each in a process of its own ---------------------------------------------------------


def forward(dataset: CuratedDataset) -> dict[str, Any]:
    """One pass of all images through the network, beside products of matrices."""
    from sklearn.metrics import roc_auc_score

    from radtransfer.models.weights import load_backbone, obtain_weights

    weights = obtain_weights("vgg16")
    pauses = Pauses()
    seconds, base = pass_through(dataset, "float32", pauses)
    seconds -= pauses.seconds
    flop = sum(
        2 * np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
        for layer in base.layers
        if layer.name.endswith(tuple(f"conv{number}" for number in (1, 2, 3)))
    )
    n_images = len(dataset.folds.table)
    found = {
        "n_images": n_images,
        "weights": weights.kind,
        "seconds": seconds,
        "gflops": float(flop) * n_images / seconds / 1e9,
        "product_gflops": statistics.mean(pauses.rates),
        "fastest_gflops": max(pauses.rates),
        "bfloat16": None,
    }
    if multiplies_bfloat16():
        del base
        load_backbone("vgg16", 32, weights, seed=5, precision="mixed_bfloat16").predict_on_batch(
            np.zeros((1, 32, 32, 3), np.float32)
        )
        rounded, _ = pass_through(dataset, "mixed_bfloat16")
        areas = [
            statistics.mean(
                roc_auc_score(run.labels, run.scores)
                for run in trained(dataset, {FROZEN: [options_of(dataset, precision=precision)]})
            )
            for precision in ("float32", "mixed_bfloat16")
        ]
        found["bfloat16"] = {"seconds": rounded, "ratio": seconds / rounded, "auc": areas}
    return found


def multiplies_bfloat16() -> bool:
    """Whether the processor does, as far as Linux tells."""
    info = Path("/proc/cpuinfo")
    return info.is_file() and any(flag in info.read_text(encoding="utf-8") for flag in BFLOAT16)


class Pauses:
    """Progress of a pass that times products of square matrices, by TensorFlow and NumPy, while it waits."""

    def __init__(self, side: int = 3072, repeats: int = 3) -> None:
        import tensorflow as tf

        matrix = np.random.default_rng(0).random((side, side), dtype=np.float32)
        tensor = tf.constant(matrix)
        product = tf.function(lambda: tf.matmul(tensor, tensor))
        self.works: tuple[Callable[[], object], ...] = (lambda: product().numpy(), lambda: matrix @ matrix)
        self.flop, self.repeats = 2 * side**3, repeats
        self.rates: list[float] = []
        """The best of each pause, GFLOP/s."""
        self.seconds = 0.0
        for work in self.works:
            work()

    def __call__(self, _: str) -> None:
        start = perf_counter()
        best = min(timed(work) for work in self.works for _ in range(self.repeats))
        self.rates.append(self.flop / best / 1e9)
        self.seconds += perf_counter() - start


def pass_through(
    dataset: CuratedDataset, precision: str, progress: Callable[[str], None] = quiet
) -> tuple[float, Any]:
    """Seconds of the pass that heads and last blocks start from, and the backbone."""
    from radtransfer.models.registry import backbone
    from radtransfer.models.weights import load_backbone, obtain_weights
    from radtransfer.training.features import Tap, stored_activations, stored_views

    parts, options = backbone("vgg16"), options_of(dataset)
    start = perf_counter()
    views = stored_views(dataset, dataset.image_ids, options)
    base = load_backbone(
        parts,
        options.input_size,
        obtain_weights(parts),
        seed=options.seed,
        precision=precision,  # type: ignore[arg-type]
    )
    taps = (Tap(parts.blocks[-1][1], pooled=True), Tap(str(parts.cut(1)), pooled=False))
    stored_activations(views, parts, base, taps, progress=progress)
    return perf_counter() - start, base


class Run(NamedTuple):
    """What is kept of a record."""

    labels: list[int]
    scores: list[float]
    predict_s: float


def trained(
    dataset: CuratedDataset,
    wanted: Mapping[str, Sequence[TrainingOptions]],
    *,
    n_folds: int = N_FOLDS,
    progress: Callable[[str], None] = quiet,
) -> list[Run]:
    """Runs of networks with some options each, that were never made before."""
    from radtransfer.training.fit import train_all

    with tempfile.TemporaryDirectory(dir=paths.work_dir()) as store:
        records = train_all(
            dataset,
            task=TASK,
            wanted=[(network(name), options) for name, of in wanted.items() for options in of],
            n_folds_used=n_folds,
            store=RunStore(Path(store)),
            progress=progress,
        )
        tables = [record.predictions().query("part == 'test'") for record in records]
    return [
        Run(table["label"].tolist(), table["score"].tolist(), record.timings["predict_s"])
        for table, record in zip(tables, records, strict=True)
    ]


def heads(dataset: CuratedDataset) -> dict[str, Any]:
    """Frozen network in all folds; heads of further rates; the runs that the guide's loop is held against."""
    options = [options_of(dataset, learning_rate=rate) for rate in RATES]
    first = timed(lambda: trained(dataset, {FROZEN: options[:1]}))
    others = timed(lambda: trained(dataset, {FROZEN: options[1:]}))
    (short,) = trained(dataset, {FROZEN: [compared(dataset)]}, n_folds=1)
    return {"seconds": first, "further_seconds": others, "scores": short.scores}


def blocks(dataset: CuratedDataset) -> dict[str, Any]:
    """Last block trained for a few epochs of the first fold, with two seeds."""
    clock, start = Clock(), perf_counter()
    (short,) = trained(dataset, {TUNED: [compared(dataset)]}, n_folds=1, progress=clock)
    first = perf_counter() - start
    (other,) = trained(dataset, {TUNED: [compared(dataset, seed=6)]}, n_folds=1)
    epoch = (clock.epochs[-1] - clock.epochs[0]) / (TIMED - 1)
    return {
        "epoch_seconds": epoch,
        "seconds": first + epoch * (N_FOLDS * EPOCHS - TIMED) + short.predict_s * (N_FOLDS - 1),
        "scores": short.scores,
        "other_seed": other.scores,
    }


def guide_heads(dataset: CuratedDataset) -> dict[str, Any]:
    """The guide's loop with a frozen base."""
    return guide(dataset, FROZEN)


def guide_blocks(dataset: CuratedDataset) -> dict[str, Any]:
    """The guide's loop with the last block unfrozen."""
    return guide(dataset, TUNED)


def guide(dataset: CuratedDataset, name: str) -> dict[str, Any]:
    """First fold, as one writes it with ``fit``, from the weights and in the order of ours."""
    import keras
    import tensorflow as tf
    from keras import Input, Model, layers

    from radtransfer.models.heads import set_scaling
    from radtransfer.models.registry import backbone
    from radtransfer.models.weights import load_backbone, obtain_weights
    from radtransfer.training.features import Tap, stored_activations, stored_views
    from radtransfer.training.networks import build_models

    options, spec, parts = compared(dataset), network(name), backbone("vgg16")
    base = load_backbone(parts, options.input_size, obtain_weights(parts), seed=options.seed)
    head, _ = build_models(spec, parts, options, base, n_classes=2)
    split = dataset.folds.split(0, validation_fraction=options.validation_fraction, seed=options.seed)
    # what our side divides the features by is part of the initial weights
    views = stored_views(dataset, dataset.image_ids, options)
    tap = Tap(parts.blocks[-1][1], pooled=True)
    pooled = stored_activations(views, parts, base, (tap,))[tap]
    set_scaling(head, pooled.array[0, pooled.rows(split.ids("train"))])

    trained_from = parts.cut(spec.trainable_blocks)
    base.trainable = True
    after_cut = spec.trainable_blocks > 0
    for layer in reversed(base.layers):
        after_cut &= layer.name != trained_from
        layer.trainable = after_cut
    inputs = Input(base.input_shape[1:])
    model = Model(inputs, head(layers.GlobalAveragePooling2D()(base(inputs, training=False))))
    rate = options.finetune_learning_rate if spec.trainable_blocks else options.learning_rate
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", jit_compile=False)

    mean = tf.constant([103.939, 116.779, 123.68])
    rows = {part: dataset.index(split.ids(part)) for part in ("train", "validation", "test")}
    labels = dataset.labels(TASK)

    def batches(chosen: np.ndarray) -> Any:
        data = tf.data.Dataset.from_tensor_slices((dataset.images[chosen], np.eye(2)[labels[chosen]]))
        prepared = data.batch(options.batch_size).map(
            lambda images, targets: (tf.cast(images[..., tf.newaxis], tf.float32) - mean, targets),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return prepared.prefetch(tf.data.AUTOTUNE)

    before = model.get_weights()
    model.fit(
        batches(rows["train"][: options.batch_size + 1]), shuffle=False, verbose=0
    )  # both shapes are traced
    model.set_weights(before)
    for variable in model.optimizer.variables:
        if variable is not model.optimizer._learning_rate:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    validation, test = (batches(rows[part]) for part in ("validation", "test"))
    model.predict(test, verbose=0)
    # the start counts, as on our side
    losses, scores = [model.evaluate(validation, verbose=0)], []
    seconds = 0.0
    for epoch in range(TIMED):
        order = np.random.default_rng([options.seed, 0, 0, epoch]).permutation(len(rows["train"]))
        data = batches(rows["train"][order])
        start = perf_counter()
        history = model.fit(data, validation_data=validation, shuffle=False, verbose=0).history
        seconds += perf_counter() - start
        losses += history["val_loss"]
        start = perf_counter()
        scores.append(model.predict(test, verbose=0)[:, 1])
        scoring = perf_counter() - start
    best = int(np.argmin(losses))
    if best == 0:
        raise SystemExit("no epoch lowered the validation loss: there is nothing to compare")
    epoch_s = seconds / TIMED
    return {
        "epoch_seconds": epoch_s,
        "seconds": epoch_s * N_FOLDS * EPOCHS + scoring * N_FOLDS,
        "scores": scores[best - 1].tolist(),
    }


def input_share(dataset: CuratedDataset) -> dict[str, Any]:
    """Steps of an epoch from the store, and as many on one batch, in turns."""
    from radtransfer.models.weights import load_backbone
    from radtransfer.training.features import stored_views
    from radtransfer.training.fit import _Fold, _Job, _stages, _State

    found = {}
    for name in INPUT_NETWORKS:
        options = options_of(dataset, views=4)
        job = _Job.make(dataset, TASK, network(name), options, {})
        views = stored_views(dataset, dataset.image_ids, options)
        base = load_backbone(job.backbone, options.input_size, job.weights, seed=options.seed)
        (stage,) = _stages(job, base, views, {})
        with tempfile.TemporaryDirectory(dir=paths.work_dir()) as store:
            fold = _Fold(job, job.run(0), (stage,), RunStore(Path(store)), quiet)
        size = options.batch_size
        n_steps = min(STEPS, len(fold.rows["train"]) // size)
        for table in (fold.rows, fold.labels):
            table["train"] = table["train"][: n_steps * size]
        fold.n_epoch = n_steps * size
        inputs = stage.source.batch(0, fold.rows["train"][:size])
        targets = fold.targets[fold.labels["train"][:size]]
        state = _State(learning_rate=1e-5)

        def from_store(fold: Any = fold, stage: Any = stage, state: Any = state) -> None:
            fold._pass(stage, state)

        def resident(model: Any = stage.model, x: Any = inputs, y: Any = targets, n: int = n_steps) -> None:
            for _ in range(n):
                float(model.train_on_batch(x, y, None))

        resident()
        turns = [(timed(from_store), timed(resident)) for _ in range(TURNS)]
        found[name] = {
            "ratio": statistics.median(mine / theirs for mine, theirs in turns),
            "images_per_s": n_steps * size / statistics.median(mine for mine, _ in turns),
        }
    return found


def timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


PARTS = {part.__name__: part for part in (forward, heads, blocks, guide_heads, guide_blocks, input_share)}


def measure(part: str, dataset: CuratedDataset, work: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, str(dataset.folder)],
        env=os.environ
        | {"RADTRANSFER_WORK": str(work), "RADTRANSFER_OFFLINE": "1", "KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = {name: value for name, value in found.items() if not isinstance(value, list)}
    print(part, json.dumps(shown), file=sys.stderr, flush=True)
    return found


def run(work: Path, n_images: int, size: int) -> dict[str, Any]:
    """Everything that is reported."""
    os.environ["RADTRANSFER_WORK"] = str(work)
    dataset = images_of(n_images, size)
    parts = {name: measure(name, dataset, work) for name in PARTS}
    once, ours, theirs = parts["forward"], parts["heads"], parts["guide_heads"]
    one = once["seconds"] + ours["seconds"]
    tuned, guided = parts["blocks"], parts["guide_blocks"]
    found = {
        "heads": theirs["seconds"] / one,
        "heads_difference": difference(ours["scores"], theirs["scores"], largest=True),
        "blocks": guided["seconds"] / (once["seconds"] + tuned["seconds"]),
        "blocks_difference": difference(tuned["scores"], guided["scores"])
        / difference(tuned["scores"], tuned["other_seed"]),
        "rates": (one + ours["further_seconds"]) / one,
        "forward": once["gflops"] / once["product_gflops"],
        "input": max(one["ratio"] for one in parts["input_share"].values()),
    }
    if once["bfloat16"]:
        found["bfloat16"] = once["bfloat16"]["ratio"]
    return {
        "images": once["n_images"],
        "size": size,
        "weights": once["weights"],
        "found": found,
        "targets": TARGETS,
        "met": {
            name: value <= TARGETS[name] if name in AT_MOST else value >= TARGETS[name]
            for name, value in found.items()
        },
        "seconds": {
            "pass": once["seconds"],
            "heads": one,
            "guide_heads": theirs["seconds"],
            "blocks": once["seconds"] + tuned["seconds"],
            "guide_blocks": guided["seconds"],
        },
        "blocks_largest_difference": difference(tuned["scores"], guided["scores"], largest=True),
        "gflops": {
            "pass": once["gflops"],
            "product": once["product_gflops"],
            "fastest_product": once["fastest_gflops"],
        },
        "bfloat16": once["bfloat16"],
        "input": parts["input_share"],
    }


def difference(scores: Sequence[float], others: Sequence[float], *, largest: bool = False) -> float:
    """Root mean square of the differences of predictions, or the largest."""
    apart = np.abs(np.subtract(scores, others))
    return float(apart.max() if largest else np.sqrt(np.square(apart).mean()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=160, help="side of the images in px")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part[0]](CuratedDataset.open(Path(options.part[1])))))
        return 0
    output = options.output or paths.work_dir() / "bench" / "training.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        work, kept = Path(name), paths.weights_dir() / "vgg16"
        if kept.is_dir():
            (work / "weights").mkdir()
            (work / "weights" / "vgg16").symlink_to(kept.resolve(), target_is_directory=True)
        setting = (160, 64) if options.quick else (options.images, options.size)
        report = run(work, *setting)
    write_json(output, {"quick": options.quick, **report})
    print(json.dumps({name: report[name] for name in ("found", "targets", "met", "seconds")}, indent=2))
    return 0 if all(report["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
