"""Training: from stored views and activations to run records, one a network and fold.

The loop is written out, and not left to ``keras.Model.fit``, for one property: an epoch is a pure
function of (weights, optimiser state, number of the epoch, seed). Order, views and dropout are
drawn anew for each epoch from its number, so that a run that was killed goes on from its last
epoch and ends with the very weights of an unbroken one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radtransfer.atomic import atomic_file, write_json
from radtransfer.data.store import CuratedDataset, FinalTest
from radtransfer.errors import InputError, LeakageError, RunError, unknown_name
from radtransfer.models.heads import set_scaling
from radtransfer.models.registry import Backbone, backbone
from radtransfer.models.weights import WeightsInfo, obtain_weights
from radtransfer.training.augment import VIEW_FIELDS
from radtransfer.training.classes import PARTS, class_options, labels_by_part, mean_auc
from radtransfer.training.devices import describe_device, replicated, train_step
from radtransfer.training.executors.choice import chosen_executor
from radtransfer.training.executors.transfer import obtain, offer
from radtransfer.training.executors.units import Executor, Unit
from radtransfer.training.failures import Failures, run_title
from radtransfer.training.features import Stored, Tap, stored_activations, stored_views
from radtransfer.training.networks import build_models, medical_weights, starting_backbone
from radtransfer.training.runs import (
    FINETUNE_FIELDS,
    SPEC,
    NetworkSpec,
    RunRecord,
    RunSpec,
    RunStore,
    TrainingOptions,
    network,
    predictions_frame,
    software_environment,
)
from radtransfer.training.shared import STORE
from radtransfer.training.steps import STEPS_A_CALL, ManySteps, many_steps
from radtransfer.training.subsets import nested_share

if TYPE_CHECKING:
    import keras

Progress = Callable[[str], None]

RECIPE = 2
"""Raised when a change of the code changes results."""

PLATEAU_PATIENCE = 2
PLATEAU_FACTOR = 0.5
"""Halve the learning rate when the validation loss has not fallen for two epochs."""


def train_networks(
    dataset: CuratedDataset,
    *,
    task: str,
    networks: Sequence[str | NetworkSpec],
    options: TrainingOptions | Mapping[str, TrainingOptions],
    n_folds_used: int | None = None,
    sources: Mapping[str, RunRecord] | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[RunRecord]:
    """Cross-validate networks on a curated dataset.

    In each fold the network is trained on the other folds without their validation patients,
    stopped by validation loss, and scores the validation and the test part. Runs that exist are
    loaded, runs that were interrupted go on from their last epoch. A run that fails is recorded
    and the others go on; the call fails when all have had their turn. Runs that another process
    has in hand come last.

    Parameters
    ----------
    dataset : CuratedDataset
    task : str
        Task of the dataset; one of more than two classes is one softmax of them all.
    networks : sequence of str or NetworkSpec
        Names in :data:`radtransfer.training.runs.NETWORKS`, or networks of other descriptions.
    options : TrainingOptions or dict of str to TrainingOptions
        For all networks, or by network.
    n_folds_used : int, optional
        Only the first so many folds are test parts; all by default.
    sources : mapping of str to RunRecord, optional
        Finished runs on other datasets by the task that :attr:`NetworkSpec.source` names.
    store : RunStore, optional
    executor : Executor, optional
        Where runs are executed: by default as ``RADTRANSFER_EXECUTOR`` says, in this process without.
        Whoever executes them, results and names are the same.
    progress : callable, optional
        Called with lines to show.

    Returns
    -------
    list of RunRecord
        By network in the order given, then by fold.

    Raises
    ------
    InputError
        If a name is unknown or there are not so many folds.
        Or a label of the task is not known, or a source does not fit.
    LeakageError
        If a source was trained on the same dataset.
    RunError
        If runs failed: a part of a fold lacks a class, the loss or a weight is no longer a number, memory or
        disk are full. Their records are in :meth:`RunStore.summary`.
    """
    specs = [network(name) if isinstance(name, str) else name for name in networks]
    return train_all(
        dataset,
        task=task,
        wanted=[(spec, options[spec.name] if isinstance(options, Mapping) else options) for spec in specs],
        n_folds_used=n_folds_used,
        sources=sources,
        store=store,
        progress=progress,
        executor=executor,
    )


def train_all(
    dataset: CuratedDataset,
    *,
    task: str,
    wanted: Sequence[tuple[NetworkSpec, TrainingOptions]],
    n_folds_used: int | None = None,
    sources: Mapping[str, RunRecord] | None = None,
    store: RunStore | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> list[RunRecord]:
    """Cross-validate networks, of which several may be the same with other options.

    Parameters
    ----------
    dataset, task, n_folds_used, sources, store, progress, executor
        As for :func:`train_networks`.
    wanted : sequence of (NetworkSpec, TrainingOptions)
        What is trained on the same frozen layers is computed in one pass.

    Returns
    -------
    list of RunRecord
        By network in the order given, then by fold; what is wanted twice is trained once.

    Raises
    ------
    InputError, LeakageError, RunError
        As :func:`train_networks`.
    """
    tell = progress or (lambda line: None)
    store = store or RunStore()
    n_folds = dataset.folds.n_folds if n_folds_used is None else n_folds_used
    if not 1 <= n_folds <= dataset.folds.n_folds:
        raise InputError(f"{n_folds} folds wanted where the dataset has {dataset.folds.n_folds}")
    jobs = [_Job.make(dataset, task, spec, options, sources or {}) for spec, options in wanted]
    failures = Failures(store, tell)
    folds = range(n_folds)
    pending = [job for job in jobs if job.missing(folds, store)]
    executor = executor or chosen_executor()
    if executor is None:
        for job in pending:
            _train(job, pending, folds, store, tell, failures)
    else:
        _train_elsewhere(executor, pending, folds, store, tell, failures)
    failures.raise_if_any()
    return [store.load(job.run(fold)) for job in jobs for fold in folds]


@dataclass(frozen=True)
class _Job:
    """A network that is to be trained on a dataset, in all its folds."""

    dataset: CuratedDataset
    task: str
    network: NetworkSpec
    backbone: Backbone
    weights: WeightsInfo
    options: TrainingOptions
    source: RunRecord | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.cohort.classes_of(self.task)

    @classmethod
    def make(
        cls,
        dataset: CuratedDataset,
        task: str,
        spec: NetworkSpec,
        options: TrainingOptions,
        sources: Mapping[str, RunRecord],
    ) -> _Job:
        parts = backbone(spec.backbone)
        if options.input_size < parts.min_size:
            raise InputError(
                f"{spec.name} needs an input of at least {parts.min_size} px, not {options.input_size}"
            )
        if spec.trainable_blocks > len(parts.blocks):
            raise InputError(f"{spec.name} trains {spec.trainable_blocks} of {len(parts.blocks)} blocks")
        if unknown := [name for name in spec.reinitialised if name not in dict(parts.blocks)]:
            raise unknown_name(f"block of {parts.name}", unknown[0], dict(parts.blocks))
        if spec.source is not None:
            source = _source_run(dataset, spec.source, sources)
            return cls(dataset, task, spec, parts, medical_weights(parts, source), options, source)
        weights = obtain_weights(parts) if spec.pretrained else WeightsInfo("none")
        return cls(dataset, task, spec, parts, weights, options)

    def missing(self, folds: Iterable[int], store: RunStore) -> list[RunSpec]:
        """Runs that are not finished."""
        runs = [self.run(fold) for fold in folds]
        return [run for run in runs if not store.has(run)]

    def run(self, fold: int) -> RunSpec:
        unused = {"seed"} if self.network.regime == "finetuned" else {"seed", *FINETUNE_FIELDS}
        return RunSpec(
            recipe=RECIPE,
            kind="network",
            model=self.network.name,
            task=self.task,
            dataset_digest=self.dataset.digest,
            folds_digest=self.dataset.folds.digest,
            fold=fold,
            weights=self.weights.kind,
            weights_digest=self.weights.digest,
            options=self.options.identity(without=unused)
            | self.network.identity(without={"name"})
            | ({"source_run": self.source.spec.hash} if self.source else {})
            | class_options(self.classes),
            seed=self.options.seed,
        )

    @property
    def cut(self) -> str | None:
        """Last frozen layer."""
        return None if self.network.trains_all else self.backbone.cut(self.network.trainable_blocks)

    @property
    def pooled(self) -> Tap:
        """Pooled output of the backbone: all that a head alone needs."""
        return Tap(self.backbone.blocks[-1][1], pooled=True)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Frozen activations that training starts from; none for a network without frozen layers."""
        if self.network.trains_all:
            return ()
        if self.network.regime == "frozen" or self.cut is None:
            return (self.pooled,)
        return (self.pooled, Tap(self.cut, pooled=False))

    def shares_activations(self, other: _Job) -> bool:
        """Whether one pass through the backbone serves both."""
        return (
            self.backbone is other.backbone
            # where they were found and what was tried before is another story each time
            and (self.weights.kind, self.weights.digest) == (other.weights.kind, other.weights.digest)
            and all(
                getattr(self.options, name) == getattr(other.options, name)
                for name in VIEW_FIELDS | {"precision"}
            )
            and self.network.reinitialised == other.network.reinitialised
            and (self.is_of_one_start or self.options.seed == other.options.seed)
        )

    @property
    def is_of_one_start(self) -> bool:
        """Whether the backbone starts alike whatever the seed."""
        return self.weights.path is not None and not self.network.reinitialised


