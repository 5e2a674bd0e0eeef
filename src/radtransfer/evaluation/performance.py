"""Diagnostic performance with patient-clustered intervals, from prediction tables alone.

A prediction table has one row per model, image and part of a fold (columns of
:data:`radtransfer.training.runs.PREDICTION_COLUMNS`). Human readers, other people's models and
the study's own networks are therefore treated alike.

Three conventions hold throughout:

- The threshold of a fold maximises Youden's J on that fold's *validation* images; test images
  never take part in choosing it.
- Cross-validated AUC is the mean of the folds' AUCs (LeDell, Petersen and van der Laan 2015,
  Electron J Stat 9:1583-1607, eq. 2): scores of different folds come from different models and
  are never ranked against each other.
- A task of more than two classes is judged as so many questions of one class against the rest; AUC,
  sensitivity, specificity, precision and F1 are means over the classes (macro averages). Its decision
  is the class of the highest score and needs no threshold. A binary task is one question.

Intervals come from resampling whole patients inside folds; the fitted models and their
thresholds are held fixed, so that they say how sure we are of these models' performance and
not how another training run would have come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score, roc_curve

from radtransfer.errors import InputError, unknown_name
from radtransfer.stats.bootstrap import UNDEFINED_ALLOWED, ClusterBootstrap
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

METRICS: dict[str, str] = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1 score",
}
"""Metrics by key, with the name readers see."""

CLASSES = ("negative", "positive")


def youden_threshold(y_true: NDArray[np.int_], y_score: NDArray[np.float64]) -> float:
    """Threshold that maximises sensitivity + specificity - 1.

    Parameters
    ----------
    y_true : ndarray of shape (n,)
        Labels, 0 or 1, both present.
    y_score : ndarray of shape (n,)
        Scores; an image is called positive when its score is at least the threshold.

    Returns
    -------
    float
        Half-way between the chosen score and the next lower one, so that it does not hang on
        the last bit of a score; the lowest such threshold when several are as good.

    References
    ----------
    Youden 1950, Cancer 3:32-35.
    """
    false_positive, true_positive, thresholds = roc_curve(y_true, y_score, drop_intermediate=False)
    j = true_positive - false_positive
    # thresholds descend and begin with infinity (everything negative)
    best = int(np.flatnonzero(j == j.max())[-1])
    if best == 0:
        return float("inf")
    lower = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    return float((thresholds[best] + lower) / 2)


Question: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.float64]]"
"""Labels, 0 or 1, and scores of all images."""


def _score_columns(n_classes: int) -> list[str]:
    return ["score"] if n_classes == len(CLASSES) else [f"score_{number}" for number in range(n_classes)]


def _questions(label: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[Question, ...]:
    """Each class against the rest; of a binary task, with one column of scores, the task itself."""
    n = scores.shape[1]
    numbers = (1,) if n == 1 else range(n)
    return tuple(
        ((label == number).astype(np.int64), scores[:, column]) for column, number in enumerate(numbers)
    )


def _by_fold(
    measure: Callable[[Any, Any], float], questions: Sequence[Question], fold: NDArray[np.int_]
) -> pd.Series[float]:
    """Measure in each fold, mean over the questions."""
    return pd.Series(
        {
            f: float(np.mean([measure(y[fold == f], score[fold == f]) for y, score in questions]))
            for f in np.unique(fold)
        }
    )


@dataclass(frozen=True)
class Decisions:
    """What one model decided of its test images.

    Parameters
    ----------
    table : DataFrame
        One row an image, by fold and name: image_id, patient_id, fold, weights, label, decision (numbers of
        classes) and score, or score_0 to score_<K - 1> of K > 2 classes.
    thresholds : dict of int to float
        Threshold of each fold; empty with more than two classes.
    validation_auc : float
        Mean AUC on the validation parts.
    classes : tuple of str
        Names of the classes, in the order of their numbers.
    """

    table: pd.DataFrame
    thresholds: dict[int, float]
    validation_auc: float
    classes: tuple[str, ...]

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The binary task, or each class against the rest."""
        scores = self.table[_score_columns(len(self.classes))].to_numpy(float)
        return _questions(self.table["label"].to_numpy(dtype=np.int64), scores)

    @cached_property
    def auc(self) -> float:
        """Mean AUC of the folds and questions."""
        return float(_by_fold(roc_auc_score, self.questions, self.table["fold"].to_numpy()).mean())


