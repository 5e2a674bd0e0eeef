"""Diagnostic performance with patient-clustered intervals, from prediction tables alone.

A prediction table has one row per model, image and part of a fold (columns of
:data:`radtransfer.training.runs.PREDICTION_COLUMNS`). Human readers, other people's models and
the study's own networks are therefore treated alike.

Two conventions hold throughout:

- The threshold of a fold maximises Youden's J on that fold's *validation* images; test images
  never take part in choosing it.
- Cross-validated AUC is the mean of the folds' AUCs (LeDell, Petersen and van der Laan 2015,
  Electron J Stat 9:1583-1607, eq. 2): scores of different folds come from different models and
  are never ranked against each other.

Intervals come from resampling whole patients inside folds; the fitted models and their
thresholds are held fixed, so that they say how sure we are of these models' performance and
not how another training run would have come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score, roc_curve

from radtransfer.errors import InputError, unknown_name
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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

_RATIOS = ("accuracy", "sensitivity", "specificity", "precision", "f1")


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


@dataclass(frozen=True)
class Performance:
    """Performance of one model over the test parts of all its folds.

    Parameters
    ----------
    model : str
        Name of the model, as in the prediction table.
    weights : str
        ``"imagenet"``, ``"random"`` or ``"none"``.
    table : DataFrame
        Test predictions in the evaluation's common order: image_id, patient_id, fold, label,
        score, decision.
    thresholds : dict of int to float
        Threshold of each fold.
    metrics : dict of str to Estimate
        By key of :data:`METRICS`.
    validation_auc : float
        Mean AUC on the validation parts; what model choice may look at.
    """

    model: str
    weights: str
    table: pd.DataFrame
    thresholds: dict[int, float]
    metrics: dict[str, Estimate]
    validation_auc: float

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Counts by reference standard (rows) and decision (columns)."""
        counts = confusion_matrix(self.table["label"], self.table["decision"], labels=[0, 1])
        return pd.DataFrame(
            counts,
            index=pd.Index(CLASSES, name="reference"),
            columns=pd.Index(CLASSES, name="decision"),
        )

    @cached_property
    def fold_auc(self) -> pd.Series:
        """AUC of each fold's test part."""
        return pd.Series(
            {
                fold: roc_auc_score(part["label"], part["score"])
                for fold, part in self.table.groupby("fold", sort=True)
            },
            name="auc",
        )

    @cached_property
    def average_precision(self) -> float:
        """Mean over folds of the area under the precision-recall curve (step-wise)."""
        return float(
            np.mean(
                [
                    average_precision_score(part["label"], part["score"])
                    for _, part in self.table.groupby("fold")
                ]
            )
        )


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
        Patients and images.
    """

    task: str
    models: dict[str, Performance]
    level: float
    n: dict[str, int]
    _bootstrap: ClusterBootstrap
    _samples: Mapping[str, Mapping[str, NDArray[np.float64]]]

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
        return self._bootstrap.interval(
            f"difference in {METRICS[metric]}", point, samples, level=self.level, n=self.n
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
        """ROC or precision-recall curves averaged over folds, with pointwise bands.

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
            y = performance.table["label"].to_numpy()
            score = performance.table["score"].to_numpy(float)
            fold = performance.table["fold"].to_numpy()
            point = _mean_curve(kind, y, score, fold, np.ones((1, len(y))), grid)[0]
            bands = _mean_curve(kind, y, score, fold, self._bootstrap.weights(n_bands), grid)
            low, high = np.nanpercentile(bands, tails, axis=0)
            frames.append(pd.DataFrame({"model": name, "x": grid, "y": point, "low": low, "high": high}))
        return pd.concat(frames, ignore_index=True)


