r"""Proportions of diagnostic accuracy with intervals that stay inside 0 and 1.

References
----------
.. [1] Wilson EB. J Am Stat Assoc 1927;22:209-212. Clopper CJ, Pearson ES. Biometrika 1934;26:404-413.
.. [2] Newcombe RG. Two-sided confidence intervals for the single proportion. Stat Med 1998;17:857-872.
.. [3] Rao JNK, Scott AJ. A simple method for the analysis of clustered binary data. Biometrics
1992;48:577-585.
.. [4] Korn EL, Graubard BI. Confidence intervals for proportions with small expected number of positive
counts
   estimated from survey data. Surv Methodol 1998;24:193-201.
.. [5] Mercaldo ND, Lau KF, Zhou XH. Confidence intervals for predictive values with an emphasis to
case-control
   studies. Stat Med 2007;26:2170-2183.
.. [6] Hand DJ, Christen P, Kirielle N. F*: an interpretable transformation of the F-measure. Mach Learn
   2021;110:451-456.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from radtransfer.stats import checks
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

Method: TypeAlias = Literal["wilson", "wilson_cc", "clopper_pearson"]

_METHODS: dict[Method, str] = {
    "wilson": "Wilson",
    "wilson_cc": "Wilson, continuity corrected",
    "clopper_pearson": "Clopper-Pearson",
}


class Counts(TypedDict):
    """Cells of the table of decisions against the reference standard."""

    tp: int
    fp: int
    fn: int
    tn: int


def proportion(x: float, n: float, *, method: Method = "wilson", level: float = 0.95) -> Estimate:
    """Binomial proportion with its interval.

    Parameters
    ----------
    x, n : int
        Successes and trials.
    method : {"wilson", "wilson_cc", "clopper_pearson"}
        Score interval (covers about the level on average); the same with Yates's continuity correction, as
        R's ``prop.test``; exact tail interval (covers at least the level, wider).
    level : float
        Confidence level.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If counts are not whole, ``x > n``, or ``n`` is 0.

    Examples
    --------
    >>> print(proportion(45, 50))
    proportion 0.9 (95% CI 0.7864 to 0.9565); 50 trials [Wilson]
    """
    successes, trials = checks.count(x, name="x"), checks.count(n, name="n")
    return _proportion("proportion", successes, trials, method=method, level=level, unit="trials")


def clustered_proportion(
    success: ArrayLike,
    trial: ArrayLike | None = None,
    *,
    cluster: ArrayLike,
    method: Literal["wilson", "clopper_pearson"] = "wilson",
    level: float = 0.95,
    name: str = "proportion",
) -> Estimate:
    r"""Proportion of images of which several come from one patient.

    A ratio of patients' sums :math:`\hat p = \sum x_k / \sum n_k` with variance
    :math:`\frac{K}{K-1} \sum (x_k - \hat p n_k)^2 / (\sum n_k)^2` over the *K* patients with a trial. Its
    quotient by the binomial variance is the design effect (Rao and Scott 1992); the interval is the binomial
    one for the effective number of trials: trials over design effect, times
    :math:`(t_{n-1} / t_{K-1})^2`, and never more than the trials (Korn and Graubard 1998).

    Parameters
    ----------
    success : array_like, shape (n,)
        1 where the image counts as a success.
    trial : array_like, shape (n,), optional
        1 where it counts at all: for sensitivity the positive images. All by default.
    cluster : array_like, shape (n,)
        Patient of each image.
    method : {"wilson", "clopper_pearson"}
        As in :func:`proportion`.
    level : float
        Confidence level.
    name : str
        What the proportion is.

    Returns
    -------
    Estimate
        ``details`` holds ``design_effect``, ``effective_n`` and ``se``. Where the proportion is 0 or 1 the
        data tell nothing of the design effect; every patient then counts as one trial.

    Raises
    ------
    ValueError
        If there is no trial, a success is not a trial, or fewer than 2 patients have a trial.
    """
    if method not in ("wilson", "clopper_pearson"):
        raise ValueError(f"method is {method!r}, not 'wilson' or 'clopper_pearson'")
    hit = checks.binary(success, name="success")
    counted = np.ones_like(hit) if trial is None else checks.binary(trial, name="trial")
    if len(hit) != len(counted):
        raise ValueError(f"success has {len(hit)} values, trial {len(counted)}")
    if (hit & ~counted).any():
        raise ValueError("a success is not a trial")
    if not counted.any():
        raise ValueError(f"{name}: no trial, the proportion is 0/0")
    member, _ = cluster_index(cluster, len(hit))
    clusters, member = np.unique(member[counted], return_inverse=True)
    n_clusters, n_trials = len(clusters), int(counted.sum())
    if n_clusters < 2:
        raise ValueError(f"{name}: all trials are in one cluster, its variance cannot be estimated")
    x, n = np.bincount(member, hit[counted]), np.bincount(member)
    value = float(x.sum() / n_trials)
    variance = n_clusters / (n_clusters - 1) * float(np.sum((x - value * n) ** 2)) / n_trials**2
    if 0 < value < 1:
        design_effect = variance / (value * (1 - value) / n_trials)
        tail = (1 - checks.fraction(level, name="level", open_ends=True)) / 2
        small_sample = stats.t.isf(tail, n_trials - 1) / stats.t.isf(tail, n_clusters - 1)
        effective = float(n_trials)  # also where all patients have the same proportion, design effect 0
        if design_effect > 0:
            effective = min(effective, n_trials * float(small_sample) ** 2 / design_effect)
    else:
        design_effect, effective = n_trials / n_clusters, float(n_clusters)
    low, high = _limits(value * effective, effective, method=method, level=level)
    return Estimate(
        name=name,
        estimate=value,
        low=low,
        high=high,
        level=level,
        method=f"{_METHODS[method]} interval for the effective number of trials (design effect)",
        n={"clusters": n_clusters, "trials": n_trials},
        details={
            "successes": int(x.sum()),
            "design_effect": design_effect,
            "effective_n": effective,
            "se": math.sqrt(variance),
        },
    )


def confusion_counts(y: ArrayLike, decision: ArrayLike) -> Counts:
    """Count true and false positives and negatives.

    Parameters
    ----------
    y, decision : array_like, shape (n,)
        Reference standard and decision, 0 or 1.

    Returns
    -------
    dict
        ``tp``, ``fp``, ``fn``, ``tn``: arguments of :func:`diagnostic_accuracy`.

    Raises
    ------
    ValueError
        If a value is neither 0 nor 1 or lengths differ.
    """
    truth, called = checks.binary(y), checks.binary(decision, name="decision")
    if len(truth) != len(called):
        raise ValueError(f"y has {len(truth)} values, decision {len(called)}")
    return {
        "tp": int((truth & called).sum()),
        "fp": int((~truth & called).sum()),
        "fn": int((truth & ~called).sum()),
        "tn": int((~truth & ~called).sum()),
    }


def diagnostic_accuracy(
    *, tp: float, fp: float, fn: float, tn: float, method: Method = "wilson", level: float = 0.95
) -> dict[str, Estimate | None]:
    r"""Measures of a 2 x 2 table of decisions against the reference standard.

    Parameters
    ----------
    tp, fp, fn, tn : int
        True positives, false positives, false negatives, true negatives.
    method : {"wilson", "wilson_cc", "clopper_pearson"}
        Interval; see :func:`proportion`.
    level : float
        Confidence level.

    Returns
    -------
    dict of str to Estimate or None
        ``sensitivity``, ``specificity``, ``ppv``, ``npv``, ``accuracy``, ``prevalence`` and ``f1``; None
        where the denominator is 0 (no positive case has no sensitivity, neither 0 nor 1). F1 is the monotone
        transform :math:`2 F^* / (1 + F^*)` of the proportion :math:`F^* = tp / (tp + fp + fn)`, and so is its
        interval (Hand 2021).

    Raises
    ------
    ValueError
        If a count is not whole or is negative, or all are 0.

    Examples
    --------
    >>> result = diagnostic_accuracy(tp=9, fn=1, fp=999, tn=8991)
    >>> print(result["ppv"])
    PPV 0.008929 (95% CI 0.004704 to 0.01688); 1008 positive calls [Wilson]
    """
    tp, fp, fn, tn = (
        checks.count(value, name=name) for name, value in (("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn))
    )
    total = tp + fp + fn + tn
    if total == 0:
        raise ValueError("the table is empty")

    def measure(name: str, x: int, n: int, unit: str) -> Estimate | None:
        return _proportion(name, x, n, method=method, level=level, unit=unit) if n else None

    overlap = measure("F1", tp, tp + fp + fn, "cases not true negative")
    return {
        "sensitivity": measure("sensitivity", tp, tp + fn, "positive cases"),
        "specificity": measure("specificity", tn, tn + fp, "negative cases"),
        "ppv": measure("PPV", tp, tp + fp, "positive calls"),
        "npv": measure("NPV", tn, tn + fn, "negative calls"),
        "accuracy": measure("accuracy", tp + tn, total, "cases"),
        "prevalence": measure("prevalence", tp + fn, total, "cases"),
        "f1": None if overlap is None else _f1(overlap),
    }


def ppv_at_prevalence(
    sensitivity: float,
    specificity: float,
    *,
    prevalence: float,
    n_positive: int | None = None,
    n_negative: int | None = None,
    level: float = 0.95,
) -> Estimate:
    r"""Positive predictive value that a test would have at another prevalence.

    .. math:: \mathrm{PPV} = \frac{Se\,\pi}{Se\,\pi + (1 - Sp)(1 - \pi)}

    Parameters
    ----------
    sensitivity, specificity : float
        Of the test, between 0 and 1.
    prevalence : float
        Where it is to be used, taken as known.
    n_positive, n_negative : int, optional
        Cases from which sensitivity and specificity were estimated; both are needed for an interval.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        With numbers of cases the interval on the logit scale from
        :math:`\frac{1 - Se}{Se\,n_1} + \frac{Sp}{(1 - Sp)\,n_0}` (Mercaldo 2007); none where that is
        infinite.

    Raises
    ------
    ValueError
        If a number is outside 0 and 1, or no call would ever be positive (0/0).
    """
    return _predictive_value("PPV", sensitivity, specificity, prevalence, n_positive, n_negative, level=level)


def npv_at_prevalence(
    sensitivity: float,
    specificity: float,
    *,
    prevalence: float,
    n_positive: int | None = None,
    n_negative: int | None = None,
    level: float = 0.95,
) -> Estimate:
    """Negative predictive value that a test would have at another prevalence.

    The positive predictive value of the test for the absence of the condition; arguments, result and errors
    as for :func:`ppv_at_prevalence`.
    """
    return _predictive_value(
        "NPV",
        specificity,
        sensitivity,
        1 - checks.fraction(prevalence, name="prevalence"),
        n_negative,
        n_positive,
        level=level,
    )


# --- parts ------------------------------------------------------------------------------------------------


def _predictive_value(
    name: str,
    hit: float,
    correct_rejection: float,
    share: float,
    n_with: int | None,
    n_without: int | None,
    *,
    level: float,
) -> Estimate:
    checks.fraction(hit, name="sensitivity or specificity")
    checks.fraction(correct_rejection, name="sensitivity or specificity")
    checks.fraction(share, name="prevalence")
    right, wrong = hit * share, (1 - correct_rejection) * (1 - share)
    if right + wrong == 0:
        raise ValueError(f"{name} is 0/0: no such call is ever made")
    value = right / (right + wrong)
    low = high = None
    method = f"at prevalence {share if name == 'PPV' else 1 - share:.6g}"
    n: dict[str, int] = {}
    if n_with is not None and n_without is not None:
        own, other = ("positive", "negative") if name == "PPV" else ("negative", "positive")
        n = {
            own: checks.count(n_with, name=f"number of {own} cases", least=1),
            other: checks.count(n_without, name=f"number of {other} cases", least=1),
        }
        if 0 < value < 1:
            variance = (1 - hit) / (hit * n_with) + correct_rejection / ((1 - correct_rejection) * n_without)
            tail = (1 - checks.fraction(level, name="level", open_ends=True)) / 2
            half = float(stats.norm.isf(tail)) * math.sqrt(variance)
            low, high = (float(special.expit(special.logit(value) + side * half)) for side in (-1, 1))
            method += ", logit interval (Mercaldo 2007)"
        else:
            method += f", no interval: the log-odds of {value:.0f} are infinite"
    return Estimate(name=name, estimate=value, low=low, high=high, level=level, method=method, n=n)


def _f1(overlap: Estimate) -> Estimate:
    """F1 from the share of true positives among all cases that are not true negatives."""
    value, low, high = (
        2 * limit / (1 + limit)
        for limit in (overlap.estimate, overlap.low, overlap.high)
        if limit is not None
    )
    return Estimate(
        name="F1",
        estimate=value,
        low=low,
        high=high,
        level=overlap.level,
        method=f"{overlap.method} for tp/(tp + fp + fn), transformed",
        n=overlap.n,
    )


def _proportion(name: str, x: int, n: int, *, method: Method, level: float, unit: str) -> Estimate:
    if n == 0:
        raise ValueError(f"{name}: no {unit}, 0/0 is undefined")
    if x > n:
        raise ValueError(f"{name}: {x} successes in {n} {unit}")
    low, high = _limits(x, n, method=method, level=level)
    return Estimate(
        name=name, estimate=x / n, low=low, high=high, level=level, method=_METHODS[method], n={unit: n}
    )


def _limits(x: float, n: float, *, method: Method, level: float) -> tuple[float, float]:
    """Interval of x successes in n trials, either of them not necessarily whole."""
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, not one of {', '.join(_METHODS)}")
    alpha = 1 - checks.fraction(level, name="level", open_ends=True)
    if method == "wilson_cc":
        low, high = _wilson_corrected(x, n, alpha)
    else:
        name = "wilson" if method == "wilson" else "beta"
        low, high = (float(limit) for limit in proportion_confint(x, n, alpha=alpha, method=name))
    # rounding puts limits of 0/n and n/n some 1e-17 outside, and statsmodels' beta is NaN there
    return (0.0 if x <= 0 else max(low, 0.0)), (1.0 if x >= n else min(high, 1.0))


def _wilson_corrected(x: float, n: float, alpha: float) -> tuple[float, float]:
    """Yates-corrected score interval as R's ``prop.test``, which corrects by no more than ``|x - n/2|``."""
    z = float(stats.norm.isf(alpha / 2))
    shift = min(0.5, abs(x - n / 2))
    limits = []
    for side in (-1, 1):
        p = min(max((x + side * shift) / n, 0.0), 1.0)
        half = z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        limits.append((p + z * z / (2 * n) + side * half) / (1 + z * z / n))
    return limits[0], limits[1]
