"""Net benefit and decision curves, with intervals.

References
----------
.. [1] Vickers AJ, Elkin EB. Decision curve analysis. Med Decis Making 2006;26:565-574 (net benefit: eq. 1).
.. [2] Sande SZ, Li J, D'Agostino R, et al. Statistical inference for decision curve analysis, with
   applications to cataract diagnosis. Stat Med 2020;39:2980-3002.
.. [3] Pfeiffer RM, Gail MH. Estimating the decision curve and its precision from three study designs. Biom J
   2020;62:764-776 (case-control samples).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from radtransfer.stats import checks
from radtransfer.stats.calibration import check_outcome_and_probability, mean_estimate
from radtransfer.stats.checks import FloatArray
from radtransfer.stats.result import Estimate


def _odds(threshold: float) -> float:
    if not 0 <= threshold < 1:
        raise ValueError(
            f"threshold {threshold} is not a probability below 1: at 1 a false positive has no price"
        )
    return threshold / (1 - threshold)


def _terms(outcome: FloatArray, positive: np.ndarray, threshold: float) -> FloatArray:
    """Each case's share in the net benefit: 1 for a true positive, minus the odds for a false one."""
    return np.asarray(np.where(positive, np.where(outcome == 1, 1.0, -_odds(threshold)), 0.0))


def _at_prevalence(terms: FloatArray, outcome: FloatArray, prevalence: float | None) -> FloatArray:
    """Terms whose mean is that of a population with this prevalence; they vary within classes only."""
    if prevalence is None:
        return terms
    checks.fraction(prevalence, name="prevalence", open_ends=True)
    share = float(outcome.mean())
    if not 0 < share < 1:
        raise ValueError("with one class in the sample nothing is known of a population with both")
    by_class = np.where(outcome == 1, terms[outcome == 1].mean(), terms[outcome == 0].mean())
    weight = np.where(outcome == 1, prevalence / share, (1 - prevalence) / (1 - share))
    return np.asarray(np.mean(weight * by_class) + weight * (terms - by_class))


def net_benefit(
    y: ArrayLike,
    p: ArrayLike,
    *,
    threshold: float,
    prevalence: float | None = None,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Net benefit of treating when the probability reaches a threshold.

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
        Outcome, in a sample with the prevalence of practice unless ``prevalence`` is given.
    p : array_like of float in [0, 1], shape (n,)
        Probabilities that hold where the decisions are made.
    threshold : float
        Probability in [0, 1) at which treating and not treating are thought equal; ``p >= threshold`` is
        treated.
    prevalence : float, optional
        Of practice, taken as known, where the sample was drawn by outcome: sensitivity and specificity are
        then weighted by it ([3]_).
    cluster : array_like, shape (n,), optional
        Patient of each case, for a cluster-robust interval.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        ``TP/n - FP/n * threshold/(1-threshold)`` ([1]_, eq. 1), a mean of independent terms, with the normal
        interval of that mean ([2]_). ``details`` has ``treat_all``, ``treat_none`` (0) and
        ``advantage``: the net benefit over the better of these two.
    """
    outcome, probability = check_outcome_and_probability(y, p)
    odds = _odds(threshold)
    terms = _terms(outcome, probability >= threshold, threshold)
    result = mean_estimate(
        f"net benefit at {threshold:g}",
        _at_prevalence(terms, outcome, prevalence),
        bounds=(-odds, 1.0),
        level=level,
        method="net benefit; normal interval of a mean",
        cluster=cluster,
    )
    share = float(outcome.mean()) if prevalence is None else prevalence
    treat_all = share - (1 - share) * odds
    result.details.update(
        treat_all=treat_all,
        treat_none=0.0,
        advantage=result.estimate - max(treat_all, 0.0),
        threshold=threshold,
    )
    return result


def net_benefit_difference(
    y: ArrayLike,
    p_a: ArrayLike,
    p_b: ArrayLike,
    *,
    threshold: float,
    prevalence: float | None = None,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Net benefit of model A minus that of model B on the same cases.

    Parameters
    ----------
    y, p_a, p_b : array_like, shape (n,)
        Outcome and the two models' probabilities.
    threshold, prevalence, cluster, level
        As in :func:`net_benefit`.

    Returns
    -------
    Estimate
        With the two-sided normal test of 0; p is 1 where the models treat the same cases.
    """
    outcome, first = check_outcome_and_probability(y, p_a)
    _, second = check_outcome_and_probability(y, p_b)
    terms = _terms(outcome, first >= threshold, threshold) - _terms(outcome, second >= threshold, threshold)
    limit = 1 + _odds(threshold)
    result = mean_estimate(
        f"difference in net benefit at {threshold:g}",
        _at_prevalence(terms, outcome, prevalence),
        bounds=(-limit, limit),
        level=level,
        method="paired difference in net benefit; normal interval and test of a mean",
        cluster=cluster,
    )
    se = float(result.details["se"] or 0.0)
    if se == 0 and result.estimate != 0:
        raise ValueError("the difference in net benefit has no variance between cases: no test exists")
    statistic = result.estimate / se if se > 0 else None
    p_value = 1.0 if statistic is None else float(2 * stats.norm.sf(abs(statistic)))
    return replace(result, p_value=p_value, statistic=statistic)


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit over thresholds.

    Parameters
    ----------
    points : tuple of Estimate
        One :func:`net_benefit` per threshold, in order.
    """

    points: tuple[Estimate, ...]

    @property
    def useful(self) -> tuple[float, ...]:
        """Thresholds at which the model beats treating all and treating none (point estimates)."""
        return tuple(point.details["threshold"] for point in self.points if point.details["advantage"] > 0)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary per threshold, for a table or a figure."""
        return [
            {
                "threshold": point.details["threshold"],
                "net_benefit": point.estimate,
                "low": point.low,
                "high": point.high,
                "treat_all": point.details["treat_all"],
                "treat_none": 0.0,
            }
            for point in self.points
        ]


def decision_curve(
    y: ArrayLike,
    p: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    prevalence: float | None = None,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> DecisionCurve:
    """Net benefit at every threshold, by default 0.01 to 0.99 in steps of 0.01.

    Parameters
    ----------
    y, p : array_like, shape (n,)
    thresholds : array_like of float, optional
        Probabilities in [0, 1), increasing. State before looking which range is clinically reasonable.
    prevalence, cluster, level
        As in :func:`net_benefit`; intervals are pointwise.

    Returns
    -------
    DecisionCurve
    """
    grid = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=float)
    if (
        grid.ndim != 1
        or grid.size == 0
        or not all(math.isfinite(t) for t in grid)
        or (np.diff(grid) <= 0).any()
    ):
        raise ValueError("thresholds must be increasing numbers")
    return DecisionCurve(
        tuple(
            net_benefit(y, p, threshold=float(t), prevalence=prevalence, cluster=cluster, level=level)
            for t in grid
        )
    )