@dataclass(frozen=True)
class Performance:
    """Performance of one model over the test parts of all its folds.

    Parameters
    ----------
    model : str
        Name of the model, as in the prediction table.
    weights : str
        ``"imagenet"``, ``"medical"``, ``"random"`` or ``"none"``.
    table : DataFrame
        Test predictions in the evaluation's common order: image_id, patient_id, fold, label, decision
        (numbers of classes) and score, or score_0 to score_<K - 1> of K > 2 classes.
    thresholds : dict of int to float
        Threshold of each fold; empty with more than two classes.
    metrics : dict of str to Estimate
        By key of :data:`METRICS`.
    validation_auc : float
        Mean AUC on the validation parts; what model choice may look at.
    classes : tuple of str
        Names of the classes, in the order of their numbers.
    """

    model: str
    weights: str
    table: pd.DataFrame
    thresholds: dict[int, float]
    metrics: dict[str, Estimate]
    validation_auc: float
    classes: tuple[str, ...] = CLASSES

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores, one column a question, shape (n, 1) or (n, n_classes)."""
        scores: NDArray[np.float64] = self.table[_score_columns(len(self.classes))].to_numpy(float)
        return scores

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The binary task, or each class against the rest."""
        return _questions(self.table["label"].to_numpy(dtype=np.int64), self.scores)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Counts by reference standard (rows) and decision (columns)."""
        numbers = range(len(self.classes))
        return pd.DataFrame(
            confusion_matrix(self.table["label"], self.table["decision"], labels=list(numbers)),
            index=pd.Index(self.classes, name="reference"),
            columns=pd.Index(self.classes, name="decision"),
        )

    @cached_property
    def fold_auc(self) -> pd.Series:
        """AUC of each fold's test part."""
        return _by_fold(roc_auc_score, self.questions, self.table["fold"].to_numpy()).rename("auc")

    @cached_property
    def average_precision(self) -> float:
        """Mean over folds of the area under the precision-recall curve (step-wise)."""
        return float(_by_fold(average_precision_score, self.questions, self.table["fold"].to_numpy()).mean())


