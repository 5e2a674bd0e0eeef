"""Explanations of runs, computed once: the part of the analysis that needs the networks themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from scipy.special import expit

from radtransfer import paths
from radtransfer.errors import unknown_name
from radtransfer.explain.analysis import Examined, examine
from radtransfer.explain.boxes import expert_boxes
from radtransfer.explain.cases import CaseRules, choose
from radtransfer.explain.maps import attention, cell_order, centre_map
from radtransfer.explain.methods import METHODS, attribute, reference
from radtransfer.explain.networks import ExplainedNetwork
from radtransfer.explain.records import (
    AGAIN,
    CENTRE_ORDER,
    NOISE,
    RANDOM_ORDER,
    RANDOMISED,
    TRAINED,
    ExplanationRecord,
    ExplanationSpec,
    Settings,
)
from radtransfer.training.augment import resize
from radtransfer.training.runs import predictions_of

if TYPE_CHECKING:
    from radtransfer.data.store import CuratedDataset
    from radtransfer.training.runs import RunRecord

OUTPUT = 1
"""What is explained of a binary task: the disease, whatever the network decided."""

BATCH = 16


def explain_task(
    runs: Iterable[RunRecord],
    dataset: CuratedDataset,
    *,
    network: str,
    compared: Sequence[str],
    boxes_from: str | None,
    rules: CaseRules,
    n_resamples: int,
    level: float,
    progress: Callable[[str], None] = print,
) -> Examined:
    """Explain a network of a task, and measure the explanations.

    Parameters
    ----------
    runs : iterable of RunRecord
        Among them those of the networks for the task of the dataset.
    dataset : CuratedDataset
        Of a binary task.
    network : str
        Explained by all methods.
    compared : sequence of str
        Further networks whose Grad-CAM is held against that of the first.
    boxes_from : str or None
        See :func:`radtransfer.explain.boxes.expert_boxes`.
    rules : CaseRules
        Their seed is also that of methods and intervals.
    n_resamples : int
    level : float
    progress : callable
        Called with lines to show.

    Raises
    ------
    InputError
        If a network was not trained for the task; names the nearest.
    """
    task = dataset.task
    runs_of: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.spec.task == task and run.spec.kind == "network":
            runs_of.setdefault(run.spec.model, []).append(run)
    for name in (network, *compared):
        if name not in runs_of:
            raise unknown_name(f"network trained for {task}", name, runs_of)
    boxes = expert_boxes(dataset, boxes_from)
    cases = choose(predictions_of(runs_of[network]), set(boxes["image_id"]), rules)
    settings = Settings(seed=rules.seed)
    records = {network: explain_runs(runs_of[network], dataset, cases, settings=settings, progress=progress)}
    for name in compared:
        records[name] = explain_runs(
            runs_of[name],
            dataset,
            cases.loc[cases["role"] == "boxed"].assign(checked=False),
            settings=settings,
            methods=("grad_cam",),
            progress=progress,
        )
    return examine(
        records,
        cases,
        boxes,
        dataset.cohort.frame.set_index("image_id")["patient_id"],
        task=task,
        n_resamples=n_resamples,
        level=level,
        seed=rules.seed,
    )


def explain_runs(
    runs: Sequence[RunRecord],
    dataset: CuratedDataset,
    cases: pd.DataFrame,
    *,
    settings: Settings,
    methods: Sequence[str] = tuple(METHODS),
    progress: Callable[[str], None] = print,
) -> list[ExplanationRecord]:
    """Explanations of the folds of a network, each of the test images that it has not seen.

    Parameters
    ----------
    runs : sequence of RunRecord
        Of one network and a binary task, one a fold.
    dataset : CuratedDataset
    cases : DataFrame
        As :func:`radtransfer.explain.cases.choose` makes it; with those marked ``checked`` the methods
        themselves are examined.
    settings : Settings
    methods : sequence of str
        Keys of :data:`radtransfer.explain.methods.METHODS`.
    progress : callable
        Called with lines to show.

    Returns
    -------
    list of ExplanationRecord
        Of the folds that cases come from; those that exist are opened, the others computed.

    Raises
    ------
    RunError
        If a network does not score as its run did.
    """
    records = []
    for run in runs:
        mine = cases.loc[cases["fold"] == run.spec.fold]
        if mine.empty:
            continue
        spec = ExplanationSpec(
            run=run.spec.hash,
            output=OUTPUT,
            methods=tuple(methods),
            images=tuple(dict.fromkeys(mine["image_id"])),
            checked=tuple(dict.fromkeys(mine.loc[mine["checked"], "image_id"])),
            settings=settings,
        )
        locks = paths.explanations_dir() / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{spec.hash}.lock"):
            if spec.folder.is_dir():
                records.append(ExplanationRecord.open(spec.folder))
            else:
                records.append(_explain(run, dataset, spec))
                seconds = sum(records[-1].info["seconds"].values())
                progress(
                    f"{run.spec.model}, fold {run.spec.fold + 1}: {len(spec.images)} images, {seconds:.0f} s"
                )
    return records


class _Clock(dict[str, float]):
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def note(self, what: str) -> None:
        now = time.perf_counter()
        self[what] = self.get(what, 0.0) + now - self.last
        self.last = now


def _explain(run: RunRecord, dataset: CuratedDataset, spec: ExplanationSpec) -> ExplanationRecord:
    import keras

    clock = _Clock()
    network = ExplainedNetwork.of(run, dataset)
    clock.note("loading")
    images = _images(dataset, spec.images, network.side)
    maps = _maps_of(network, images, spec, TRAINED, clock)
    curves = pd.DataFrame(columns=["image_id", "order", "kind", "share", "probability"])
    if spec.checked:
        where = [spec.images.index(image_id) for image_id in spec.checked]
        checked = images[where]
        trained = {method: maps[TRAINED, method][where] for method in spec.methods}
        maps |= _maps_of(network, checked, _with_next_seed(spec), AGAIN, clock)
        maps |= _maps_of(network, _noisy(checked, spec.settings), spec, NOISE, clock)
        for what in RANDOMISED:
            maps |= _maps_of(network.randomised(what, seed=spec.settings.seed), checked, spec, what, clock)
        curves = _curves(network, checked, trained, spec)
        clock.note("curves")
    record = ExplanationRecord.write(
        spec,
        maps=maps,
        curves=curves,
        info={
            "model": run.spec.model,
            "fold": run.spec.fold,
            "cam_layer": network.cam_layer,
            "cam_cells": int(network.halves[0].output_shape[1]),
            "seconds": dict(clock),
        },
    )
    # Keras keeps every model of a process alive until it is told not to
    keras.utils.clear_session()
    return record


def _images(dataset: CuratedDataset, image_ids: Sequence[str], side: int) -> NDArray[np.uint8]:
    return np.stack([resize(dataset.images[row], side) for row in dataset.index(image_ids)])


def _with_next_seed(spec: ExplanationSpec) -> ExplanationSpec:
    settings = spec.settings.model_copy(update={"seed": spec.settings.seed + 1})
    return spec.model_copy(update={"settings": settings})


def _noisy(images: NDArray[np.uint8], settings: Settings) -> NDArray[np.uint8]:
    noise = np.random.default_rng(settings.seed).normal(0, settings.noise, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def _maps_of(
    network: ExplainedNetwork, images: NDArray[np.uint8], spec: ExplanationSpec, variant: str, clock: _Clock
) -> dict[tuple[str, str], Any]:
    maps = {}
    for method in spec.methods:
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        maps[variant, method] = np.concatenate(
            [attribute(method, network, batch, spec.output, spec.settings) for batch in batches]
        )
        clock.note(f"{variant} {method}")
    return maps


def _curves(
    network: ExplainedNetwork,
    images: NDArray[np.uint8],
    maps: dict[str, NDArray[np.float32]],
    spec: ExplanationSpec,
) -> pd.DataFrame:
    """Insertion and deletion curves (Petsiuk et al., BMVC 2018) of every method and of two blind orders."""
    cells, rows = spec.settings.cells, []
    rng = np.random.default_rng(spec.settings.seed)
    blurred = reference(images, spec.settings)
    for number, image_id in enumerate(spec.checked):
        orders = {method: cell_order(attention(found[number]), cells) for method, found in maps.items()}
        orders[RANDOM_ORDER] = rng.permutation(cells**2)
        orders[CENTRE_ORDER] = cell_order(centre_map(images.shape[-1]), cells)
        for order, ranked in orders.items():
            for kind, ground, put in (
                ("deletion", images[number], blurred[number]),
                ("insertion", blurred[number], images[number]),
            ):
                shares, series = _uncovered(ground, put, ranked, cells)
                scores = expit(network.log_odds(series, spec.output))
                rows += [
                    (image_id, order, kind, share, score) for share, score in zip(shares, scores, strict=True)
                ]
    return pd.DataFrame(rows, columns=["image_id", "order", "kind", "share", "probability"])


def _uncovered(
    ground: NDArray[np.uint8], put: NDArray[np.uint8], ranked: NDArray[np.intp], cells: int
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Images in which ever more cells of ``ground`` are replaced by those of ``put``, in their order."""
    side = len(ground)
    rank = np.empty(cells**2)
    rank[ranked] = np.arange(cells**2)
    line = np.arange(side) * cells // side
    of_pixel = rank.reshape(cells, cells)[np.ix_(line, line)]
    shares = np.linspace(0, 1, cells + 1)
    return shares, np.stack([np.where(of_pixel < share * cells**2, put, ground) for share in shares])