def _source_run(dataset: CuratedDataset, task: str, sources: Mapping[str, RunRecord]) -> RunRecord:
    """Run that a network starts from, which may not have seen the dataset."""
    if task not in sources:
        raise unknown_name("source", task, sources)
    source = sources[task]
    here = dataset.cohort.dataset
    if source.spec.dataset_digest == dataset.digest or source.environment.get("dataset") == here:
        raise LeakageError(
            f"run {source.spec.hash} was trained on {here} itself: its weights have seen test patients",
            hint="start from a run on another dataset",
        )
    return source


@dataclass(frozen=True)
class _Source:
    """Network inputs by (view, row), made from something stored."""

    stored: Stored
    prepare: Callable[[NDArray[Any]], NDArray[np.float32]]

    @property
    def n_views(self) -> int:
        return int(self.stored.array.shape[0])

    def batch(self, views: NDArray[np.intp] | int, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return self.prepare(self.stored.array[views, rows])


@dataclass(frozen=True)
class _Stage:
    """A model and what it is trained on; staged fine-tuning has two, everything else one.

    ``scaled_by`` are the pooled features that set the scaling of the head when the stage begins,
    ``at_once`` makes many steps in one call where that is faster.
    """

    name: str
    model: keras.Model
    head: keras.Model
    source: _Source
    learning_rate: float
    warmup: int = 0
    scaled_by: Stored | None = None
    at_once: ManySteps | None = None


def _prepare(
    job: _Job, pending: Sequence[_Job], tell: Progress
) -> tuple[Stored, keras.Model, dict[Tap, Stored]]:
    """Views, backbone, and the activations that pending jobs have in common."""
    # also of images that are held out: the last test then needs no pass of its own
    views = stored_views(job.dataset, job.dataset.image_ids, job.options, progress=tell)
    base = starting_backbone(job.network, job.backbone, job.options, job.weights)
    if job.taps and job.weights.path is None:
        tell(f"{job.network.name}: no pretrained weights, random ones: {'; '.join(job.weights.reasons)}")
    shared = dict.fromkeys(tap for other in pending if other.shares_activations(job) for tap in other.taps)
    return views, base, stored_activations(views, job.backbone, base, tuple(shared), progress=tell)


def _train(
    job: _Job,
    pending: Sequence[_Job],
    folds: Sequence[int],
    store: RunStore,
    tell: Progress,
    failures: Failures,
    *,
    waits: Sequence[bool] = (False, True),
) -> list[int]:
    """Train a network in some folds; those that another process has in hand are left if not waited for."""
    import keras

    stages: tuple[_Stage, ...] = ()
    with failures.of(job.missing(folds, store)), replicated(job.options.replicas):
        environment = _environment(job)
        views, base, activations = _prepare(job, pending, tell)
        prefix_s = max((activations[tap].seconds for tap in job.taps), default=0.0)
        stages = _stages(job, base, views, activations)
        initial = [_snapshot(stage.model) for stage in stages]
        del base
    left = list(folds) if stages else []
    for wait in waits:  # what another process has in hand comes last
        held = []
        for fold in left:
            run = job.run(fold)
            with store.claim(run, wait=wait) as mine, failures.of([run]):
                if not mine:
                    held.append(fold)
                elif not store.has(run):
                    # folds share their compiled models, and start alike whatever was trained before
                    for stage, snapshot in zip(stages, initial, strict=True):
                        _restore(stage.model, snapshot)
                    _Fold(job, run, stages, store, tell).train(environment, prefix_s=prefix_s)
        left = held
    del stages
    # Keras keeps every model of a process alive until it is told not to
    keras.utils.clear_session(free_memory=True)
    return left


def _train_elsewhere(
    executor: Executor,
    pending: Sequence[_Job],
    folds: Sequence[int],
    store: RunStore,
    tell: Progress,
    failures: Failures,
) -> None:
    """Have an executor do what is missing: activations once, then each run by itself."""
    runs = {run.hash: run for job in pending for run in job.missing(folds, store)}
    units = _units(pending, folds, store)
    for unit in units:
        offer(unit)
    done = 0
    with closing(executor.run(units, tell)) as ended:
        for unit, outcome in ended:
            if unit.name not in runs:
                continue  # the runs that need it fail with it
            run = runs[unit.name]
            with failures.of([run]):
                outcome.raise_if_failed()
                if not store.has(run):
                    raise RunError(
                        "a worker finished it, and it is not here",
                        hint=f"give all nodes {store.root}, or set {STORE} to a store that all can reach",
                    )
                done += 1
                tell(f"{unit.title}: done, {done} of {len(runs)}")


def _units(pending: Sequence[_Job], folds: Sequence[int], store: RunStore) -> list[Unit]:
    units = []
    for job in pending:
        sharing = [other for other in pending if other.taps and other.shares_activations(job)]
        activations = f"activations.{sharing[0].run(0).hash}" if job.taps else None
        if job.taps and sharing[0] is job:
            title = f"activations of {', '.join(other.network.name for other in sharing)}"
            units.append(_unit(sharing, store, name=str(activations), title=title))
        units += [
            _unit([job], store, name=run.hash, title=run_title(run), fold=run.fold, after=activations)
            for run in job.missing(folds, store)
        ]
    return units


def _unit(jobs: Sequence[_Job], store: RunStore, **about: Any) -> Unit:
    first = jobs[0]
    return Unit(
        work=f"{__name__}:{perform.__name__}",
        dataset=str(first.dataset.folder),
        final=isinstance(first.dataset, FinalTest),
        task=first.task,
        networks=tuple(job.network for job in jobs),
        options=tuple(job.options for job in jobs),
        sources={str(job.network.source): str(job.source.folder) for job in jobs if job.source},
        weights=str(first.weights.path.parent) if first.weights.path and not first.source else "",
        store=str(store.root),
        **about,
    )


def perform(unit: Unit, tell: Progress) -> bool:
    """Do a unit in this process, for an executor.

    Parameters
    ----------
    unit : Unit
    tell : callable of str
        Called with lines to show.

    Returns
    -------
    bool
        False if another process has the run in hand.

    Raises
    ------
    RadtransferError
        If it fails, or if this machine would make another run of it.
    """
    unit = obtain(unit)
    kind = FinalTest if unit.final else CuratedDataset
    dataset, store = kind.open(Path(unit.dataset)), RunStore(Path(unit.store))
    sources = {task: RunStore.open(Path(folder)) for task, folder in unit.sources.items()}
    jobs = [
        _Job.make(dataset, unit.task, spec, options, sources)
        for spec, options in zip(unit.networks, unit.options, strict=True)
    ]
    if unit.fold is None:
        _environment(jobs[0])
        _prepare(jobs[0], jobs, tell)
        return True
    (job,) = jobs
    run = job.run(unit.fold)
    if run.hash != unit.name:
        raise RunError(
            f"a worker would make another run of it: weights {run.weights} {run.weights_digest[:8]}".rstrip(),
            hint="give it the weights and the code that the driver has",
        )
    failures = Failures(store, tell)
    left = _train(job, jobs, [unit.fold], store, tell, failures, waits=(unit.wait,))
    failures.raise_if_any()
    if not left:
        store.share(run)
    return not left


def _stages(
    job: _Job, base: keras.Model, views: Stored, activations: Mapping[Tap, Stored]
) -> tuple[_Stage, ...]:
    import keras

    head, whole = build_models(job.network, job.backbone, job.options, base, n_classes=len(job.classes))
    for model in dict.fromkeys((head, whole)):
        # XLA on a CPU is many times slower than the kernels it replaces; JAX has nothing else
        optimizer = keras.optimizers.Adam()
        if model is not head and job.options.precision == "mixed_float16":
            # small gradients are nothing in float16
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(
            optimizer=optimizer,
            loss="categorical_crossentropy",
            jit_compile=keras.backend.backend() == "jax",
        )
        model.optimizer.build(model.trainable_variables)
    options, images = job.options, _Source(views, job.backbone.preprocess)
    if job.network.trains_all:
        return (_Stage("all", whole, head, images, options.learning_rate),)
    pooled = activations[job.pooled]
    first = _Stage(
        "head",
        head,
        head,
        _Source(pooled, _as_is),
        options.learning_rate,
        scaled_by=pooled,
        at_once=many_steps(head),
    )
    if job.network.regime == "frozen":
        return (first,)
    blocks = _Stage(
        "blocks",
        whole,
        head,
        _Source(activations[Tap(job.cut, pooled=False)], _as_is) if job.cut else images,
        options.finetune_learning_rate,
        options.finetune_warmup,
    )
    # A fresh head sends large, senseless gradients into the pretrained blocks. It is trained
    # first, on pooled activations that are there anyway, and then all together at a lower rate.
    return (first, blocks) if job.network.staged else (replace(blocks, scaled_by=pooled),)


def _as_is(activations: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(activations)


def _snapshot(model: keras.Model) -> dict[str, list[NDArray[Any]]]:
    """Everything that training changes."""
    return {
        "weights": model.get_weights(),
        "optimiser": [np.asarray(variable) for variable in model.optimizer.variables],
    }


def _restore(model: keras.Model, snapshot: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    model.set_weights(list(snapshot["weights"]))
    for variable, value in zip(model.optimizer.variables, snapshot["optimiser"], strict=True):
        variable.assign(value)


@dataclass
class _State:
    """Where a run stands after an epoch, beside its weights.

    Attributes
    ----------
    stage, epoch : int
        Stage in progress and its finished epochs.
    learning_rate : float
        Of the next epoch.
    best_loss : float or None
        Least validation loss in this stage; None before the stage has begun.
    stale, plateau : int
        Epochs since the best one, and since then or the last reduction of the rate.
    history : list of dict
    """

    stage: int = 0
    epoch: int = 0
    learning_rate: float = 0.0
    best_loss: float | None = None
    stale: int = 0
    plateau: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


class _Fold:
    """Training of one network in one fold."""

    def __init__(
        self, job: _Job, run: RunSpec, stages: Sequence[_Stage], store: RunStore, tell: Progress
    ) -> None:
        self.job, self.run, self.stages, self.store, self.tell = job, run, stages, store, tell
        self.title = f"{run.model}, fold {run.fold + 1}"
        self.checkpoint = store.state_folder(run) / "checkpoint.npz"
        self.split = job.dataset.folds.split(
            run.fold, validation_fraction=job.options.validation_fraction, seed=run.seed
        )
        self.labels = labels_by_part(job.dataset, run, self.split)
        smoothing = job.options.label_smoothing
        n_classes = len(job.classes)
        self.targets = (np.eye(n_classes) * (1 - smoothing) + smoothing / n_classes).astype(np.float32)
        stored = stages[0].source.stored
        self.rows = {part: stored.rows(self.split.ids(part)) for part in PARTS}
        self.n_epoch = len(self.rows["train"])
        self._learn_from_share(job.options.training_fraction)
        counts = np.bincount(self.labels["train"], minlength=n_classes)
        self.class_weights = (counts.sum() / (n_classes * counts)).astype(np.float32)

    def _learn_from_share(self, fraction: float) -> None:
        patient_of = self.split.table.set_index("image_id")["patient_id"]
        patients = patient_of.loc[list(self.split.ids("train"))].tolist()
        kept = nested_share(patients, self.labels["train"], fraction, seed=self.run.seed)
        self.rows["train"], self.labels["train"] = self.rows["train"][kept], self.labels["train"][kept]

    def train(self, environment: Mapping[str, Any], *, prefix_s: float) -> RunRecord:
        """Train all stages, score, and write the record."""
        write_json(self.checkpoint.with_name(SPEC), self.run.model_dump(mode="json"))
        state, best = self._resume()
        while state.stage < len(self.stages):
            stage = self.stages[state.stage]
            if state.best_loss is None:
                best = self._begin(stage, state)
            while state.epoch < self.job.options.epochs and state.stale < self.job.options.patience:
                best = self._epoch(stage, state, best)
                self._save(stage, state, best)
            stage.model.set_weights(best)
            state = _State(stage=state.stage + 1, history=state.history)
        return self._record(state, environment, prefix_s)

    def _begin(self, stage: _Stage, state: _State) -> list[NDArray[Any]]:
        if stage.scaled_by is not None:
            pooled = stage.scaled_by.array[:, self.rows["train"]]
            set_scaling(stage.head, pooled.reshape(-1, pooled.shape[-1]))
        state.learning_rate = stage.learning_rate
        # the start counts: fine-tuning that never helps gives back the head it began with
        state.best_loss = self._validation_loss(stage)
        weights: list[NDArray[Any]] = stage.model.get_weights()
        return weights

    def _epoch(self, stage: _Stage, state: _State, best: list[NDArray[Any]]) -> list[NDArray[Any]]:
        started = time.perf_counter()
        rate = state.learning_rate
        loss = self._pass(stage, state)
        validation_loss = self._validation_loss(stage)
        # a kernel's ReLU may turn what is no number into 0, and hide it from the loss
        finite = all(np.isfinite(weights).all() for weights in stage.model.get_weights())
        if not (finite and math.isfinite(loss) and math.isfinite(validation_loss)):
            raise RunError(
                f"{self.title}: the loss or a weight is no longer a number after epoch {state.epoch + 1}",
                hint=f"lower the learning rate, now {rate:g}",
            )
        state.epoch += 1
        assert state.best_loss is not None
        if validation_loss < state.best_loss:
            state.best_loss, state.stale, state.plateau = validation_loss, 0, 0
            best = stage.model.get_weights()
        else:
            state.stale += 1
            state.plateau += 1
            if state.plateau == PLATEAU_PATIENCE and self.job.options.schedule == "plateau":
                state.learning_rate *= PLATEAU_FACTOR
                state.plateau = 0
        if self.job.options.schedule == "cosine":
            progress = state.epoch / self.job.options.epochs
            state.learning_rate = stage.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        state.history.append(
            {
                "stage": stage.name,
                "epoch": state.epoch,
                "loss": loss,
                "validation_loss": validation_loss,
                "learning_rate": rate,
                "seconds": time.perf_counter() - started,
            }
        )
        self.tell(
            f"{self.title}, {stage.name}: epoch {state.epoch}, loss {loss:.4f}, "
            f"validation {validation_loss:.4f}, {state.history[-1]['seconds']:.1f} s"
        )
        return best

    def _pass(self, stage: _Stage, state: _State) -> float:
        """One epoch of steps: each image once, in one of its views; the mean loss.

        Of a share of the training part each image comes several times, in views drawn anew: as many
        steps as with all images, so that small sets are not trained for fewer.
        """
        rng = np.random.default_rng([self.run.seed, self.run.fold, state.stage, state.epoch])
        rows, labels = self.rows["train"], self.labels["train"]
        size = min(self.job.options.batch_size, self.n_epoch)
        rounds = [rng.permutation(len(rows)) for _ in range(math.ceil(self.n_epoch / len(rows)))]
        order = np.concatenate(rounds)[: self.n_epoch]
        drawn = rng.integers(stage.source.n_views, size=(len(rounds), len(rows)))
        views = np.concatenate([of[each] for of, each in zip(drawn, rounds, strict=True)])[: self.n_epoch]
        model = stage.model
        for variable in _seeds(model):
            variable.assign(np.array([rng.integers(2**32), 0], dtype=np.uint32))
        losses = []
        balanced = self.job.options.class_weights == "balanced"
        n_steps = math.ceil(len(order) / size)
        span = size * STEPS_A_CALL if stage.at_once else size
        for start in range(0, len(order), span):
            done = (start // size + 1) / n_steps
            warm = (state.epoch + done) / stage.warmup if state.epoch < stage.warmup else 1.0
            model.optimizer.learning_rate = state.learning_rate * warm
            # the last batch is what is left, as in `keras.Model.fit`
            chosen = order[start : start + span]
            inputs = stage.source.batch(views[start : start + span], rows[chosen])
            targets = self.targets[labels[chosen]]
            weights = self.class_weights[labels[chosen]] if balanced else None
            if stage.at_once:
                losses += stage.at_once.train(inputs, targets, weights, size).tolist()
            else:
                losses.append(train_step(model, inputs, targets, weights))
        sizes = [min(size, len(order) - start) for start in range(0, len(order), size)]
        return math.fsum(loss * n for loss, n in zip(losses, sizes, strict=True)) / len(order)

    def _scores(self, stage: _Stage, part: str) -> NDArray[np.float64]:
        """Probabilities of the classes for the unchanged images of a part, shape (n, classes)."""
        rows = self.rows[part]
        size = self.job.options.batch_size
        # filled up to the one batch shape, then cut off again
        batches = np.resize(rows, (math.ceil(len(rows) / size), size))
        span = STEPS_A_CALL if stage.at_once else 1
        scores = []
        for start in range(0, len(batches), span):
            chosen = batches[start : start + span]
            inputs = stage.source.batch(0, chosen.ravel())
            if stage.at_once:
                output = stage.at_once.predict(inputs.reshape(*chosen.shape, -1))
                scores.append(output.reshape(chosen.size, -1))
            else:
                # each of several devices gives all that it was given
                scores.append(np.asarray(stage.model.predict_on_batch(inputs))[:size])
        return np.concatenate(scores)[: len(rows)].astype(np.float64)

    def _validation_loss(self, stage: _Stage) -> float:
        labels = self.labels["validation"]
        right = self._scores(stage, "validation")[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(right, 1e-7)).mean())

    def _save(self, stage: _Stage, state: _State, best: Sequence[NDArray[Any]]) -> None:
        arrays = {
            f"{name}/{i:04d}": value
            for name, values in (_snapshot(stage.model) | {"best": list(best)}).items()
            for i, value in enumerate(values)
        }
        text = np.frombuffer(json.dumps(asdict(state)).encode(), dtype=np.uint8)
        with atomic_file(self.checkpoint) as partial:
            np.savez(partial, allow_pickle=False, state=text, **arrays)

    def _resume(self) -> tuple[_State, list[NDArray[Any]]]:
        if not self.checkpoint.is_file():
            return _State(), []
        with np.load(self.checkpoint, allow_pickle=False) as stored:
            state = _State(**json.loads(stored["state"].tobytes()))
            kept: dict[str, list[NDArray[Any]]] = {"weights": [], "optimiser": [], "best": []}
            for name in sorted(stored.files):
                if name != "state":
                    kept[name.split("/")[0]].append(stored[name])
        _restore(self.stages[state.stage].model, kept)
        self.tell(f"{self.title}: goes on after epoch {state.epoch} of {self.stages[state.stage].name}")
        return state, kept["best"]

    def _record(self, state: _State, environment: Mapping[str, Any], prefix_s: float) -> RunRecord:
        started = time.perf_counter()
        stage = self.stages[-1]
        scores = {part: self._scores(stage, part) for part in ("validation", "test")}
        predict_s = time.perf_counter() - started
        ids = {part: self.split.ids(part) for part in scores}
        patient_of = self.split.table.set_index("image_id")["patient_id"]
        image_ids = [*ids["validation"], *ids["test"]]
        predictions = predictions_frame(
            self.run,
            image_ids=image_ids,
            patient_ids=patient_of.loc[image_ids].tolist(),
            part=["validation"] * len(ids["validation"]) + ["test"] * len(ids["test"]),
            labels=np.concatenate([self.labels[part] for part in scores]),
            scores=np.concatenate(list(scores.values())),
            classes=self.job.classes,
        )
        train_s = sum(epoch["seconds"] for epoch in state.history)
        return self.store.write(
            self.run,
            predictions,
            history=state.history,
            metrics={
                "validation_auc": mean_auc(self.labels["validation"], scores["validation"]),
                "validation_loss": self._validation_loss(stage),
                "n_trainable": sum(math.prod(v.shape) for v in stage.model.trainable_variables),
            },
            timings={
                "prefix_s": prefix_s,
                "train_s": train_s,
                "predict_s": predict_s,
                "epochs": len(state.history),
                **{f"n_{part}": len(rows) for part, rows in self.rows.items()},
            },
            environment=environment,
            arrays={f"{i:04d}": weights for i, weights in enumerate(stage.model.get_weights())},
        )


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """States of the random generators of a model's dropout layers."""
    return [variable for variable in model.non_trainable_variables if "seed_generator_state" in variable.path]


def _environment(job: _Job) -> dict[str, Any]:
    """Make results repeatable as far as the backend can, and say what they still depend on."""
    described: dict[str, Any] = software_environment("keras", "tensorflow", "tensorflow-cpu", "jax", "torch")
    described |= {
        "precision": job.options.precision,
        "dataset": job.dataset.cohort.dataset,
        "weights": {
            "kind": job.weights.kind,
            "source": job.weights.source,
            "digest": job.weights.digest,
            "reasons": list(job.weights.reasons),
        },
    }
    return described | describe_device(cores=described["cores"], n_replicas=job.options.replicas)
