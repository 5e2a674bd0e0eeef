"""Runs: what was trained (``RunSpec``), what came of it (``RunRecord``), where it lies (``RunStore``).

A run is named by the content hash of its spec, so that one that exists is never trained again and
two drivers agree on its name without talking to each other. Nothing here imports Keras: analyses
read prediction tables through this module alone.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from radtransfer import paths
from radtransfer.atomic import atomic_folder, write_json, write_text
from radtransfer.errors import InputError, RadtransferError, RunError, unknown_name
from radtransfer.hashing import sha256_file, sha256_json
from radtransfer.models.descriptions import Precision
from radtransfer.training.shared import CHECKSUMS, shared_store

Regime = Literal["scratch", "whole", "frozen", "finetuned"]
WeightsKind = Literal["imagenet", "medical", "random", "none"]

PREDICTION_COLUMNS = (
    "model",
    "task",
    "target",
    "image_id",
    "patient_id",
    "fold",
    "part",
    "label",
    "score",
    "weights",
    "run",
)
"""Columns of every predictions table, in order; ``part`` is ``"validation"`` or ``"test"``.

A binary task has one row an image: ``target`` is the task's name, ``score`` the probability of
class 1. A task of K > 2 classes has K rows an image: ``target`` is the name of a class, ``label``
is 1 if the image is of that class, ``score`` its probability.
"""

SPEC = "spec.json"
FAILED = "failed"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Settings(_Frozen):
    """Settings whose values name a run."""

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields younger than records that are to keep their names."""

    def identity(self, *, without: AbstractSet[str] = frozenset()) -> dict[str, Any]:
        """Values as JSON; those of fields in ``LATER`` only where they are not the default."""
        default = {
            name for name in self.LATER if getattr(self, name) == type(self).model_fields[name].default
        }
        return self.model_dump(mode="json", exclude={*without, *default})


class NetworkSpec(_Settings):
    """A backbone and how much of it is trained.

    Attributes
    ----------
    name : str
        Name of the model in every table: ``"vgg16_frozen"``.
    backbone : str
        Key of :data:`radtransfer.models.registry.BACKBONES`.
    regime : {"scratch", "whole", "frozen", "finetuned"}
        ``scratch`` starts from random weights and trains everything, ``whole`` does the same from
        pretrained ones, so that the two differ in nothing but the start; ``frozen`` trains the head
        only, ``finetuned`` trains the head and then the last blocks at a lower rate.
    trainable_blocks : int
        Blocks counted from the output that are trained, 0 for ``frozen``. Ignored by ``scratch`` and
        ``whole``, which train all; as many as the backbone has fine-tunes all.
    staged : bool
        Whether ``finetuned`` trains the head alone first. Without, head and blocks are trained
        together from the start, at the rate of fine-tuning.
    source : str or None
        Task of the earlier run whose weights the backbone starts from, instead of ImageNet's.
    reinitialised : tuple of str
        Blocks that start from random numbers although the others are pretrained.
    """

    LATER = frozenset({"staged", "source", "reinitialised"})

    name: str
    backbone: str
    regime: Regime
    trainable_blocks: int = Field(default=0, ge=0)
    staged: bool = True
    source: str | None = None
    reinitialised: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.pretrained and (self.source is not None or not self.staged or self.reinitialised):
            raise ValueError(f"{self.name}: what is trained from scratch has neither source nor stages")
        if (self.regime == "finetuned") != (self.trainable_blocks > 0) and not self.trains_all:
            raise ValueError(f"{self.name}: {self.trainable_blocks} blocks are trained when {self.regime}")
        return self

    @property
    def pretrained(self) -> bool:
        """Whether it starts from weights that were learned before."""
        return self.regime != "scratch"

    @property
    def trains_all(self) -> bool:
        """Whether everything is trained from the first step on, normalisation included."""
        return self.regime in ("scratch", "whole")

    def starting_from(self, task: str) -> NetworkSpec:
        """The same network starting from an earlier run for a task: a medical source domain."""
        return NetworkSpec(**self.model_dump() | {"name": f"{self.name}_from_{task}", "source": task})


