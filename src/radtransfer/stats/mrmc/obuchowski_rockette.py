"""Obuchowski-Rockette analysis with Hillis' degrees of freedom.

The accuracies theta_ij of modality i and reader j follow ``mu + tau_i + R_j + (tau R)_ij + e_ij`` with errors
of variance ``var`` and covariances Cov1 (same reader), Cov2 (same modality), Cov3 (neither) due to the shared
cases.

References
----------
.. [1] Obuchowski NA, Rockette HE. Commun Stat Simul Comput 1995;24:285-308.
.. [2] Hillis SL. A comparison of denominator degrees of freedom methods for multiple observer ROC analysis.
   Stat Med 2007;26:596-619 (F: eq. 10; degrees of freedom: eq. 18).
.. [3] Hillis SL. A marginal-mean ANOVA approach for analyzing multireader multicase radiological imaging
   data. Stat Med 2014;33:330-360 (nested designs, single modalities).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import stats

from radtransfer.stats.checks import FloatArray
from radtransfer.stats.mrmc.covariance import CovarianceName, error_covariance
from radtransfer.stats.mrmc.metrics import Metric, MetricName
from radtransfer.stats.mrmc.result import MRMCResult
from radtransfer.stats.mrmc.study import Design, ReaderStudy
from radtransfer.stats.result import Estimate

Effect: TypeAlias = Literal["random", "fixed"]
TINY = 1e-14
NO_VARIANCE = (
    "the estimated variance of the difference is 0 and the difference is not: no test exists (accuracies are "
    "constant over readers and cases, or too few for this covariance)"
)


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """Mean squares of the modality by reader table; those without degrees of freedom are None."""

    modality: float | None
    reader: float | None
    interaction: float | None

    @classmethod
    def of(cls, values: FloatArray) -> MeanSquares:
        """From accuracies of shape (n_modalities, n_readers)."""
        n_modalities, n_readers = values.shape
        grand = values.mean()
        by_modality, by_reader = values.mean(axis=1), values.mean(axis=0)
        residual = values - by_modality[:, None] - by_reader[None, :] + grand

        def square(deviations: FloatArray, times: int, df: int) -> float | None:
            return times * float((deviations**2).sum()) / df if df > 0 else None

        return cls(
            square(by_modality - grand, n_readers, n_modalities - 1),
            square(by_reader - grand, n_modalities, n_readers - 1),
            square(residual, 1, (n_modalities - 1) * (n_readers - 1)),
        )


@dataclass(frozen=True, slots=True)
class ErrorComponents:
    """Mean error variance and covariances of the accuracies."""

    var: float
    cov1: float
    cov2: float
    cov3: float

    @classmethod
    def of(cls, matrix: FloatArray, shape: tuple[int, int], design: Design) -> ErrorComponents:
        """Averages over a covariance matrix; 0 where the design shares no cases ([3]_, table 2)."""
        n_modalities, n_readers = shape
        same_modality = np.kron(np.eye(n_modalities), np.ones((n_readers, n_readers))) == 1
        same_reader = np.kron(np.ones((n_modalities, n_modalities)), np.eye(n_readers)) == 1

        def mean(where: np.ndarray) -> float:
            return float(matrix[where].mean()) if where.any() else 0.0

        cov1, cov2 = mean(same_reader & ~same_modality), mean(same_modality & ~same_reader)
        cov3 = mean(~same_reader & ~same_modality)
        if design == "cases nested in readers":
            cov2 = cov3 = 0.0
        elif design == "cases nested in modalities":
            cov1 = cov3 = 0.0
        return cls(float(np.diag(matrix).mean()), cov1, cov2, cov3)


def check_effects(readers: str, cases: str) -> None:
    """Refuse what is neither random nor fixed, and nothing random."""
    for name, value in (("readers", readers), ("cases", cases)):
        if value not in ("random", "fixed"):
            raise ValueError(f"{name} is {value!r}; known: 'random', 'fixed'")
    if readers == cases == "fixed":
        raise ValueError("readers and cases are both fixed: nothing is left to estimate an error from")


def satterthwaite(mean_square: float, total: float, df: int) -> float:
    """Hillis' degrees of freedom of ``total``, of which ``mean_square`` has ``df``; infinite without it."""
    return math.inf if mean_square <= TINY * total else total**2 / (mean_square**2 / df)


