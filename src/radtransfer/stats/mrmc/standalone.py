"""One algorithm reading alone against a panel of readers of the same cases.

References
----------
.. [1] Hillis SL, Obuchowski NA, Schartz KM, Berbaum KS. A comparison of the Dorfman-Berbaum-Metz and
   Obuchowski-Rockette methods for receiver operating characteristic (ROC) data. Stat Med 2005;24:1579-1607.
.. [2] Chakraborty DP. Observer performance methods for diagnostic imaging. CRC Press 2017, chapter 22: the
   single-modality random-reader test of the differences reader minus algorithm.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from radtransfer.stats.mrmc.covariance import CovarianceName, error_covariance
from radtransfer.stats.mrmc.metrics import Metric, MetricName
from radtransfer.stats.mrmc.obuchowski_rockette import (
    NO_VARIANCE,
    Effect,
    check_effects,
    satterthwaite,
    t_estimate,
)
from radtransfer.stats.mrmc.study import ReaderStudy
from radtransfer.stats.result import Estimate


def standalone_vs_readers(
    study: ReaderStudy,
    *,
    algorithm_rating: ArrayLike,
    algorithm_threshold: float | None = None,
    metric: MetricName = "auc",
    threshold: float | None = None,
    specificity_range: tuple[float, float] = (0.9, 1.0),
    covariance: CovarianceName = "jackknife",
    readers: Effect = "random",
    cases: Effect = "random",
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Algorithm minus the mean reader, on the same cases.

    Parameters
    ----------
    study : ReaderStudy
        One modality.
    algorithm_rating : array_like, shape (n_cases,)
        The algorithm's score of each case, in the order of ``study.cases``.
    algorithm_threshold : float, optional
        For sensitivity and specificity, on the algorithm's own scale; ``threshold`` is the readers'.
    metric, threshold, specificity_range, covariance, readers, cases, level, n_resamples, seed
        As in :func:`obuchowski_rockette`. Metrics may be any, but the readers' and the algorithm's ratings
        are only compared through them, so that scales may differ.

    Returns
    -------
    Estimate
        With differences D_j = algorithm - reader j, their sample variance S and the mean covariance Cov2 of
        two of them over cases: variance ``S/J + max(Cov2, 0)`` (random readers and cases), Hillis' degrees of
        freedom ([2]_); ``(var + (J-1) Cov2)/J``, normal (fixed readers); ``S/J``, J-1 (fixed cases).
        ``details`` has the algorithm's and each reader's accuracy, and the number of readers below the
        algorithm.

    Raises
    ------
    ValueError
        With several modalities, a non-finite score, one reader taken as random, or differences without
        variance.
    """
    check_effects(readers, cases)
    if study.n_modalities != 1:
        raise ValueError(f"the study has {study.n_modalities} modalities; choose one with with_modalities")
    score = np.asarray(algorithm_rating, dtype=float)
    if score.shape != (study.n_cases,):
        raise ValueError(f"algorithm_rating has shape {score.shape}, not ({study.n_cases},)")
    if not np.isfinite(score).all():
        raise ValueError("algorithm_rating holds a missing or infinite score")
    n_readers = study.n_readers
    if readers == "random" and n_readers < 2:
        raise ValueError("one reader cannot stand for a population of readers: take readers as fixed")
    measure = Metric(metric, threshold, specificity_range)
    panel = study.rating[0]
    if metric in ("sensitivity", "specificity"):
        # thresholds live on different scales: put both sides on the scale of calls
        panel = _calls(panel, threshold, "readers")
        score = _calls(score, algorithm_threshold, "algorithm")
        measure = Metric(metric, None, specificity_range)
    joined = ReaderStudy(
        np.concatenate([panel, score[None]])[None],
        study.truth,
        study.modalities,
        (*study.readers, "algorithm"),
        study.cases,
    )
    values = measure.of(joined)[0]
    matrix = error_covariance(
        joined, metric=measure, covariance=covariance, n_resamples=n_resamples, seed=seed
    )
    contrast = np.hstack([-np.eye(n_readers), np.ones((n_readers, 1))])
    differences = contrast @ values
    between = contrast @ matrix @ contrast.T
    off_diagonal = ~np.eye(n_readers, dtype=bool)
    shared_estimate = float(between[off_diagonal].mean()) if n_readers > 1 else 0.0
    shared = max(shared_estimate, 0.0)
    if readers == "fixed":
        variance = (float(np.diag(between).mean()) + (n_readers - 1) * shared) / n_readers
        df = math.inf
    else:
        spread = float(differences.var(ddof=1))
        total = spread + (n_readers * shared if cases == "random" else 0.0)
        variance, df = total / n_readers, satterthwaite(spread, total, n_readers - 1)
    result = t_estimate(
        f"{metric}: algorithm - mean reader",
        float(differences.mean()),
        math.sqrt(max(variance, 0.0)),
        df,
        level,
        f"single-modality Obuchowski-Rockette of the differences, {covariance} covariance, {readers} "
        f"readers, {cases} cases",
        n=study.counts,
        bounds=(-measure.largest, measure.largest),
        test=True,
    )
    if result.p_value is None:
        raise ValueError(NO_VARIANCE)
    return replace(
        result,
        details=result.details
        | {
            "algorithm": float(values[-1]),
            "mean_reader": float(values[:-1].mean()),
            "readers": [
                {"reader": r, metric: float(v)} for r, v in zip(study.readers, values[:-1], strict=True)
            ],
            "readers_below_algorithm": int((differences > 0).sum()),
            "cov2": shared_estimate,
            "ms_reader": float(differences.var(ddof=1)) if n_readers > 1 else 0.0,
        },
    )


def _calls(rating: np.ndarray, threshold: float | None, side: str) -> np.ndarray:
    if threshold is None:
        if not np.isin(rating[~np.isnan(rating)], (0.0, 1.0)).all():
            raise ValueError(
                f"the {side}' ratings are not 0 and 1: give a threshold".replace("algorithm'", "algorithm's")
            )
        threshold = 0.5
    return np.where(np.isnan(rating), np.nan, (rating >= threshold).astype(float))