NETWORKS: dict[str, NetworkSpec] = {
    spec.name: spec
    for spec in (
        NetworkSpec(name="custom_cnn_scratch", backbone="custom_cnn", regime="scratch"),
        NetworkSpec(name="vgg16_frozen", backbone="vgg16", regime="frozen"),
        NetworkSpec(name="vgg16_finetuned", backbone="vgg16", regime="finetuned", trainable_blocks=1),
        NetworkSpec(name="efficientnet_lite0_frozen", backbone="efficientnet_lite0", regime="frozen"),
        NetworkSpec(
            name="efficientnet_lite0_finetuned",
            backbone="efficientnet_lite0",
            regime="finetuned",
            trainable_blocks=2,
        ),
        NetworkSpec(name="mobilenet_frozen", backbone="mobilenet", regime="frozen"),
        NetworkSpec(name="mobilenet_finetuned", backbone="mobilenet", regime="finetuned", trainable_blocks=2),
        NetworkSpec(name="alexnet_scratch", backbone="alexnet", regime="scratch"),
        NetworkSpec(name="vgg16_scratch", backbone="vgg16", regime="scratch"),
        NetworkSpec(name="vgg16_finetuned_all", backbone="vgg16", regime="finetuned", trainable_blocks=5),
        NetworkSpec(
            name="vgg16_finetuned_at_once",
            backbone="vgg16",
            regime="finetuned",
            trainable_blocks=1,
            staged=False,
        ),
        NetworkSpec(name="resnet50_frozen", backbone="resnet50", regime="frozen"),
        NetworkSpec(name="resnet50_finetuned", backbone="resnet50", regime="finetuned", trainable_blocks=1),
        NetworkSpec(name="inceptionv3_frozen", backbone="inceptionv3", regime="frozen"),
        NetworkSpec(
            name="inceptionv3_finetuned", backbone="inceptionv3", regime="finetuned", trainable_blocks=2
        ),
        NetworkSpec(name="densenet121_frozen", backbone="densenet121", regime="frozen"),
        NetworkSpec(
            name="densenet121_finetuned", backbone="densenet121", regime="finetuned", trainable_blocks=1
        ),
        NetworkSpec(name="mobilenet_scratch", backbone="mobilenet", regime="scratch"),
    )
}
"""Networks of the study by name."""


def network(name: str) -> NetworkSpec:
    """Network of that name.

    Raises
    ------
    InputError
        If there is none; names the nearest.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    return NETWORKS[name]


class TrainingOptions(_Settings):
    """Everything about training that a profile may change.

    Attributes
    ----------
    input_size : int
        Side of the square network input, px.
    views : int
        Stored augmented views of each training image beside the unchanged one; 0 is no
        augmentation.
    rotation_degrees, zoom, shift : float
        Half-widths of the uniform distributions that views are drawn from: rotation in degrees,
        zoom and translation as fractions of the side.
    horizontal_flip : bool
        Mirror half of the views. Off by default: a mirrored chest has its heart on the right.
    views_seed : int
        Seed of the views alone, so that runs of several seeds share their stored activations.
    head_units : tuple of int
        Widths of the dense ReLU layers between pooling and softmax.
    dropout : float
        Dropout rate after each dense layer.
    learning_rate : float
        Adam's first rate for the head and for training from scratch.
    finetune_learning_rate : float
        Adam's first rate once pretrained blocks are trained.
    finetune_warmup : int
        Epochs over which that rate rises linearly from 0, step by step. Adam's first steps are of
        full size whatever the gradient, and they throw pretrained blocks off.
    epochs, patience : int
        At most so many epochs; stop when the validation loss has not fallen for so many.
    batch_size : int
        Images a step.
    validation_fraction : float
        Share of the training patients kept for early stopping and thresholds.
    seed : int
        Seed of everything else that is random: weights, order, dropout, validation patients.
    schedule : {"plateau", "cosine", "constant"}
        How the rate falls: by half when the validation loss has not fallen for two epochs, or along
        half a cosine to 0 over ``epochs``, or not.
    class_weights : {"none", "balanced"}
        ``balanced`` weighs each class by n / (K n_k), so that all count alike.
    label_smoothing : float
        Share of the label that is spread evenly over all classes.
    precision : {"float32", "mixed_bfloat16", "mixed_float16"}
        Arithmetic of the backbone's layers. Weights, head and loss are float32 whatever it is; the others
        are faster only where the machine has them: bfloat16 on some processors, both on most GPUs.
    replicas : int
        Devices of one machine that share each batch: data-parallel training of one large network.
    training_fraction : float
        Share of the training patients of each class that are learned from; smaller shares are parts
        of larger ones. An epoch has the same number of steps whatever the share.
    normalisation_momentum : float or None
        Momentum of the running statistics of batch normalisation where it is trained; None leaves
        what each backbone was built with. Networks made for a million images have 0.99, which
        leaves the statistics behind when an epoch has twenty steps.
    """

    LATER = frozenset(
        {
            "schedule",
            "class_weights",
            "label_smoothing",
            "precision",
            "replicas",
            "training_fraction",
            "normalisation_momentum",
        }
    )

    input_size: int = Field(default=224, ge=16)
    views: int = Field(default=4, ge=0, le=64)
    rotation_degrees: float = Field(default=10.0, ge=0, le=180)
    zoom: float = Field(default=0.1, ge=0, lt=1)
    shift: float = Field(default=0.05, ge=0, lt=1)
    horizontal_flip: bool = False
    views_seed: int = Field(default=0, ge=0)
    head_units: tuple[int, ...] = (256, 64)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    finetune_learning_rate: float = Field(default=3e-5, gt=0)
    finetune_warmup: int = Field(default=1, ge=0)
    epochs: int = Field(default=50, ge=1)
    patience: int = Field(default=5, ge=1)
    batch_size: int = Field(default=32, ge=1)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    precision: Precision = "float32"
    replicas: int = Field(default=1, ge=1)
    training_fraction: float = Field(default=1.0, gt=0, le=1)
    normalisation_momentum: float | None = Field(default=None, gt=0, lt=1)

    @classmethod
    def of(cls, spec: RunSpec) -> TrainingOptions:
        """Options that a network's run was trained with; the default of what does not matter to it."""
        known = {name: value for name, value in spec.options.items() if name in cls.model_fields}
        return cls(**known | {"seed": spec.seed})