def t_estimate(
    name: str,
    value: float,
    se: float,
    df: float,
    level: float,
    method: str,
    *,
    n: dict[str, int],
    bounds: tuple[float, float],
    test: bool,
) -> Estimate:
    """A t estimate (normal where ``df`` is infinite), cut at the parameter's bounds.

    With ``test``, the p-value of 0: it is 1 where value and standard error are both 0, None where only the
    latter is.
    """
    distribution = stats.norm if math.isinf(df) else stats.t(df)
    margin = float(distribution.ppf(0.5 + level / 2)) * se
    statistic = p_value = None
    if test and se > 0:
        statistic = value / se
        p_value = float(2 * distribution.sf(abs(statistic)))
    elif test and abs(value) <= TINY:
        p_value = 1.0
    return Estimate(
        name=name,
        estimate=value,
        low=min(max(bounds[0], value - margin), value),
        high=max(min(bounds[1], value + margin), value),
        level=level,
        method=method,
        p_value=p_value,
        statistic=statistic,
        df=None if math.isinf(df) else df,
        n=n,
        details={"se": se},
    )


def _scope(readers: Effect, cases: Effect) -> str:
    return f"{readers} readers, {cases} cases"


def modality_means(
    study: ReaderStudy,
    *,
    metric: MetricName = "auc",
    threshold: float | None = None,
    specificity_range: tuple[float, float] = (0.9, 1.0),
    covariance: CovarianceName = "jackknife",
    readers: Effect = "random",
    cases: Effect = "random",
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Reader-averaged accuracy of each modality with its interval; one modality is enough.

    Parameters
    ----------
    study : ReaderStudy
    metric, threshold, specificity_range, covariance, readers, cases, level, n_resamples, seed
        As in :func:`obuchowski_rockette`.

    Returns
    -------
    tuple of Estimate
        One per modality. Variance: ``MS(R)/J + Cov2`` (random readers and cases), ``(var + (J-1) Cov2)/J``
        (fixed readers) or ``MS(R)/J`` (fixed cases), from that modality's readings only ([3]_, section 5).
    """
    check_effects(readers, cases)
    measure = Metric(metric, threshold, specificity_range)
    values = measure.of(study)
    matrix = error_covariance(
        study, metric=measure, covariance=covariance, n_resamples=n_resamples, seed=seed
    )
    return _means(study, values, matrix, readers, cases, measure, level)


def _means(
    study: ReaderStudy,
    values: FloatArray,
    matrix: FloatArray,
    readers: Effect,
    cases: Effect,
    metric: Metric,
    level: float,
) -> tuple[Estimate, ...]:
    n_readers = study.n_readers
    if readers == "random" and n_readers < 2:
        raise ValueError("one reader cannot stand for a population of readers: take readers as fixed")
    design = study.design
    estimates = []
    for i, modality in enumerate(study.modalities):
        block = slice(i * n_readers, (i + 1) * n_readers)
        error = ErrorComponents.of(matrix[block, block], (1, n_readers), design)
        shared = max(error.cov2, 0.0)
        if readers == "fixed":
            variance, df = (error.var + (n_readers - 1) * shared) / n_readers, math.inf
        else:
            spread = float(values[i].var(ddof=1))
            total = spread + n_readers * (shared if cases == "random" else 0.0)
            variance, df = total / n_readers, satterthwaite(spread, total, n_readers - 1)
        estimates.append(
            t_estimate(
                f"{metric.name} of {modality}",
                float(values[i].mean()),
                math.sqrt(max(variance, 0.0)),
                df,
                level,
                f"mean over readers; {_scope(readers, cases)}",
                n=study.counts,
                bounds=(0.0, metric.largest),
                test=False,
            )
        )
    return tuple(estimates)


def obuchowski_rockette(
    study: ReaderStudy,
    *,
    metric: MetricName = "auc",
    threshold: float | None = None,
    specificity_range: tuple[float, float] = (0.9, 1.0),
    covariance: CovarianceName = "jackknife",
    readers: Effect = "random",
    cases: Effect = "random",
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> MRMCResult:
    """Compare modalities by the Obuchowski-Rockette analysis of variance.

    Parameters
    ----------
    study : ReaderStudy
        At least two modalities. Factorial, or cases nested in readers or in modalities (seen from the
        readings); readings may be missing unless the covariance is DeLong's.
    metric : {"auc", "partial_auc", "sensitivity", "specificity"}
        See :class:`radtransfer.stats.mrmc.metrics.Metric`, also for ``threshold`` and ``specificity_range``.
    covariance : {"jackknife", "delong", "unbiased", "bootstrap"}
        Estimator of the error covariances; see :func:`error_covariance`.
    readers, cases : {"random", "fixed"}
        Random is what conclusions are to reach beyond. Not both fixed.
    level : float
        Confidence level.
    n_resamples, seed : int
        For the bootstrap covariance.

    Returns
    -------
    MRMCResult
        Random readers and cases: ``F = MS(T) / [MS(TR) + J max(Cov2 - Cov3, 0)]`` with Hillis' denominator
        degrees of freedom ([2]_ eq. 10 and 18). Fixed cases: ``F = MS(T) / MS(TR)``. Fixed readers:
        chi-square of ``(I-1) MS(T) / [var - Cov1 + (J-1)(Cov2 - Cov3)]``. There Cov2 - Cov3 is *not* cut at 0
        (as MRMCaov and unlike RJafroc and OR-DBM MRMC): for two modalities the bracket is then exactly the
        variance of the difference for these readers.

    Raises
    ------
    ValueError
        With one modality, one reader taken as random, both factors fixed, readings the covariance cannot use,
        or a difference without any variance.

    Notes
    -----
    Only random readers *and* cases controls the error of conclusions about other readers and other cases.
    """
    check_effects(readers, cases)
    if study.n_modalities < 2:
        raise ValueError(
            f"one modality ({study.modalities[0]}): there is nothing to compare; modality_means gives its "
            "interval"
        )
    measure = Metric(metric, threshold, specificity_range)
    values = measure.of(study)
    matrix = error_covariance(
        study, metric=measure, covariance=covariance, n_resamples=n_resamples, seed=seed
    )
    means = _means(study, values, matrix, readers, cases, measure, level)
    error = ErrorComponents.of(matrix, values.shape, study.design)
    squares = MeanSquares.of(values)
    assert squares.modality is not None
    n_modalities, n_readers = values.shape
    df1 = n_modalities - 1
    notes: list[str] = []
    if study.design == "factorial" and not study.complete:
        notes.append(f"{int((~study.read).sum())} readings are missing")
    if readers == "fixed":
        denominator, df2 = _fixed_reader_denominator(error, n_readers, notes), math.inf
    else:
        assert squares.interaction is not None
        shared = 0.0
        if cases == "random":
            shared = n_readers * max(error.cov2 - error.cov3, 0.0)
            if error.cov2 < error.cov3:
                notes.append("Cov2 - Cov3 is negative and taken as 0")
        denominator = squares.interaction + shared
        df2 = satterthwaite(squares.interaction, denominator, df1 * (n_readers - 1))
    method = (
        f"Obuchowski-Rockette, {covariance} covariance, {_scope(readers, cases)}"
        f"{'' if study.design == 'factorial' else ', ' + study.design}"
        + ("; Hillis degrees of freedom" if readers == "random" else "; normal")
    )
    statistic, p_value = ratio_test(squares.modality, denominator, df1, df2, notes)
    if readers == "fixed" and statistic is not None:
        statistic *= df1
    differences = pairwise(
        study, values.mean(axis=1), math.sqrt(2 * denominator / n_readers), df2, level, method
    )
    return MRMCResult(
        method=method,
        metric=metric,
        readers=readers,
        cases=cases,
        design=study.design,
        statistic_name="chi2" if readers == "fixed" else "F",
        statistic=statistic,
        df1=df1,
        df2=None if math.isinf(df2) else df2,
        p_value=p_value,
        differences=differences,
        means=means,
        values=reader_values(study, values, metric),
        components=_components(squares, error, denominator, n_modalities),
        n=study.counts,
        reader_differences=_reader_differences(study, values, matrix, level) if cases == "random" else (),
        notes=tuple(notes),
    )


def _fixed_reader_denominator(error: ErrorComponents, n_readers: int, notes: list[str]) -> float:
    between = (n_readers - 1) * (error.cov2 - error.cov3)
    denominator = error.var - error.cov1 + between
    if denominator < -TINY:  # possible for the unbiased estimator, which need not be positive definite
        notes.append("negative variance of the difference: Cov2 - Cov3 taken as 0")
        denominator = error.var - error.cov1 + max(between, 0.0)
    return max(denominator, 0.0)


def ratio_test(
    mean_square: float, denominator: float, df1: int, df2: float, notes: list[str]
) -> tuple[float | None, float]:
    """F ratio and p-value, with 0/0 told apart from a difference without variance."""
    if denominator <= TINY:
        if mean_square <= TINY:
            notes.append(
                "all modalities have equal accuracy for every reader and no variance: p is 1 by definition"
            )
            return None, 1.0
        raise ValueError(NO_VARIANCE)
    statistic = mean_square / denominator
    if math.isinf(df2):
        return statistic, float(stats.chi2.sf(statistic * df1, df1))
    return statistic, float(stats.f.sf(statistic, df1, df2))


def pairwise(
    study: ReaderStudy, means: FloatArray, se: float, df: float, level: float, method: str
) -> tuple[Estimate, ...]:
    """Differences of all pairs of modalities with a common standard error."""
    return tuple(
        t_estimate(
            f"{study.modalities[a]} - {study.modalities[b]}",
            float(means[a] - means[b]),
            se,
            df,
            level,
            method,
            n=study.counts,
            bounds=(-1.0, 1.0),
            test=True,
        )
        for a, b in combinations(range(study.n_modalities), 2)
    )


def _reader_differences(
    study: ReaderStudy, values: FloatArray, matrix: FloatArray, level: float
) -> tuple[Estimate, ...]:
    n_readers = study.n_readers
    estimates = []
    for j, reader in enumerate(study.readers):
        block = matrix[j::n_readers, j::n_readers]
        off_diagonal = block[~np.eye(len(block), dtype=bool)].mean()
        se = math.sqrt(max(2 * (np.diag(block).mean() - off_diagonal), 0.0))
        for a, b in combinations(range(study.n_modalities), 2):
            estimates.append(
                t_estimate(
                    f"reader {reader}: {study.modalities[a]} - {study.modalities[b]}",
                    float(values[a, j] - values[b, j]),
                    se,
                    math.inf,
                    level,
                    "one reader, random cases; normal",
                    n=one_reader(study, j),
                    bounds=(-1.0, 1.0),
                    test=True,
                )
            )
    return tuple(estimates)


def one_reader(study: ReaderStudy, j: int) -> dict[str, int]:
    """Counts of one reader's cases."""
    read = study.read[:, j].any(axis=0)
    return {"cases": int(read.sum()), "positive": int(study.truth[read].sum()), "readers": 1}


def reader_values(study: ReaderStudy, values: FloatArray, metric: str) -> tuple[dict[str, Any], ...]:
    """Accuracy of each reader in each modality."""
    return tuple(
        {"reader": reader, "modality": modality, metric: float(values[i, j])}
        for i, modality in enumerate(study.modalities)
        for j, reader in enumerate(study.readers)
    )


def _components(
    squares: MeanSquares, error: ErrorComponents, denominator: float, n_modalities: int
) -> dict[str, float]:
    components = {
        "ms_modality": squares.modality,
        "ms_reader": squares.reader,
        "ms_interaction": squares.interaction,
    }
    if squares.reader is not None and squares.interaction is not None:
        # moment estimates; may be negative (Hillis 2007, table 1)
        components["var_reader"] = (
            (squares.reader - squares.interaction) / n_modalities - error.cov1 + error.cov3
        )
        components["var_interaction"] = squares.interaction - error.var + error.cov1 + error.cov2 - error.cov3
    components |= {
        "var_error": error.var,
        "cov1": error.cov1,
        "cov2": error.cov2,
        "cov3": error.cov3,
        "denominator": denominator,
    }
    return {name: value for name, value in components.items() if value is not None}
