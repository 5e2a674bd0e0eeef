"""Dorfman-Berbaum-Metz: analysis of variance of jackknife pseudovalues.

References
----------
.. [1] Dorfman DD, Berbaum KS, Metz CE. Invest Radiol 1992;27:723-731.
.. [2] Hillis SL, Berbaum KS, Metz CE. Recent developments in the Dorfman-Berbaum-Metz procedure for
   multireader ROC study analysis. Acad Radiol 2008;15:647-661 (F: eq. 4; degrees of freedom: eq. 6).
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from radtransfer.stats.checks import FloatArray
from radtransfer.stats.mrmc.metrics import Metric, MetricName
from radtransfer.stats.mrmc.obuchowski_rockette import (
    Effect,
    check_effects,
    modality_means,
    pairwise,
    ratio_test,
    reader_values,
    satterthwaite,
)
from radtransfer.stats.mrmc.result import MRMCResult
from radtransfer.stats.mrmc.study import ReaderStudy


def pseudovalues(study: ReaderStudy, *, metric: Metric | None = None) -> FloatArray:
    """Jackknife pseudovalues ``K theta - (K-1) theta_(k)`` ([1]_, eq. 1).

    Returns
    -------
    ndarray, shape (n_modalities, n_readers, K)
        K counts the cases the metric uses.
    """
    metric = metric or Metric()
    left_out = metric.leave_one_out(study)
    size = left_out.shape[-1]
    return np.asarray(size * metric.of(study)[..., None] - (size - 1) * left_out)


def mean_squares(values: FloatArray) -> dict[str, float]:
    """Mean squares of a complete modality x reader x case table with one value per cell.

    Keys name the factors of the effect: t(est), r(eader), c(ase).
    """
    names = "trc"
    result: dict[str, float] = {}
    effects: dict[frozenset[int], FloatArray] = {frozenset(): values.mean(keepdims=True)}
    for size in (1, 2, 3):
        for axes in combinations(range(3), size):
            others = tuple(axis for axis in range(3) if axis not in axes)
            effect = values.mean(axis=others, keepdims=True) if others else values
            inner = [effects[frozenset(sub)] for k in range(size) for sub in combinations(axes, k)]
            effect = effect - sum(inner)
            effects[frozenset(axes)] = effect
            df = math.prod(values.shape[axis] - 1 for axis in axes)
            repeats = math.prod(values.shape[axis] for axis in others)
            if df > 0:
                result["ms_" + "".join(names[axis] for axis in axes)] = (
                    repeats * float((effect**2).sum()) / df
                )
    return result


def dorfman_berbaum_metz(
    study: ReaderStudy,
    *,
    metric: MetricName = "auc",
    threshold: float | None = None,
    specificity_range: tuple[float, float] = (0.9, 1.0),
    readers: Effect = "random",
    cases: Effect = "random",
    level: float = 0.95,
) -> MRMCResult:
    """Compare modalities by a mixed analysis of variance of jackknife pseudovalues.

    Parameters
    ----------
    study : ReaderStudy
        Complete and factorial: every reader reads every case in every modality.
    metric, threshold, specificity_range, readers, cases, level
        As in :func:`obuchowski_rockette`.

    Returns
    -------
    MRMCResult
        Random readers and cases: ``F = MS(T) / [MS(TR) + max(MS(TC) - MS(TRC), 0)]`` with the degrees of
        freedom of [2]_; fixed readers: ``MS(T) / MS(TC)``; fixed cases: ``MS(T) / MS(TR)``. With random
        readers, the same F and degrees of freedom as Obuchowski-Rockette with the jackknife covariance.

    Raises
    ------
    ValueError
        If a reading is missing, or for the reasons of :func:`obuchowski_rockette`.
    """
    check_effects(readers, cases)
    if study.n_modalities < 2:
        raise ValueError(f"one modality ({study.modalities[0]}): there is nothing to compare")
    if not study.complete:
        raise ValueError(
            f"Dorfman-Berbaum-Metz needs balanced data; {int((~study.read).sum())} readings are missing: use "
            "obuchowski_rockette with the jackknife covariance, or u_statistics"
        )
    if readers == "random" and study.n_readers < 2:
        raise ValueError("one reader cannot stand for a population of readers: take readers as fixed")
    measure = Metric(metric, threshold, specificity_range)
    values = pseudovalues(study, metric=measure)
    n_modalities, n_readers, n_cases = values.shape
    squares = mean_squares(values)
    notes: list[str] = []
    df1 = n_modalities - 1
    if readers == "fixed":
        denominator, df2 = squares["ms_tc"], float(df1 * (n_cases - 1))
    else:
        shared = 0.0
        if cases == "random":
            shared = max(squares["ms_tc"] - squares["ms_trc"], 0.0)
            if squares["ms_tc"] < squares["ms_trc"]:
                notes.append("the modality by case variance is negative and taken as 0")
        denominator = squares["ms_tr"] + shared
        df2 = satterthwaite(squares["ms_tr"], denominator, df1 * (n_readers - 1))
    method = f"Dorfman-Berbaum-Metz, jackknife pseudovalues, {readers} readers, {cases} cases"
    statistic, p_value = ratio_test(squares["ms_t"], denominator, df1, df2, notes)
    accuracy = measure.of(study)
    se = math.sqrt(2 * denominator / (n_readers * n_cases))
    return MRMCResult(
        method=method,
        metric=metric,
        readers=readers,
        cases=cases,
        design=study.design,
        statistic_name="F",
        statistic=statistic,
        df1=df1,
        df2=None if math.isinf(df2) else df2,
        p_value=p_value,
        differences=pairwise(study, accuracy.mean(axis=1), se, df2, level, method),
        means=modality_means(
            study,
            metric=metric,
            threshold=threshold,
            specificity_range=specificity_range,
            readers=readers,
            cases=cases,
            level=level,
        ),
        values=reader_values(study, accuracy, metric),
        components=squares | {"denominator": denominator} | _variances(squares, values.shape),
        n=study.counts,
        notes=tuple(notes),
    )


def _variances(squares: dict[str, float], shape: tuple[int, ...]) -> dict[str, float]:
    """Variance components of the pseudovalues by the method of moments ([2]_, table 1); may be negative."""
    t, r, c = shape
    if r < 2:
        return {}
    ms = {name.removeprefix("ms_"): value for name, value in squares.items()}
    return {
        "var_r": (ms["r"] - ms["tr"] - ms["rc"] + ms["trc"]) / (t * c),
        "var_c": (ms["c"] - ms["tc"] - ms["rc"] + ms["trc"]) / (t * r),
        "var_tr": (ms["tr"] - ms["trc"]) / c,
        "var_tc": (ms["tc"] - ms["trc"]) / r,
        "var_rc": (ms["rc"] - ms["trc"]) / t,
        "var_error": ms["trc"],
    }