FINETUNE_FIELDS = frozenset({"finetune_learning_rate", "finetune_warmup"})
"""Training options that nothing but fine-tuning depends on."""


def options_by_network(
    networks: Sequence[str],
    options: TrainingOptions,
    *,
    task: str,
    input_sizes: Mapping[str, int],
    finetune_rates: Mapping[str, float],
) -> dict[str, TrainingOptions]:
    """Options of each network in a task: the same for all, but for what is given of single ones.

    Parameters
    ----------
    networks : sequence of str
    options : TrainingOptions
    task : str
    input_sizes : mapping of str to int
        Input side in px by network, ``"mobilenet_frozen"``, or by task and network,
        ``"haemorrhage.mobilenet_frozen"``, which goes before.
    finetune_rates : mapping of str to float
        First rate of fine-tuning, likewise.

    Returns
    -------
    dict of str to TrainingOptions
    """

    def changes(name: str) -> dict[str, Any]:
        given = {"input_size": input_sizes, "finetune_learning_rate": finetune_rates}
        return {
            field: values[key]
            for field, values in given.items()
            for key in (name, f"{task}.{name}")
            if key in values
        }

    return {name: options.model_copy(update=changes(name)) for name in networks}


class RunSpec(_Frozen):
    """Everything that changes a run's result; its hash is the run's name.

    Attributes
    ----------
    recipe : int
        Version of the code that makes the result; raised when a change of code changes results,
        so that records of the old code are not taken for new ones.
    kind : {"network", "baseline"}
    model, task : str
    dataset_digest, folds_digest : str
        Content of the curated dataset and of its folds.
    fold : int
        Fold that is the test part.
    weights : {"imagenet", "medical", "random", "none"}
        What the network started from. ``medical`` is an earlier run of the study. ``random`` means
        pretrained weights were wanted and could not be had; ``none`` that none were wanted.
    weights_digest : str
        Tensor digest of pretrained weights, empty without.
    options : dict
        Further settings, as JSON values.
    seed : int
    """

    recipe: int
    kind: Literal["network", "baseline"]
    model: str
    task: str
    dataset_digest: str
    folds_digest: str
    fold: int = Field(ge=0)
    weights: WeightsKind = "none"
    weights_digest: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(ge=0)

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return sha256_json(self.model_dump(mode="json"))[:16]


