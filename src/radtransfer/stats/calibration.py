"""Do predicted probabilities mean what they say?

All functions refuse what is not a probability: a score of 1.7 has no calibration.

References
----------
.. [1] Brier GW. Mon Weather Rev 1950;78:1-3; decomposition: Murphy AH. J Appl Meteorol 1973;12:595-600; with
   the two within-bin terms: Stephenson DB, Coelho CAS, Jolliffe IT. Weather Forecast 2008;23:752-757.
.. [2] Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.
.. [3] Van Calster B, et al. Calibration: the Achilles heel of predictive analytics. BMC Med 2019;17:230.
.. [4] Hosmer DW, Lemeshow S. Commun Stat Theory Methods 1980;9:1043-1069; degrees of freedom on new data:
   Hosmer, Lemeshow, Sturdivant, Applied Logistic Regression, 3rd ed., 2013, section 5.2.2.
.. [5] Naeini MP, Cooper GF, Hauskrecht M. AAAI 2015:2901-2907.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from radtransfer.stats import checks
from radtransfer.stats.checks import FloatArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

Closed: TypeAlias = Literal["right", "left"]
Strategy: TypeAlias = Literal["uniform", "quantile"]


def check_outcome_and_probability(y: ArrayLike, p: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Outcomes and probabilities as float arrays of shape (n,), or a ValueError that says why not."""
    outcome = checks.binary(y).astype(float)
    probability = checks.real(p, len(outcome), name="p")
    outside = probability[(probability < 0) | (probability > 1)]
    if outside.size:
        raise ValueError(f"{outside[0]:g} is not a probability: a score outside 0 to 1 has no calibration")
    return outcome, probability


def mean_estimate(
    name: str,
    terms: FloatArray,
    *,
    bounds: tuple[float, float],
    level: float,
    method: str,
    cluster: ArrayLike | None = None,
) -> Estimate:
    """Mean of one term per case with a normal interval, robust to clusters, cut at the bounds.

    The variance is the sample variance over n, or with clusters ``C/(C-1) sum_c (sum of deviations in c)^2 /
    n^2``.
    """
    n = len(terms)
    value = float(terms.mean())
    if n < 2:
        text = f"{method}; none for one case"
        return Estimate(name=name, estimate=value, method=text, n={"cases": n}, details={"se": None})
    deviations = terms - value
    counts = {"cases": n}
    factor = n / (n - 1)
    if cluster is not None:
        membership, n_clusters = cluster_index(cluster, n)
        deviations = np.asarray(np.bincount(membership, weights=deviations), dtype=float)
        counts["clusters"] = n_clusters
        factor = n_clusters / (n_clusters - 1)
        method += ", robust to clusters"
    se = math.sqrt(factor * float((deviations**2).sum())) / n
    margin = float(stats.norm.ppf(0.5 + level / 2)) * se
    return Estimate(
        name=name,
        estimate=value,
        low=min(max(bounds[0], value - margin), value),
        high=max(min(bounds[1], value + margin), value),
        level=level,
        method=method,
        n=counts,
        details={"se": se},
    )


def _bins(probability: FloatArray, n_bins: int, closed: Closed, strategy: Strategy) -> NDArray[np.int64]:
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; at least 1 is needed")
    if closed not in ("right", "left"):
        raise ValueError(f"closed is {closed!r}; known: 'right', 'left'")
    if strategy == "uniform":
        # k/n rather than a running sum, so that 0.3 typed by a person lies on the edge 3/10
        edges = np.arange(n_bins + 1) / n_bins
    elif strategy == "quantile":
        edges = np.unique(np.quantile(probability, np.arange(n_bins + 1) / n_bins))
    else:
        raise ValueError(f"strategy is {strategy!r}; known: 'uniform', 'quantile'")
    side: Literal["left", "right"] = "left" if closed == "right" else "right"
    return np.asarray(np.searchsorted(edges[1:-1], probability, side=side), dtype=np.int64)


