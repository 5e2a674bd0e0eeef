"""Classical learners on shortcut and handcrafted features, fitted fold by fold.

Hyperparameters are chosen inside the training part of a fold, by cross-validation in which the
images of a patient (and of its duplicates) stay together; validation and test part see the
finished model only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from radtransfer import paths
from radtransfer.atomic import atomic_folder, write_json
from radtransfer.baselines import shortcuts
from radtransfer.data.duplicates import components
from radtransfer.errors import DataError, InputError, unknown_name
from radtransfer.hashing import sha256_json
from radtransfer.training.classes import PARTS, class_options, labels_by_part, mean_auc
from radtransfer.training.failures import Failures
from radtransfer.training.runs import RunRecord, RunSpec, RunStore, predictions_frame, software_environment

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from radtransfer.data.splits import Split
    from radtransfer.data.store import CuratedDataset

    Table = NDArray[np.floating[Any]] | pd.DataFrame

RECIPE: Final = 2
"""Raised when a change of this sub-package changes results."""

INNER_FOLDS: Final = 4
"""Folds of the choice of hyperparameters."""


@dataclass(frozen=True)
class Baseline:
    """Features, a learner on them, and what is chosen by inner cross-validation.

    Attributes
    ----------
    name, title : str
        Name in every table; what it is in words.
    shortcut : bool
        Whether it looks at no anatomy, so that a network is credited with what it adds over it.
    features : callable
        Of a :class:`Features`: the table to learn from, one row an image.
    learner : callable
        Of a seed: an unfitted scikit-learn classifier.
    grid : mapping of str to sequence
        Candidates of the learner's hyperparameters; empty where nothing is chosen.
    platt : bool
        Whether the learner's margins need Platt's scaling to become probabilities (Platt 1999),
        fitted on out-of-fold margins of the training part.
    facts : bool
        Whether it rests on columns of the cohort alone, of which a dataset may have none.
    """

    name: str
    title: str
    shortcut: bool
    features: Callable[[Features], Table]
    learner: Callable[[int], BaseEstimator]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    platt: bool = False
    facts: bool = False


class Features:
    """Feature tables of a dataset, each made once and only when a baseline asks for it.

    Handcrafted features take seconds a thousand images; they are kept under
    :func:`radtransfer.paths.features_dir` by the dataset's digest.

    Parameters
    ----------
    dataset : CuratedDataset
    progress : callable of str, optional
        Told what takes long.
    """

    def __init__(self, dataset: CuratedDataset, progress: Callable[[str], None] | None = None) -> None:
        self._dataset, self._tell = dataset, progress or (lambda _: None)

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """See :func:`radtransfer.baselines.shortcuts.metadata_table`."""
        return shortcuts.metadata_table(self._dataset.cohort.frame).reset_index(drop=True)

    @cached_property
    def slice_position(self) -> pd.DataFrame:
        """See :func:`radtransfer.baselines.shortcuts.slice_position_table`."""
        return shortcuts.slice_position_table(self._dataset.cohort.frame).reset_index(drop=True)

    @cached_property
    def border(self) -> NDArray[np.float64]:
        """See :func:`radtransfer.baselines.shortcuts.border_features`."""
        return shortcuts.border_features(self._dataset.images)

    @cached_property
    def thumbnail(self) -> NDArray[np.float64]:
        """See :func:`radtransfer.baselines.shortcuts.thumbnails`."""
        return shortcuts.thumbnails(self._dataset.images)

    @cached_property
    def handcrafted(self) -> NDArray[np.float64]:
        """See :func:`radtransfer.baselines.handcrafted.feature_table`; kept on disk.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        from radtransfer.baselines import handcrafted

        key = {"features": "handcrafted", "recipe": handcrafted.RECIPE, "dataset": self._dataset.digest}
        folder = paths.features_dir() / sha256_json(key)[:16]
        if not folder.is_dir():
            n = len(self._dataset.images)
            self._tell(f"handcrafted features of {n} images")
            table = handcrafted.feature_table(self._dataset.images)
            with atomic_folder(folder) as partial:
                np.save(partial / "features.npy", table, allow_pickle=False)
                write_json(partial / "features.json", key | {"shape": list(table.shape)})
        return _load(folder, rows=len(self._dataset.images))


def _load(folder: Path, rows: int) -> NDArray[np.float64]:
    try:
        shape = json.loads((folder / "features.json").read_text(encoding="utf-8"))["shape"]
        table = np.load(folder / "features.npy", allow_pickle=False)
        if list(table.shape) != shape or len(table) != rows or not np.isfinite(table).all():
            raise ValueError(f"shape {table.shape}, expected {shape}")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"stored features in {folder} are damaged: {error}", hint="delete that folder"
        ) from error
    return np.asarray(table, np.float64)


def _logistic(seed: int) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))


def _metadata_logistic(seed: int) -> Pipeline:
    age = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    columns = make_column_transformer(
        (age, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=2000, random_state=seed))