@dataclass(frozen=True)
class Evaluation:
    """Performance of several models on the same images.

    Parameters
    ----------
    task : str
        Task of the predictions.
    models : dict of str to Performance
        In the order of the prediction table.
    level : float
        Confidence level of all intervals.
    n : dict of str to int
        Patients, or what stands for them, and images.
    """

    task: str
    models: dict[str, Performance]
    level: float
    n: dict[str, int]
    _bootstrap: ClusterBootstrap
    _samples: Mapping[str, Mapping[str, NDArray[np.float64]]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the task's classes, in the order of their numbers."""
        return next(iter(self.models.values())).classes

    def difference(self, model: str, reference: str, metric: str) -> Estimate:
        """Paired difference of a metric, model minus reference.

        The same resampled patients serve both models, so their correlation is kept.

        Parameters
        ----------
        model, reference : str
            Names of two evaluated models.
        metric : str
            Key of :data:`METRICS`.

        Returns
        -------
        Estimate
            Difference with its patient-clustered interval.
        """
        for name in (model, reference):
            if name not in self.models:
                raise unknown_name("model", name, self.models)
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        point = self.models[model].metrics[metric].estimate - self.models[reference].metrics[metric].estimate
        samples = self._samples[model][metric] - self._samples[reference][metric]
        return _interval(
            self._bootstrap, f"difference in {METRICS[metric]}", point, samples, level=self.level, n=self.n
        )

    def change(self, before: Evaluation, model: str, metric: str) -> Estimate:
        """Metric of a model here, minus that of a model of the same name on other patients.

        Parameters
        ----------
        before : Evaluation
            Of other patients, with as many resamples, drawn with another seed.
        model : str
            Name of a model in both.
        metric : str
            Key of :data:`METRICS`.

        Returns
        -------
        Estimate
            Difference; its interval counts the spread of both groups of patients.

        Raises
        ------
        InputError
            If a name is unknown, or a patient is in both.
        """
        for known in (self.models, before.models):
            if model not in known:
                raise unknown_name("model", model, known)
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        patients = [set(each.models[model].table["patient_id"]) for each in (self, before)]
        if shared := patients[0] & patients[1]:
            raise InputError(f"patient {min(shared)} is in both evaluations: the difference would be paired")
        here, there = (each.models[model].metrics[metric].estimate for each in (self, before))
        samples = self._samples[model][metric] - before._samples[model][metric]
        return _interval(
            self._bootstrap, f"change in {METRICS[metric]}", here - there, samples, level=self.level, n=self.n
        )

    def best(self, among: Iterable[str]) -> str:
        """Model with the highest validation AUC: chosen without a look at the test parts."""
        names = [name for name in among if name in self.models]
        if not names:
            raise InputError("none of the models asked for was evaluated", hint=f"have: {list(self.models)}")
        return max(names, key=lambda name: self.models[name].validation_auc)

    def metrics_table(self) -> pd.DataFrame:
        """One row per model and metric: estimate, low, high."""
        return pd.DataFrame(
            [
                {
                    "model": name,
                    "metric": key,
                    "estimate": estimate.estimate,
                    "low": estimate.low,
                    "high": estimate.high,
                }
                for name, performance in self.models.items()
                for key, estimate in performance.metrics.items()
            ]
        )

    def curves(
        self, kind: str, *, models: Iterable[str] | None = None, n_bands: int = 500, n_points: int = 101
    ) -> pd.DataFrame:
        """ROC or precision-recall curves averaged over folds and classes, with pointwise bands.

        Parameters
        ----------
        kind : {"roc", "pr"}
            Curves of sensitivity against 1 - specificity, or of precision against sensitivity.
        models : iterable of str, optional
            Models to draw; all by default.
        n_bands : int
            Resamples used for the bands.
        n_points : int
            Points of the common horizontal grid.

        Returns
        -------
        DataFrame
            Columns model, x, y, low, high.
        """
        if kind not in ("roc", "pr"):
            raise unknown_name("kind of curve", kind, ("roc", "pr"))
        grid = np.linspace(0, 1, n_points)
        tails = [(1 - self.level) / 2 * 100, (1 + self.level) / 2 * 100]
        frames = []
        for name in dict.fromkeys(self.models if models is None else models):
            performance = self.models[name]
            fold = performance.table["fold"].to_numpy()
            point = _mean_curve(kind, performance.questions, fold, np.ones((1, len(fold))), grid)[0]
            bands = _mean_curve(kind, performance.questions, fold, self._bootstrap.weights(n_bands), grid)
            low, high = np.nanpercentile(bands, tails, axis=0)
            frames.append(pd.DataFrame({"model": name, "x": grid, "y": point, "low": low, "high": high}))
        return pd.concat(frames, ignore_index=True)


def _mean_curve(
    kind: str,
    questions: Sequence[Question],
    fold: NDArray[np.int_],
    weights: NDArray[np.float64],
    grid: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean curve of folds and questions on the grid, for each row of case weights; (n_weights, n_grid)."""
    parts = [(y, score, f) for y, score in questions for f in np.unique(fold)]
    total = np.zeros((len(weights), len(grid)))
    for y, score, f in parts:
        rows = np.flatnonzero(fold == f)
        rows = rows[np.argsort(-score[rows], kind="stable")]
        # a curve moves only where the score changes: ties are passed in one step
        last = np.append(np.flatnonzero(np.diff(score[rows])), len(rows) - 1)
        w = weights[:, rows].astype(float)
        true_positive = np.cumsum(w * y[rows], axis=1)[:, last]
        false_positive = np.cumsum(w * (1 - y[rows]), axis=1)[:, last]
        sensitivity = true_positive / true_positive[:, -1:]
        for r in range(len(w)):
            if kind == "roc":
                x = np.concatenate([[0.0], false_positive[r] / false_positive[r, -1]])
                total[r] += np.interp(grid, x, np.concatenate([[0.0], sensitivity[r]]))
            else:
                called = np.maximum(true_positive[r] + false_positive[r], 1e-12)
                # step-wise: precision at the first cut that reaches the wanted sensitivity
                at = np.searchsorted(sensitivity[r], grid - 1e-12)
                total[r] += (true_positive[r] / called)[np.minimum(at, len(called) - 1)]
    return total / len(parts)


def evaluate(
    predictions: pd.DataFrame,
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    unit: str = "patients",
) -> Evaluation:
    """Evaluate every model of a prediction table on the test parts of its folds.

    Parameters
    ----------
    predictions : DataFrame
        Columns model, task, image_id, patient_id, fold, part, label, score, weights; one task. With more
        than two classes also target, the class that a row's score is of: each image has a row for every
        class, in the order of the classes' numbers.
    n_resamples : int
        Bootstrap resamples of patients.
    level : float
        Confidence level.
    seed : int
        Seed of the resampling; the same resamples serve all models.
    unit : str
        What ``patient_id`` names, where nobody knows the patients.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If the models were not tested on the same images in the same folds, an image lacks the score of a
        class, or a fold lacks validation images or one of the classes.
    """
    tasks = predictions["task"].unique()
    if len(tasks) != 1:
        raise InputError(f"predictions of one task wanted, got {sorted(tasks)}")
    decided = {str(name): decide(part) for name, part in predictions.groupby("model", sort=False)}
    common = next(iter(decided.values())).table
    for name, decisions in decided.items():
        if not decisions.table[["image_id", "fold", "label"]].equals(common[["image_id", "fold", "label"]]):
            raise InputError(
                f"model {name!r} was not tested on the same images and folds as {next(iter(decided))!r}",
                hint="paired comparisons need one set of test images; run all models on the same folds",
            )
    fold = common["fold"].to_numpy()
    y = common["label"].to_numpy(dtype=np.int64)
    bootstrap = ClusterBootstrap(
        common["patient_id"].to_numpy(), n_resamples=n_resamples, seed=seed, strata=fold
    )
    n = {unit: int(common["patient_id"].nunique()), "images": len(common)}

    models: dict[str, Performance] = {}
    samples: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, decisions in decided.items():
        questions, decision = decisions.questions, decisions.table["decision"].to_numpy(dtype=np.int64)
        samples[name] = {
            "auc": np.mean([bootstrap.auc(*question, groups=fold) for question in questions], axis=0)
        }
        points = {"auc": decisions.auc}
        for key, parts in _ratios(y, decision, len(questions)).items():
            drawn = [bootstrap.ratio(*part) for part in parts]
            if key == "precision":
                # scikit-learn's convention: a model that calls nothing positive has precision 0
                drawn = [np.nan_to_num(values) for values in drawn]
            samples[name][key] = np.mean(drawn, axis=0)
            points[key] = float(np.mean([top.sum() / max(bottom.sum(), 1) for top, bottom in parts]))
        models[name] = Performance(
            model=name,
            weights=str(decisions.table["weights"].iloc[0]),
            table=decisions.table.drop(columns="weights"),
            thresholds=decisions.thresholds,
            metrics={
                key: _interval(bootstrap, METRICS[key], points[key], samples[name][key], level=level, n=n)
                for key in METRICS
            },
            validation_auc=decisions.validation_auc,
            classes=decisions.classes,
        )
    return Evaluation(
        task=str(tasks[0]), models=models, level=level, n=n, _bootstrap=bootstrap, _samples=samples
    )


def _interval(
    bootstrap: ClusterBootstrap,
    name: str,
    point: float,
    samples: NDArray[np.float64],
    *,
    level: float,
    n: dict[str, int],
) -> Estimate:
    """Estimate with its interval; without one where a class has so few patients that resamples lack it."""
    if np.isnan(samples).mean() > UNDEFINED_ALLOWED:
        return Estimate(
            name=name, estimate=point, level=level, n=n, method="no interval: resamples lack a class"
        )
    return bootstrap.interval(name, point, samples, level=level, n=n)


def decide(predictions: pd.DataFrame) -> Decisions:
    """Decide test images by the threshold of their fold, or by the class of the highest score.

    Parameters
    ----------
    predictions : DataFrame
        Of one model on one task, columns as for :func:`evaluate`.

    Returns
    -------
    Decisions

    Raises
    ------
    InputError
        If there are no test images, an image lacks the score of a class, or a fold lacks validation images
        or one of the classes.
    """
    name = str(predictions["model"].iloc[0])
    targets = tuple(predictions["target" if "target" in predictions else "task"].unique())
    classes = CLASSES if len(targets) == 1 else targets
    parts = {part: predictions.loc[predictions["part"] == part] for part in ("validation", "test")}
    if parts["test"].empty:
        raise InputError("the prediction table has no test part")
    table, validation = (_by_image(parts[part], targets) for part in ("test", "validation"))
    thresholds, validation_auc = _validation(name, validation, table["fold"].unique(), classes)
    scores = table[_score_columns(len(classes))].to_numpy(float)
    if thresholds:
        decision = (scores[:, 0] >= table["fold"].map(thresholds).to_numpy()).astype(np.int64)
    else:
        decision = scores.argmax(axis=1)
    return Decisions(table.assign(decision=decision), thresholds, validation_auc, classes)


def _by_image(frame: pd.DataFrame, targets: tuple[str, ...]) -> pd.DataFrame:
    """One row an image, by fold and name: ids, fold, weights, label and score of each question."""
    kept = ["image_id", "patient_id", "fold", "weights"]
    k = len(targets)
    if k == 1:
        return frame.sort_values(["fold", "image_id"])[[*kept, "label", "score"]].reset_index(drop=True)
    number = frame["target"].map({target: i for i, target in enumerate(targets)})
    frame = frame.assign(number=number).sort_values(["fold", "image_id", "number"])
    images = frame.iloc[::k][kept].reset_index(drop=True)
    whole = len(frame) == len(images) * k and np.array_equal(frame["number"], np.tile(range(k), len(images)))
    if not whole or not np.array_equal(frame["image_id"], images["image_id"].repeat(k)):
        raise InputError(f"an image lacks the score of a class, or has two: {', '.join(targets)} are wanted")
    label, score = (frame[name].to_numpy().reshape(-1, k) for name in ("label", "score"))
    if not (label.sum(axis=1) == 1).all():
        raise InputError("an image is of no class, or of two")
    return images.assign(
        label=label.argmax(axis=1), **{name: score[:, i] for i, name in enumerate(_score_columns(k))}
    )


def _validation(
    name: str, images: pd.DataFrame, folds: NDArray[np.int_], classes: tuple[str, ...]
) -> tuple[dict[int, float], float]:
    """Threshold of each fold from its validation images, of a binary task, and the mean validation AUC."""
    thresholds: dict[int, float] = {}
    aucs = []
    for fold in folds:
        part = images.loc[images["fold"] == fold]
        if part["label"].nunique() != len(classes):
            raise InputError(
                f"model {name!r}, fold {fold}: the validation part lacks one of the classes",
                hint="use fewer folds or a larger validation fraction",
            )
        questions = _questions(
            part["label"].to_numpy(dtype=np.int64), part[_score_columns(len(classes))].to_numpy(float)
        )
        if len(questions) == 1:
            thresholds[int(fold)] = youden_threshold(*questions[0])
        aucs += [roc_auc_score(*question) for question in questions]
    return thresholds, float(np.mean(aucs))


def _ratios(
    y: NDArray[np.int64], decision: NDArray[np.int64], n_questions: int
) -> dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """Numerator and denominator, image by image, of every metric that is a ratio, or the mean of several."""
    right = (y == decision).astype(float)
    ratios = {"accuracy": [(right, np.ones_like(right))]}
    for number in (1,) if n_questions == 1 else range(n_questions):
        actual, called = (y == number).astype(float), (decision == number).astype(float)
        hit = actual * called
        for key, part in {
            "sensitivity": (hit, actual),
            "specificity": ((1 - actual) * (1 - called), 1 - actual),
            "precision": (hit, called),
            "f1": (2 * hit, actual + called),
        }.items():
            ratios.setdefault(key, []).append(part)
    return ratios