def _mean_curve(
    kind: str,
    y: NDArray[np.int_],
    score: NDArray[np.float64],
    fold: NDArray[np.int_],
    weights: NDArray[np.float64],
    grid: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Curve on the grid for each row of case weights, averaged over folds; (n_weights, n_grid)."""
    folds = np.unique(fold)
    total = np.zeros((len(weights), len(grid)))
    for f in folds:
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
    return total / len(folds)


def evaluate(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Evaluation:
    """Evaluate every model of a prediction table on the test parts of its folds.

    Parameters
    ----------
    predictions : DataFrame
        Columns model, task, image_id, patient_id, fold, part, label, score, weights; one task.
    n_resamples : int
        Bootstrap resamples of patients.
    level : float
        Confidence level.
    seed : int
        Seed of the resampling; the same resamples serve all models.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If the models were not tested on the same images in the same folds, or a fold lacks
        validation images or one of the classes.
    """
    tasks = predictions["task"].unique()
    if len(tasks) != 1:
        raise InputError(f"predictions of one task wanted, got {sorted(tasks)}")
    tested = {
        str(name): frame.sort_values(["fold", "image_id"]).reset_index(drop=True)
        for name, frame in predictions.loc[predictions["part"] == "test"].groupby("model", sort=False)
    }
    if not tested:
        raise InputError("the prediction table has no test part")
    common = next(iter(tested.values()))
    for name, frame in tested.items():
        if not frame[["image_id", "fold", "label"]].equals(common[["image_id", "fold", "label"]]):
            raise InputError(
                f"model {name!r} was not tested on the same images and folds as {next(iter(tested))!r}",
                hint="paired comparisons need one set of test images; run all models on the same folds",
            )
    fold = common["fold"].to_numpy()
    y = common["label"].to_numpy(dtype=np.int64)
    bootstrap = ClusterBootstrap(
        common["patient_id"].to_numpy(), n_resamples=n_resamples, seed=seed, strata=fold
    )
    n = {"patients": int(common["patient_id"].nunique()), "images": len(common)}

    models: dict[str, Performance] = {}
    samples: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, frame in tested.items():
        validation = predictions.loc[(predictions["model"] == name) & (predictions["part"] == "validation")]
        thresholds, validation_auc = _thresholds(name, validation, sorted(set(fold)))
        score = frame["score"].to_numpy(float)
        decision = (score >= frame["fold"].map(thresholds).to_numpy()).astype(np.int64)
        parts = _ratio_parts(y, decision)
        samples[name] = {"auc": bootstrap.auc(y, score, groups=fold)}
        points = {
            "auc": float(np.mean([roc_auc_score(y[fold == f], score[fold == f]) for f in np.unique(fold)]))
        }
        for key in _RATIOS:
            numerator, denominator = parts[key]
            samples[name][key] = bootstrap.ratio(numerator, denominator)
            points[key] = float(numerator.sum() / max(denominator.sum(), 1))
        # scikit-learn's convention: a model that calls nothing positive has precision 0
        samples[name]["precision"] = np.nan_to_num(samples[name]["precision"])
        models[name] = Performance(
            model=name,
            weights=str(frame["weights"].iloc[0]),
            table=frame[["image_id", "patient_id", "fold", "label", "score"]].assign(decision=decision),
            thresholds=thresholds,
            metrics={
                key: bootstrap.interval(METRICS[key], points[key], samples[name][key], level=level, n=n)
                for key in METRICS
            },
            validation_auc=validation_auc,
        )
    return Evaluation(
        task=str(tasks[0]), models=models, level=level, n=n, _bootstrap=bootstrap, _samples=samples
    )


def _thresholds(name: str, validation: pd.DataFrame, folds: list[int]) -> tuple[dict[int, float], float]:
    """Threshold of each fold from its validation images, and the mean validation AUC."""
    thresholds: dict[int, float] = {}
    aucs = []
    for fold in folds:
        part = validation.loc[validation["fold"] == fold]
        if part["label"].nunique() != 2:
            raise InputError(
                f"model {name!r}, fold {fold}: the validation part lacks one of the classes",
                hint="use fewer folds or a larger validation fraction",
            )
        y, score = part["label"].to_numpy(dtype=np.int64), part["score"].to_numpy(float)
        thresholds[int(fold)] = youden_threshold(y, score)
        aucs.append(roc_auc_score(y, score))
    return thresholds, float(np.mean(aucs))


def _ratio_parts(
    y: NDArray[np.int64], decision: NDArray[np.int64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Numerator and denominator, image by image, of every metric that is a ratio of counts."""
    right = (y == decision).astype(float)
    hit = (y * decision).astype(float)
    return {
        "accuracy": (right, np.ones_like(right)),
        "sensitivity": (hit, y.astype(float)),
        "specificity": ((1.0 - y) * (1 - decision), 1.0 - y),
        "precision": (hit, decision.astype(float)),
        "f1": (2 * hit, (y + decision).astype(float)),
    }