def predictions_frame(
    spec: RunSpec,
    *,
    image_ids: Sequence[str],
    patient_ids: Sequence[str],
    part: str | Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Predictions table of one run, checked.

    Parameters
    ----------
    spec : RunSpec
        Gives the columns that are constant in a run.
    image_ids, patient_ids : sequence of str, length n
    part : {"validation", "test"} or a sequence of them, length n
    labels : array-like of int, shape (n,)
        Numbers of the images' classes.
    scores : array-like of float, shape (n,) or (n, K)
        Of a binary task the score of class 1, higher where it is more likely; with ``classes`` the
        probability of each class.
    classes : sequence of str, length K, optional
        Names of the task's classes, in the order of their numbers.

    Returns
    -------
    DataFrame
        Columns :data:`PREDICTION_COLUMNS`; of K > 2 classes K rows an image, next to each other.

    Raises
    ------
    RunError
        If a score is not finite, a label is no number of a class, or an image has two scores in a
        part.
    """
    label, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if classes is None:
        classes, score = (f"no {spec.task}", spec.task), np.column_stack([1 - score, score])
    n, n_classes = len(image_ids), len(classes)
    if score.shape != (n, n_classes) or not np.isin(label, np.arange(n_classes)).all():
        raise RunError(
            f"run {spec.hash} ({spec.model}, fold {spec.fold}): scores of shape {score.shape} and labels "
            f"{sorted(set(label.tolist()))} do not fit {n} images and {n_classes} classes"
        )
    binary = n_classes == 2
    targets = [spec.task] if binary else list(classes)
    numbers = np.array([1]) if binary else np.arange(n_classes)
    parts = [part] * n if isinstance(part, str) else part
    frame = pd.DataFrame(
        {
            "model": spec.model,
            "task": spec.task,
            "target": np.tile(np.asarray(targets, dtype=object), n),
            "image_id": np.asarray(image_ids, dtype=object).repeat(len(targets)),
            "patient_id": np.asarray(patient_ids, dtype=object).repeat(len(targets)),
            "fold": spec.fold,
            "part": np.asarray(parts, dtype=object).repeat(len(targets)),
            "label": (label[:, np.newaxis] == numbers).astype(np.int64).ravel(),
            "score": score[:, numbers].ravel(),
            "weights": spec.weights,
            "run": spec.hash,
        },
        columns=list(PREDICTION_COLUMNS),
    )
    _check_predictions(frame, spec)
    return frame


def _check_predictions(frame: pd.DataFrame, spec: RunSpec) -> None:
    where = f"run {spec.hash} ({spec.model}, fold {spec.fold})"
    if tuple(frame.columns) != PREDICTION_COLUMNS:
        raise RunError(f"{where}: predictions have columns {list(frame.columns)}")
    if frame.empty:
        raise RunError(f"{where}: predictions are empty")
    bad = frame.loc[~np.isfinite(frame["score"].to_numpy(dtype=np.float64)), "image_id"]
    if len(bad):
        raise RunError(f"{where}: {len(bad)} scores are not finite, first for image {bad.iloc[0]}")
    if not frame["label"].isin((0, 1)).all() or not frame["part"].isin(("validation", "test")).all():
        raise RunError(f"{where}: labels must be 0 or 1 and parts validation or test")
    twice = frame.loc[frame.duplicated(["image_id", "part", "target"]), "image_id"]
    if len(twice):
        raise RunError(f"{where}: image {twice.iloc[0]} has two scores in one part")
    if (n_targets := frame["target"].nunique()) > 1:
        by_image = frame.groupby(["image_id", "part"])["label"].agg(["size", "sum"])
        wrong = by_image.index[(by_image["size"] != n_targets) | (by_image["sum"] != 1)]
        if len(wrong):
            raise RunError(
                f"{where}: image {wrong[0][0]} is not of one class, with a score of each of {n_targets}"
            )
    if set(frame["run"]) != {spec.hash}:
        raise RunError(f"{where}: predictions name another run")


@dataclass(frozen=True)
class RunRecord:
    """A finished run: a folder whose files were all checked when it was loaded.

    Attributes
    ----------
    folder : Path
    spec : RunSpec
    metrics, timings : dict of str to float
        ``timings`` are seconds where the key ends in ``_s``, counts otherwise.
    environment : dict
        Versions, threads, device, and where the weights came from.
    history : tuple of dict
        One entry an epoch.
    """

    folder: Path
    spec: RunSpec
    metrics: dict[str, float]
    timings: dict[str, float]
    environment: dict[str, Any]
    history: tuple[dict[str, Any], ...]

    def predictions(self) -> pd.DataFrame:
        """Predictions table with columns :data:`PREDICTION_COLUMNS`."""
        return pd.read_parquet(self.folder / "predictions.parquet")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Trained weights by name; empty if the run kept none. Never unpickles."""
        file = self.folder / "weights.npz"
        if not file.is_file():
            return {}
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


class RunStore:
    """Folder of run records, one sub-folder a run, named by the spec's hash.

    Parameters
    ----------
    root : Path, optional
        Defaults to :func:`radtransfer.paths.runs_dir`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = paths.runs_dir() if root is None else Path(root)

    def folder(self, spec: RunSpec) -> Path:
        """Where the record of a spec lies or will lie."""
        return self.root / spec.hash

    def state_folder(self, spec: RunSpec) -> Path:
        """Where an unfinished run keeps what it needs to resume; removed by :meth:`write`."""
        return self.root / f"{spec.hash}.state"

    def has(self, spec: RunSpec) -> bool:
        """Whether the run is finished; it is fetched if only the shared store has it."""
        if self.folder(spec).is_dir():
            return True
        shared = shared_store()
        return shared is not None and shared.fetch(f"runs/{spec.hash}", self.folder(spec))

    def share(self, spec: RunSpec) -> None:
        """Put a finished run into the shared store, if there is one."""
        if shared := shared_store():
            shared.push(self.folder(spec), f"runs/{spec.hash}")

    @contextmanager
    def claim(self, spec: RunSpec, *, wait: bool = True) -> Iterator[bool]:
        """Hold the run against other processes, until the block ends or this process dies.

        Parameters
        ----------
        spec : RunSpec
        wait : bool
            For a process that has it; otherwise the block is told that there is one.

        Yields
        ------
        bool
            Whether the run is held.
        """
        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{spec.hash}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _failure(self, run: str) -> Path:
        return self.root / FAILED / f"{run}.json"

    def fail(self, spec: RunSpec, error: RadtransferError, trace: str = "") -> None:
        """Keep a record of a run that failed, until it is finished after all.

        Parameters
        ----------
        spec : RunSpec
        error : RadtransferError
        trace : str
            Where in the code it happened, for whoever looks into it.
        """
        write_json(
            self._failure(spec.hash),
            {
                "spec": spec.model_dump(mode="json"),
                "kind": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "trace": trace,
                "environment": software_environment(),
            },
        )

    def summary(self) -> pd.DataFrame:
        """All runs of the store and how they stand.

        Returns
        -------
        DataFrame
            Columns run, model, task, fold, state (``"finished"``, ``"failed"`` or
            ``"interrupted"``: to be gone on with) and message (why it failed), sorted by them.
        """
        found: dict[str, tuple[dict[str, Any], str, str]] = {}
        for told in self.root.glob(f"*.state/{SPEC}"):
            stored = json.loads(told.read_text(encoding="utf-8"))
            found[told.parent.stem] = stored, "interrupted", ""
        for told in self.root.glob(f"{FAILED}/*.json"):
            stored = json.loads(told.read_text(encoding="utf-8"))
            hint = f" ({stored['hint']})" if stored["hint"] else ""
            found[told.stem] = stored["spec"], "failed", stored["message"] + hint
        for told in self.root.glob("[!.]*/record.json"):  # not the half-written ones of killed processes
            stored = json.loads(told.read_text(encoding="utf-8"))
            found[told.parent.name] = stored["spec"], "finished", ""
        columns = ["run", "model", "task", "fold", "state", "message"]
        rows = [
            (run, spec["model"], spec["task"], spec["fold"], state, message)
            for run, (spec, state, message) in found.items()
        ]
        table = pd.DataFrame(rows, columns=columns)
        return table.sort_values(["task", "model", "fold", "run"], ignore_index=True)

    def load(self, spec: RunSpec) -> RunRecord:
        """Record of a finished run, every file checked.

        Raises
        ------
        RunError
            If the run is not there, or a file of it is missing or altered.
        """
        record = self.open(self.folder(spec))
        if record.spec.hash != spec.hash:
            raise RunError(f"{record.folder} holds another run", hint="delete that folder and run again")
        return record

    @staticmethod
    def open(folder: Path) -> RunRecord:
        """Record that lies in a folder, every file checked.

        Raises
        ------
        RunError
            As :meth:`load`.
        """
        sums = folder / CHECKSUMS
        if not sums.is_file():
            raise RunError(f"no run record in {folder}", hint="train it first, or delete what is left there")
        for line in sums.read_text(encoding="utf-8").splitlines():
            expected, name = line.split("  ", 1)
            file = folder / name
            if not file.is_file() or sha256_file(file) != expected:
                state = "altered" if file.is_file() else "missing"
                raise RunError(
                    f"run record {folder.name} is damaged: {file} is {state}",
                    hint=f"delete {folder} and run again",
                )
        stored = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return RunRecord(
            folder=folder,
            spec=RunSpec.model_validate(stored["spec"]),
            metrics=stored["metrics"],
            timings=stored["timings"],
            environment=stored["environment"],
            history=tuple(stored["history"]),
        )

    def write(
        self,
        spec: RunSpec,
        predictions: pd.DataFrame,
        *,
        history: Sequence[Mapping[str, Any]] = (),
        metrics: Mapping[str, float] | None = None,
        timings: Mapping[str, float] | None = None,
        environment: Mapping[str, Any] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        share: bool = True,
    ) -> RunRecord:
        """Write a finished run atomically and drop its resume state.

        Parameters
        ----------
        spec : RunSpec
        predictions : DataFrame
            As :func:`predictions_frame` makes it.
        history : sequence of dict
            One entry an epoch, JSON values.
        metrics, timings : dict of str to float, optional
        environment : dict, optional
            JSON values; :func:`software_environment` if not given.
        arrays : dict of str to array, optional
            Trained weights to keep.
        share : bool
            Whether it goes into the shared store, if there is one.

        Returns
        -------
        RunRecord

        Raises
        ------
        RunError
            If the predictions are not those of one run.
        """
        _check_predictions(predictions, spec)
        target = self.folder(spec)
        with atomic_folder(target) as folder:
            predictions.to_parquet(folder / "predictions.parquet", index=False)
            write_json(
                folder / "record.json",
                {
                    "spec": spec.model_dump(mode="json"),
                    "metrics": {name: float(value) for name, value in (metrics or {}).items()},
                    "timings": {name: float(value) for name, value in (timings or {}).items()},
                    "environment": dict(software_environment() if environment is None else environment),
                    "history": [dict(epoch) for epoch in history],
                },
            )
            if arrays:
                np.savez(folder / "weights.npz", allow_pickle=False, **dict(arrays))
            names = sorted(file.name for file in folder.iterdir())
            lines = [f"{sha256_file(folder / name)}  {name}\n" for name in names]
            write_text(folder / CHECKSUMS, "".join(lines))
        shutil.rmtree(self.state_folder(spec), ignore_errors=True)
        self._failure(spec.hash).unlink(missing_ok=True)
        if share:
            self.share(spec)
        return self.load(spec)


def predictions_of(records: Iterable[RunRecord]) -> pd.DataFrame:
    """Predictions of many runs in one table.

    Parameters
    ----------
    records : iterable of RunRecord

    Returns
    -------
    DataFrame
        Columns :data:`PREDICTION_COLUMNS`.

    Raises
    ------
    InputError
        If there is no record, or an image has two scores for one (model, task, target, part,
        fold): two runs of one model with different options, for instance.
    """
    tables = [record.predictions() for record in records]
    if not tables:
        raise InputError("no run records to take predictions from")
    table = pd.concat(tables, ignore_index=True)
    twice = table[table.duplicated(["model", "task", "target", "image_id", "part", "fold"])]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"image {row['image_id']} has two scores of {row['model']} in the {row['part']} part of "
            f"fold {row['fold']}",
            hint="the records hold two runs of one model; pass one of them",
        )
    return table


def software_environment(*packages: str) -> dict[str, Any]:
    """What a result's last digits may depend on besides its spec.

    Parameters
    ----------
    *packages : str
        Distributions whose versions are wanted beside numpy, pandas and scikit-learn.

    Returns
    -------
    dict
        JSON values: python, platform, machine, cores, versions. No name of host or user.
    """
    versions = {}
    for package in ("numpy", "pandas", "scikit-learn", *packages):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
    }