def _svm(seed: int) -> Pipeline:
    return make_pipeline(StandardScaler(), SVC(kernel="rbf", cache_size=500, random_state=seed))


def _forest(seed: int) -> BaseEstimator:
    # forests gain little from tuning: Probst, Wright and Boulesteix, WIREs Data Min Knowl Discov 2019;9:e1301
    return RandomForestClassifier(n_estimators=300, n_jobs=-1, random_state=seed)


def _strengths(low: int, high: int) -> dict[str, list[float]]:
    return {"logisticregression__C": [10.0**k for k in range(low, high + 1)]}


BASELINES: Final[dict[str, Baseline]] = {
    baseline.name: baseline
    for baseline in (
        Baseline(
            "metadata",
            "Age, sex, view and site; logistic regression",
            shortcut=True,
            features=lambda features: features.metadata,
            learner=_metadata_logistic,
            facts=True,
        ),
        Baseline(
            "slice_position",
            "Distance of the slice from the middle of its series; logistic regression",
            shortcut=True,
            features=lambda features: features.slice_position,
            learner=_metadata_logistic,
            facts=True,
        ),
        Baseline(
            "border",
            "Image border and brightness; logistic regression",
            shortcut=True,
            features=lambda features: features.border,
            learner=_logistic,
            grid=_strengths(-3, 1),
        ),
        Baseline(
            "thumbnail32",
            "Thumbnail of 32 x 32 pixels; logistic regression",
            shortcut=True,
            features=lambda features: features.thumbnail,
            learner=_logistic,
            grid=_strengths(-5, -1),
        ),
        Baseline(
            "handcrafted_logistic",
            "Handcrafted features; logistic regression",
            shortcut=False,
            features=lambda features: features.handcrafted,
            learner=_logistic,
            grid=_strengths(-6, -2),
        ),
        Baseline(
            "handcrafted_svm",
            "Handcrafted features; support vector machine",
            shortcut=False,
            features=lambda features: features.handcrafted,
            learner=_svm,
            grid={"svc__C": [0.3, 1.0, 3.0, 10.0]},
            platt=True,
        ),
        Baseline(
            "handcrafted_forest",
            "Handcrafted features; random forest",
            shortcut=False,
            features=lambda features: features.handcrafted,
            learner=_forest,
        ),
    )
}
"""Baselines of the study by name."""