def brier_score(
    y: ArrayLike, p: ArrayLike, *, cluster: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Mean squared difference between probability and outcome.

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
    p : array_like of float in [0, 1], shape (n,)
    cluster : array_like, shape (n,), optional
        Patient of each case, for a cluster-robust interval.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        ``details["scaled"]`` is 1 - Brier / Brier of the prevalence (None with one class).
    """
    outcome, probability = check_outcome_and_probability(y, p)
    result = mean_estimate(
        "Brier score",
        (probability - outcome) ** 2,
        bounds=(0.0, 1.0),
        level=level,
        method="Brier score; normal interval of a mean",
        cluster=cluster,
    )
    prevalence = float(outcome.mean())
    reference = prevalence * (1 - prevalence)
    result.details["scaled"] = 1 - result.estimate / reference if reference > 0 else None
    return result


def brier_decomposition(
    y: ArrayLike, p: ArrayLike, *, n_bins: int = 10, closed: Closed = "right", strategy: Strategy = "uniform"
) -> dict[str, float]:
    """Murphy's decomposition of the Brier score over bins of the probability.

    Parameters
    ----------
    y, p : array_like, shape (n,)
    n_bins, closed, strategy
        As in :func:`expected_calibration_error`.

    Returns
    -------
    dict
        ``brier = reliability - resolution + uncertainty + within_bin_variance - within_bin_covariance`` holds
        exactly ([1]_); the last two are 0 when each bin holds one distinct probability.
    """
    outcome, probability = check_outcome_and_probability(y, p)
    _, bins = np.unique(_bins(probability, n_bins, closed, strategy), return_inverse=True)
    size = np.bincount(bins)
    mean_p = np.bincount(bins, weights=probability) / size
    mean_y = np.bincount(bins, weights=outcome) / size
    n, prevalence = len(outcome), outcome.mean()
    spread = probability - mean_p[bins]
    return {
        "brier": float(((probability - outcome) ** 2).mean()),
        "reliability": float((size * (mean_p - mean_y) ** 2).sum() / n),
        "resolution": float((size * (mean_y - prevalence) ** 2).sum() / n),
        "uncertainty": float(prevalence * (1 - prevalence)),
        "within_bin_variance": float((spread**2).mean()),
        "within_bin_covariance": float(2 * (spread * (outcome - mean_y[bins])).mean()),
    }


def expected_calibration_error(
    y: ArrayLike, p: ArrayLike, *, n_bins: int = 10, closed: Closed = "right", strategy: Strategy = "uniform"
) -> Estimate:
    """Mean absolute difference between mean probability and event rate over bins ([5]_, eq. 3).

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
    p : array_like of float in [0, 1], shape (n,)
    n_bins : int
        Number of bins; the value depends on it, and so does the bias (upward, growing with bins).
    closed : {"right", "left"}
        Which edge belongs to a bin: ``(a, b]`` with 0 in the first, or ``[a, b)`` with 1 in the last.
    strategy : {"uniform", "quantile"}
        Bins of equal width, or of equal numbers of cases.

    Returns
    -------
    Estimate
        Without interval: the statistic is biased away from 0, so that no simple one holds its level.
    """
    outcome, probability = check_outcome_and_probability(y, p)
    bins = _bins(probability, n_bins, closed, strategy)
    gap = np.abs(np.bincount(bins, weights=probability - outcome))
    rule = "(a, b]" if closed == "right" else "[a, b)"
    width = "equal width" if strategy == "uniform" else "equal counts"
    return Estimate(
        name="expected calibration error",
        estimate=float(gap.sum() / len(outcome)),
        method=f"expected calibration error, {n_bins} bins of {width}, {rule}",
        n={"cases": len(outcome)},
    )


def reliability_curve(
    y: ArrayLike,
    p: ArrayLike,
    *,
    n_bins: int = 10,
    closed: Closed = "right",
    strategy: Strategy = "uniform",
    level: float = 0.95,
) -> tuple[Estimate, ...]:
    """Event rate in each bin that holds cases, with its Wilson interval.

    Parameters
    ----------
    y, p : array_like, shape (n,)
    n_bins, closed, strategy
        As in :func:`expected_calibration_error`.
    level : float
        Confidence level of each interval.

    Returns
    -------
    tuple of Estimate
        ``details["mean_probability"]`` is the abscissa, ``n`` has cases and events.
    """
    outcome, probability = check_outcome_and_probability(y, p)
    bins = _bins(probability, n_bins, closed, strategy)
    curve = []
    for number in np.unique(bins):
        inside = bins == number
        n, events = int(inside.sum()), int(outcome[inside].sum())
        interval = stats.binomtest(events, n).proportion_ci(level, method="wilson")
        curve.append(
            Estimate(
                name=f"event rate in bin {int(number) + 1}",
                estimate=events / n,
                low=float(interval.low),
                high=float(interval.high),
                level=level,
                method="event rate; Wilson interval",
                n={"cases": n, "events": events},
                details={"mean_probability": float(probability[inside].mean())},
            )
        )
    return tuple(curve)


def _logit(probability: FloatArray) -> FloatArray:
    extreme = ((probability == 0) | (probability == 1)).sum()
    if extreme:
        raise ValueError(
            f"{int(extreme)} probabilities are exactly 0 or 1, whose logit is infinite: report the Brier "
            "score, or "
            "clip the probabilities and say so"
        )
    return np.asarray(special.logit(probability), dtype=float)


def _two_classes(outcome: FloatArray) -> None:
    if not 0 < outcome.sum() < len(outcome):
        raise ValueError(f"all {len(outcome)} outcomes are {int(outcome[0])}: two classes are needed")


def calibration_slope(
    y: ArrayLike, p: ArrayLike, *, cluster: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Slope of the logistic regression of the outcome on the logit of the probability ([2]_).

    1 is right; below 1 the probabilities are too extreme (overfitting), above 1 too moderate.

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
    p : array_like of float in (0, 1), shape (n,)
    cluster : array_like, shape (n,), optional
        Patient of each case, for a cluster-robust interval.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        The p-value tests slope 1; ``details`` has the ``intercept`` at that slope.

    Raises
    ------
    ValueError
        If probabilities are constant, 0, 1 or no probabilities, or separate the classes (slope infinite).
    """
    from radtransfer.stats.discrepancy import is_separated, logistic_fit

    outcome, probability = check_outcome_and_probability(y, p)
    _two_classes(outcome)
    linear = _logit(probability)
    if np.ptp(linear) == 0:
        raise ValueError("the probabilities are constant: a calibration slope cannot be estimated")
    design = np.column_stack([np.ones_like(linear), linear])
    if is_separated(outcome, design):
        raise ValueError("the probabilities separate the classes: the calibration slope is infinite")
    coefficients, covariance, n_clusters = logistic_fit(outcome, design, cluster=cluster)
    se = math.sqrt(covariance[1, 1])
    slope = float(coefficients[1])
    z = (slope - 1) / se
    margin = float(stats.norm.ppf(0.5 + level / 2)) * se
    return Estimate(
        name="calibration slope",
        estimate=slope,
        low=slope - margin,
        high=slope + margin,
        level=level,
        method="logistic recalibration, Wald interval, test of slope 1"
        + (", cluster-robust" if n_clusters else ""),
        p_value=float(2 * stats.norm.sf(abs(z))),
        statistic=z,
        n={"cases": len(outcome), "events": int(outcome.sum())}
        | ({"clusters": n_clusters} if n_clusters else {}),
        details={"se": se, "intercept": float(coefficients[0]), "intercept_se": math.sqrt(covariance[0, 0])},
    )


def calibration_in_the_large(
    y: ArrayLike, p: ArrayLike, *, cluster: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Intercept of the logistic regression of the outcome with the logit of the probability as offset ([3]_).

    0 is right; below 0 the probabilities are too high on average.

    Parameters
    ----------
    y, p, cluster, level
        As in :func:`calibration_slope`.

    Returns
    -------
    Estimate
        The p-value tests intercept 0; ``details`` has the mean probability and the event rate.

    Raises
    ------
    ValueError
        If probabilities are 0, 1 or no probabilities, or the errors of every cluster cancel out, so that
        nothing is left to estimate a standard error from.
    """
    from radtransfer.stats.discrepancy import logistic_fit

    outcome, probability = check_outcome_and_probability(y, p)
    _two_classes(outcome)
    linear = _logit(probability)
    coefficients, covariance, n_clusters = logistic_fit(
        outcome, np.ones((len(outcome), 1)), offset=linear, cluster=cluster
    )
    intercept, se = float(coefficients[0]), math.sqrt(covariance[0, 0])
    if se < 1e-12:  # nothing but rounding
        raise ValueError("errors cancel out within every cluster: the intercept has no standard error")
    margin = float(stats.norm.ppf(0.5 + level / 2)) * se
    return Estimate(
        name="calibration in the large",
        estimate=intercept,
        low=intercept - margin,
        high=intercept + margin,
        level=level,
        method="logistic intercept with the logit as offset, Wald interval"
        + (", cluster-robust" if n_clusters else ""),
        p_value=float(2 * stats.norm.sf(abs(intercept / se))),
        statistic=intercept / se,
        n={"cases": len(outcome), "events": int(outcome.sum())}
        | ({"clusters": n_clusters} if n_clusters else {}),
        details={
            "se": se,
            "mean_probability": float(probability.mean()),
            "event_rate": float(outcome.mean()),
        },
    )


def hosmer_lemeshow(
    y: ArrayLike, p: ArrayLike, *, n_groups: int = 10, model: Literal["fitted", "external"] = "fitted"
) -> Estimate:
    """Hosmer-Lemeshow test with degrees of freedom from the groups that exist.

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
    p : array_like of float in [0, 1], shape (n,)
    n_groups : int
        Groups by quantiles of the probability. With no more distinct probabilities than this, each is a
        group.
    model : {"fitted", "external"}
        Whether the probabilities come from a model fitted to these cases (groups - 2 degrees of freedom) or
        fixed beforehand (groups) ([4]_).

    Returns
    -------
    Estimate
        ``estimate`` is the chi-square; ``details["groups"]`` the number of groups.

    Raises
    ------
    ValueError
        If fewer than three groups exist for a fitted model, or a group's expected events are 0 or all.
    """
    outcome, probability = check_outcome_and_probability(y, p)
    if model not in ("fitted", "external"):
        raise ValueError(f"model is {model!r}; known: 'fitted', 'external'")
    distinct, groups = np.unique(probability, return_inverse=True)
    if len(distinct) > n_groups:
        _, groups = np.unique(_bins(probability, n_groups, "right", "quantile"), return_inverse=True)
    size = np.bincount(groups)
    df = len(size) - (2 if model == "fitted" else 0)
    if df < 1:
        raise ValueError(
            f"{len(distinct)} distinct probabilities make {len(size)} groups: {df} degrees of freedom, no "
            "test"
        )
    observed = np.bincount(groups, weights=outcome)
    expected = np.bincount(groups, weights=probability)
    if (expected <= 0).any() or (expected >= size).any():
        raise ValueError("a group has expected events 0 or all: the statistic is infinite; use fewer groups")
    chi2 = float(((observed - expected) ** 2 / (expected * (1 - expected / size))).sum())
    return Estimate(
        name="Hosmer-Lemeshow chi-square",
        estimate=chi2,
        method=f"Hosmer-Lemeshow, {len(size)} groups, {model} model",
        p_value=float(stats.chi2.sf(chi2, df)),
        statistic=chi2,
        df=df,
        n={"cases": len(outcome), "events": int(outcome.sum())},
        details={"groups": len(size)},
    )
