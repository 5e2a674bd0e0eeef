"""Networks of runs: built for training, put together again from a record, taken as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from radtransfer import paths
from radtransfer.errors import InputError, RunError
from radtransfer.models.freezing import assert_trainable, suffix
from radtransfer.models.heads import build_head
from radtransfer.models.registry import Backbone, backbone
from radtransfer.models.weights import (
    TENSORS,
    WeightsInfo,
    load_backbone,
    obtain_weights,
    store_tensors,
    tensor_digest,
)
from radtransfer.training.augment import resize
from radtransfer.training.runs import NetworkSpec, RunRecord, RunStore, TrainingOptions

if TYPE_CHECKING:
    import keras

    from radtransfer.data.store import CuratedDataset

SAME_SCORE = 1e-4
"""Most by which a score computed again may differ: sums in another order, on another machine."""


def starting_backbone(
    spec: NetworkSpec, parts: Backbone, options: TrainingOptions, weights: WeightsInfo
) -> keras.Model:
    """Backbone as it is when training begins.

    Parameters
    ----------
    spec : NetworkSpec
    parts : Backbone
    options : TrainingOptions
        Its seed is that of whatever starts from random numbers.
    weights : WeightsInfo

    Returns
    -------
    keras.Model
    """
    fresh = None
    if spec.reinitialised:
        # built before the other, which then leaves the same random state behind as without it
        fresh = load_backbone(parts, options.input_size, WeightsInfo("none"), seed=options.seed)
    base = load_backbone(parts, options.input_size, weights, seed=options.seed, precision=options.precision)
    if fresh is not None:
        chosen = {layer for block in spec.reinitialised for layer in block_layers(base, parts, block)}
        # by position: Keras numbers unnamed layers anew in every network
        for layer, random in zip(base.layers, fresh.layers, strict=True):
            if layer.name in chosen:
                layer.set_weights(random.get_weights())
    return base


def block_layers(base: keras.Model, parts: Backbone, block: str) -> set[str]:
    """Names of the layers of a block.

    Parameters
    ----------
    base : keras.Model
    parts : Backbone
    block : str
        Name of one of its blocks.

    Returns
    -------
    set of str
    """
    from keras import Model

    number = [name for name, _ in parts.blocks].index(block)
    before = base.get_layer(parts.blocks[number - 1][1]) if number else base.layers[0]
    part = Model(before.output, base.get_layer(parts.blocks[number][1]).output)
    return {layer.name for layer in part.layers} - {before.name}


def build_models(
    spec: NetworkSpec, parts: Backbone, options: TrainingOptions, base: keras.Model, *, n_classes: int
) -> tuple[keras.Model, keras.Model]:
    """Head alone, and head on the part of the backbone that is trained.

    Parameters
    ----------
    spec : NetworkSpec
    parts : Backbone
    options : TrainingOptions
    base : keras.Model
        The backbone, whose layers the second model shares.
    n_classes : int

    Returns
    -------
    head, whole : keras.Model
        They share the head; of a frozen network they are the same.

    Raises
    ------
    RunError
        If they would train more or fewer variables than meant.
    """
    from keras import Input, Model, layers

    head = build_head(
        base.output.shape[-1], units=options.head_units, dropout=options.dropout, n_classes=n_classes
    )
    n_head = 2 * (len(options.head_units) + 1)
    assert_trainable(head, n_head)
    if spec.regime == "frozen":
        return head, head
    cut = None if spec.trains_all else parts.cut(spec.trainable_blocks)
    part = suffix(
        base,
        cut,
        train_normalisation=spec.trains_all,
        momentum=options.normalisation_momentum,
    )
    inputs = Input(part.input_shape[1:])
    outputs = head(layers.GlobalAveragePooling2D()(part(inputs)))
    whole = Model(inputs, outputs, name=spec.name)
    n_part = sum(_n_trained(layer, train_normalisation=spec.trains_all) for layer in part.layers)
    assert_trainable(whole, n_part + n_head)
    return head, whole


def _n_trained(layer: keras.layers.Layer, *, train_normalisation: bool) -> int:
    """Variables a layer should train, from its kind and not from its switches."""
    from keras.layers import BatchNormalization

    if isinstance(layer, BatchNormalization):
        return layer.scale + layer.center if train_normalisation else 0
    return len(layer.weights)


def trained_network(record: RunRecord) -> tuple[Backbone, keras.Model]:
    """Network of a finished run, from image to probabilities, in one model.

    Parameters
    ----------
    record : RunRecord
        Of a network.

    Returns
    -------
    backbone : Backbone
        Its ``preprocess`` makes the input.
    model : keras.Model
        (n, input_size, input_size, channels) float32 to (n, classes) probabilities.

    Raises
    ------
    RunError
        If it started from pretrained weights that cannot be had any more.
    """
    from keras import Model, layers

    parts, base, head = _rebuilt(record)
    outputs = head(layers.GlobalAveragePooling2D()(base.output))
    return parts, Model(base.input, outputs, name=record.spec.model)


def checked_network(
    record: RunRecord, dataset: CuratedDataset, *, n_images: int = 32
) -> tuple[Backbone, keras.Model]:
    """Network of a finished run, once it has shown that it scores images as the run did.

    Parameters
    ----------
    record : RunRecord
        Of a network.
    dataset : CuratedDataset
        What it was trained and tested on.
    n_images : int
        Images that are scored again, taken evenly from the record's predictions.

    Returns
    -------
    backbone : Backbone
    model : keras.Model
        As :func:`trained_network`.

    Raises
    ------
    RunError
        If a score differs by more than :data:`SAME_SCORE`, or as :func:`trained_network`.
    """
    if record.spec.dataset_digest != dataset.digest:
        raise RunError(f"run {record.spec.hash} is not of {dataset.folder.name}")
    parts, model = trained_network(record)
    table = record.predictions()
    scores = table.groupby("image_id", sort=False)["score"].agg(list)
    chosen = scores.iloc[np.unique(np.linspace(0, len(scores) - 1, n_images).round().astype(int))]
    rows = dataset.index(chosen.index.tolist())
    images = np.stack([resize(dataset.images[row], model.input_shape[1]) for row in rows])
    found = np.asarray(model(parts.preprocess(images), training=False))
    # of a binary task the record keeps the second class alone
    off = np.abs(found[:, -len(chosen.iloc[0]) :] - np.array(chosen.tolist())).max(axis=1)
    if not (off <= SAME_SCORE).all():
        raise RunError(
            f"run {record.spec.hash} ({record.spec.model}, fold {record.spec.fold}): its network now scores "
            f"image {chosen.index[off.argmax()]} otherwise than recorded, by {off.max():.2g}",
            hint=f"delete {record.folder} and train it again",
        )
    return parts, model


def _rebuilt(record: RunRecord) -> tuple[Backbone, keras.Model, keras.Model]:
    """Backbone and head as they were at the end of a run."""
    given = record.spec.options
    spec = NetworkSpec(
        name=record.spec.model, **{name: given[name] for name in NetworkSpec.model_fields if name in given}
    )
    options = TrainingOptions(
        **{name: given[name] for name in TrainingOptions.model_fields if name in given},
        seed=record.spec.seed,
    )
    parts = backbone(spec.backbone)
    if not spec.pretrained:
        weights = WeightsInfo("none")
    elif spec.source is not None:
        weights = medical_weights(parts, RunStore.open(record.folder.parent / given["source_run"]))
    else:
        weights = obtain_weights(parts)
    if weights.digest != record.spec.weights_digest:
        raise RunError(
            f"run {record.spec.hash} started from other weights of {parts.name} than can be had now"
        )
    base = starting_backbone(spec, parts, options, weights)
    head, whole = build_models(spec, parts, options, base, n_classes=len(given.get("classes", (0, 1))))
    arrays = record.arrays()
    if not arrays:
        raise RunError(
            f"run {record.spec.hash} kept no weights", hint=f"delete {record.folder} and train it again"
        )
    # the layers of `whole` are those of `base` and `head`: setting it has set them
    (head if spec.regime == "frozen" else whole).set_weights([arrays[name] for name in sorted(arrays)])
    return parts, base, head


def medical_weights(parts: Backbone, source: RunRecord) -> WeightsInfo:
    """Weights of a backbone at the end of an earlier run, to start another one from.

    Parameters
    ----------
    parts : Backbone
    source : RunRecord
        Of a network with that backbone, some of which was trained.

    Returns
    -------
    WeightsInfo
        Of kind ``medical``; a copy is kept in the work folder.

    Raises
    ------
    InputError
        If the run is of another backbone, or did not train its own.
    """
    run = source.spec
    if run.kind != "network" or run.options["backbone"] != parts.name:
        raise InputError(f"run {run.hash} ({run.model}) has no weights of {parts.name}")
    if run.options["regime"] == "frozen":
        raise InputError(
            f"run {run.hash} ({run.model}) did not train its backbone",
            hint="start from a run that was fine-tuned or trained from scratch",
        )
    _, base, _ = _rebuilt(source)
    tensors = base.get_weights()
    path = paths.weights_dir() / "runs" / run.hash / TENSORS
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".lock")):
        store_tensors(path, tensors)
    started = {"imagenet": "ImageNet", "medical": f"run {run.options.get('source_run')}"}
    start = started.get(run.weights, "random numbers")
    return WeightsInfo(
        "medical",
        f"run {run.hash}: {run.model} trained for {run.task} from {start}",
        tensor_digest(tensors),
        path,
    )