def fit_baselines(
    dataset: CuratedDataset,
    *,
    task: str,
    baselines: Sequence[str],
    validation_fraction: float,
    seed: int,
    n_folds_used: int | None = None,
    store: RunStore | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[RunRecord]:
    """Fit baselines on the folds of a dataset, as the networks are.

    Parameters
    ----------
    dataset : CuratedDataset
        Images, cohort and folds.
    task : str
        Its label column is ``label_<task>``.
    baselines : sequence of str
        Names in :data:`BASELINES`.
    validation_fraction : float
        Share of a fold's training patients kept for thresholds, in (0, 1).
    seed : int
        Seed of the validation patients, the inner folds and the forest.
    n_folds_used : int, optional
        The first so many folds only.
    store : RunStore, optional
        Where records are kept; a run that is there is not fitted again.
    progress : callable of str, optional
        Told of every run that is fitted.

    Returns
    -------
    list of RunRecord
        By baseline, then fold; none of a baseline that rests on facts of which the dataset has none, such
        as the slice's place in a chest X-ray. Scores are probabilities of the classes for the images of the
        validation and the test part.

    Raises
    ------
    InputError
        If a name is unknown, a label is missing, or a training part is too small to choose
        hyperparameters in.
    RunError
        If runs failed, for instance because a part of a fold lacks a class; the others are fitted.
    """
    for name in baselines:
        if name not in BASELINES:
            raise unknown_name("baseline", name, BASELINES)
    store = store or RunStore()
    tell = progress or (lambda _: None)
    features, failures = Features(dataset, progress), Failures(store, tell)
    n_folds = dataset.folds.n_folds if n_folds_used is None else min(n_folds_used, dataset.folds.n_folds)
    records = []
    for name in baselines:
        if BASELINES[name].facts and not BASELINES[name].features(features).shape[1]:
            tell(f"{name}: the dataset has none of the facts it needs")
            continue
        for fold in range(n_folds):
            spec = RunSpec(
                recipe=RECIPE,
                kind="baseline",
                model=name,
                task=task,
                dataset_digest=dataset.digest,
                folds_digest=dataset.folds.digest,
                fold=fold,
                options={"validation_fraction": validation_fraction}
                | class_options(dataset.cohort.classes_of(task)),
                seed=seed,
            )
            with store.claim(spec):
                if store.has(spec):
                    records.append(store.load(spec))
                    continue
                tell(f"{name}, fold {fold + 1} of {n_folds}")
                with failures.of([spec]):
                    split = dataset.folds.split(fold, validation_fraction=validation_fraction, seed=seed)
                    records.append(_fit_fold(BASELINES[name], spec, dataset, split, features, store))
    failures.raise_if_any()
    return records


def _fit_fold(
    baseline: Baseline,
    spec: RunSpec,
    dataset: CuratedDataset,
    split: Split,
    features: Features,
    store: RunStore,
) -> RunRecord:
    frame = dataset.cohort.frame
    labels = labels_by_part(dataset, spec, split)
    rows = {part: dataset.index(split.ids(part)) for part in PARTS}
    table = baseline.features(features)

    def pick(index: NDArray[np.intp]) -> Table:
        return table.iloc[index] if isinstance(table, pd.DataFrame) else table[index]

    started = time.perf_counter()
    train = rows["train"]
    groups = patient_groups(frame.iloc[train])
    scored = np.concatenate([rows["validation"], rows["test"]])
    # matrices this small gain nothing from threads, and sums do not then depend on how many there are
    with threadpool_limits(limits=1, user_api="blas"):
        model, metrics = fit(baseline, pick(train), labels["train"], groups, seed=spec.seed)
        fitted = time.perf_counter()
        scores = model.predict_proba(pick(scored))
    finished = time.perf_counter()
    return store.write(
        spec,
        predictions_frame(
            spec,
            image_ids=frame["image_id"].iloc[scored].tolist(),
            patient_ids=frame["patient_id"].iloc[scored].tolist(),
            part=["validation"] * len(rows["validation"]) + ["test"] * len(rows["test"]),
            labels=np.concatenate([labels["validation"], labels["test"]]),
            scores=scores,
            classes=dataset.cohort.classes_of(spec.task),
        ),
        metrics=metrics,
        timings={
            "train_s": fitted - started,
            "predict_s": finished - fitted,
            "n_train": len(train),
            "n_predicted": len(scored),
            "n_features": table.shape[1],
        },
        environment=software_environment("scikit-learn", "scikit-image", "scipy"),
    )


def fit(
    baseline: Baseline, table: Table, labels: NDArray[np.integer[Any]], groups: NDArray[Any], *, seed: int
) -> tuple[Any, dict[str, float]]:
    """Choose hyperparameters by cross-validation grouped by patient, and fit.

    Parameters
    ----------
    baseline : Baseline
        What to fit.
    table : ndarray or DataFrame, shape (n, n_features)
        Features of the training part.
    labels : ndarray of int, shape (n,)
        Numbers of classes.
    groups : ndarray, shape (n,)
        Images with one value stay together.
    seed : int
        Seed of the inner folds and the learner.

    Returns
    -------
    model : object
        Fitted classifier with ``predict_proba``.
    metrics : dict of str to float
        Chosen hyperparameters, and ``inner_auc``, the AUC they had in the inner test folds; of
        more than two classes its mean over classes, each against all others.

    Raises
    ------
    InputError
        If fewer than two groups of a class are there to choose with.
    """
    model: Any = baseline.learner(seed)
    if not baseline.grid:
        return model.fit(table, labels), {}
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if smallest < 2:
        raise InputError(
            f"{smallest} patients of a class are in a training part of {baseline.name}",
            hint="use more patients or fewer folds",
        )
    inner = StratifiedGroupKFold(min(INNER_FOLDS, smallest), shuffle=True, random_state=seed)
    parts = list(inner.split(table, labels, groups))
    search = GridSearchCV(model, dict(baseline.grid), scoring=_auc, cv=parts).fit(table, labels)
    metrics = {name.split("__")[-1]: float(value) for name, value in search.best_params_.items()}
    metrics["inner_auc"] = float(search.best_score_)
    if not baseline.platt:
        return search.best_estimator_, metrics
    platt = CalibratedClassifierCV(clone(search.best_estimator_), method="sigmoid", cv=parts, ensemble=False)
    return platt.fit(table, labels), metrics


def _auc(model: Any, table: Table, labels: NDArray[np.integer[Any]]) -> float:
    margins = getattr(model, "decision_function", None) or model.predict_proba
    scores = np.asarray(margins(table))
    return mean_auc(labels, np.column_stack([-scores, scores]) if scores.ndim == 1 else scores)


def patient_groups(frame: pd.DataFrame) -> NDArray[np.intp]:
    """Number of the connected component of patients and duplicate groups that each image is in.

    Parameters
    ----------
    frame : DataFrame
        Columns ``patient_id`` and ``group_id``.

    Returns
    -------
    ndarray of int, shape (n,)
        Two images have one number if a chain of shared patients and groups joins them.
    """
    row = pd.Series(np.arange(len(frame)))
    # each image is linked with the first of its patient and the first of its group
    links = [
        np.column_stack([row, row.groupby(frame[unit].to_numpy()).transform("min")])
        for unit in ("patient_id", "group_id")
    ]
    return components(len(frame), np.concatenate(links))
