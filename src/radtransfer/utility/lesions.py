"""Detection against the size of the lesion: are the small ones, the early signs, found?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.discrepancy import discrepancy_regression
from radtransfer.stats.proportions import clustered_proportion
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from radtransfer.utility.cases import Question
    from radtransfer.utility.decisions import OperatingPoint

THIRDS = ("small", "medium", "large")
"""Thirds of the lesions by size."""

LEAST_LESIONS = 12
"""Fewer lesions than this are not cut into thirds."""


@dataclass(frozen=True)
class LesionDetection:
    """How sensitivity and AUC of a model depend on the size of the lesion.

    Attributes
    ----------
    limits : tuple of float
        Sizes between the thirds, square root of the box's area in pixels of the original image.
    n : dict of str to int
        Lesions in each third.
    sensitivity, auc : dict of str to Estimate
        By third. The AUC is of the third's lesions against all images without one.
    trend : Estimate
        Odds ratio of being found for twice the size, cluster-robust.
    """

    limits: tuple[float, float]
    n: dict[str, int]
    sensitivity: dict[str, Estimate]
    auc: dict[str, Estimate]
    trend: Estimate | None


def lesion_size(cohort: pd.DataFrame, image_ids: Sequence[str]) -> NDArray[np.float64]:
    """Square root of the area of each image's box; NaN for an image without one.

    Parameters
    ----------
    cohort : DataFrame
        With ``image_id`` and, where boxes are known, ``bbox_width`` and ``bbox_height``.
    image_ids : sequence of str
    """
    if "bbox_width" not in cohort:
        return np.full(len(image_ids), np.nan)
    boxes = cohort.set_index("image_id").loc[list(image_ids), ["bbox_width", "bbox_height"]]
    sides = boxes.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return np.asarray(np.sqrt(sides.prod(axis=1)))


def thirds(size: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[float, float]]:
    """Third of each lesion, 0 to 2 (-1 without a lesion), and the sizes between them."""
    low, high = np.nanquantile(size, [1 / 3, 2 / 3])
    third = np.where(np.isnan(size), -1, (size > low).astype(int) + (size > high))
    return third.astype(np.int64), (float(low), float(high))


def detection(
    question: Question,
    point: OperatingPoint,
    size: NDArray[np.float64],
    *,
    n_resamples: int,
    level: float,
    seed: int,
) -> LesionDetection:
    """Judge a model on small, medium and large lesions.

    Parameters
    ----------
    question : Question
    point : OperatingPoint
        Threshold whose decisions are judged.
    size : ndarray of float64, shape (n_images,)
        Of :func:`lesion_size` for the test images; images with the condition but without a box are left out.
    n_resamples, level, seed
        Of the bootstrap behind the intervals of the AUC.
    """
    test = question.test
    third, limits = thirds(np.where(test["label"] == 1, size, np.nan))
    found = point.decision
    has = third >= 0
    return LesionDetection(
        limits=limits,
        n={name: int((third == number).sum()) for number, name in enumerate(THIRDS)},
        sensitivity={
            name: clustered_proportion(
                found[third == number],
                cluster=test["patient_id"][third == number],
                level=level,
                name=f"sensitivity, {name} lesions",
            )
            for number, name in enumerate(THIRDS)
        },
        auc={
            name: _auc({question.model: question}, third == number, n_resamples, level, seed)
            for number, name in enumerate(THIRDS)
        },
        trend=_trend(found[has], size[has], test["patient_id"][has], level),
    )


def small_lesion_gain(
    question: Question,
    reference: Question,
    size: NDArray[np.float64],
    *,
    n_resamples: int,
    level: float,
    seed: int,
) -> Estimate:
    """AUC on the smallest third of the lesions, one model minus another on the same images."""
    third, _ = thirds(np.where(question.test["label"] == 1, size, np.nan))
    models = {"model": question, "reference": reference}
    return _auc(models, third == 0, n_resamples, level, seed)


def _auc(
    models: Mapping[str, Question], lesion: NDArray[np.bool_], n_resamples: int, level: float, seed: int
) -> Estimate:
    """Cross-validated AUC of these lesions against all images without one, or the first minus the second."""
    first = next(iter(models.values())).test
    rows = lesion | (first["label"] == 0).to_numpy()
    y, fold = lesion[rows].astype(int), first["fold"].to_numpy()[rows]
    folds = [f for f in np.unique(fold) if y[fold == f].any()]
    kept = np.isin(fold, folds)
    y, fold, patient = y[kept], fold[kept], first["patient_id"].to_numpy()[rows][kept]
    scores = [model.test["score"].to_numpy()[rows][kept] for model in models.values()]
    values = [np.mean([roc_auc_score(y[fold == f], s[fold == f]) for f in folds]) for s in scores]
    name, point = ("AUC", values[0]) if len(models) == 1 else ("difference in AUC", values[0] - values[1])
    counts = {"patients": len(set(patient)), "lesions": int(y.sum()), "without": int((1 - y).sum())}
    # no resample of a fold may lack the few patients with such a lesion
    having = np.isin(patient, patient[y == 1])
    strata = [f"{f} {has}" for f, has in zip(fold, having, strict=True)]
    try:
        bootstrap = ClusterBootstrap(patient, n_resamples=n_resamples, seed=seed, strata=strata)
        samples = [bootstrap.auc(y, s, groups=fold) for s in scores]
        spread = samples[0] if len(models) == 1 else samples[0] - samples[1]
        return bootstrap.interval(name, float(point), spread, level=level, n=counts)
    except ValueError:
        return Estimate(name=name, estimate=float(point), method="no interval: too few patients", n=counts)


def _trend(
    found: NDArray[np.int64], size: NDArray[np.float64], patient: pd.Series, level: float
) -> Estimate | None:
    try:
        fitted = discrepancy_regression(
            found, np.log2(size), names=["size"], cluster=patient, method="logistic", level=level
        )
    except ValueError:  # all found or none, or the size alone tells which
        return None
    return fitted["size"]
