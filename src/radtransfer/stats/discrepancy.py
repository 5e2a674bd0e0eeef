"""Regression of a binary outcome, such as a disagreement between AI and reader, on what may explain it.

Separated data have no maximum likelihood estimate, and programs print a large finite number instead. Here
separation is detected by a linear program before fitting; Firth's estimate, which always exists, is used then
and said.

References
----------
.. [1] Konis K. Linear programming algorithms for detecting separated data in binary logistic regression
   models. DPhil thesis, Oxford 2007, section 4.
.. [2] Firth D. Bias reduction of maximum likelihood estimates. Biometrika 1993;80:27-38.
.. [3] Heinze G, Schemper M. A solution to the problem of separation in logistic regression. Stat Med
   2002;21:2409-2419 (score: eq. 2; profile penalised likelihood intervals: section 3).
.. [4] Liang KY, Zeger SL. Biometrika 1986;73:13-22.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from radtransfer.stats import checks
from radtransfer.stats.checks import FloatArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

Method: TypeAlias = Literal["auto", "logistic", "gee", "firth"]


@dataclass(frozen=True, slots=True)
class RegressionResult:
    """Coefficients of a logistic regression.

    Parameters
    ----------
    terms : tuple of Estimate
        Log odds ratios, intercept first; ``details["odds_ratio"]`` holds ratio, low and high.
    method : str
        Model and standard errors, in words a methods section could print.
    separated : bool
        Whether the data separate the outcome, so that no maximum likelihood estimate exists.
    n : dict of str to int
        Cases, events and clusters.
    notes : tuple of str
        What a reader of the result must know.
    """

    terms: tuple[Estimate, ...]
    method: str
    separated: bool
    n: dict[str, int]
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Estimate:
        for term in self.terms:
            if term.name == name:
                return term
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return {
            "method": self.method,
            "separated": self.separated,
            "terms": [term.to_dict() for term in self.terms],
            "n": self.n,
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def __str__(self) -> str:
        lines = [self.method, ", ".join(f"{value} {unit}" for unit, value in self.n.items())]
        for term in self.terms:
            ratio, low, high = term.details["odds_ratio"]
            p = "p < .0001" if term.p_value is not None and term.p_value < 1e-4 else f"p = {term.p_value:.4f}"
            lines.append(
                f"  {term.name}: odds ratio {ratio:.3g} ({term.level:.0%} CI {low:.3g} to {high:.3g}), {p}"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def is_separated(y: ArrayLike, design: ArrayLike) -> bool:
    """Whether some linear combination of the columns separates the outcomes, completely or quasi-completely.

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
    design : array_like, shape (n, k)
        With the intercept's column of ones; of full column rank.

    Returns
    -------
    bool
        True if the linear program "maximise sum(s x'b) with s x'b >= 0, -1 <= b <= 1, s = +-1" has a positive
        value ([1]_): then the likelihood has no maximum.
    """
    x = np.asarray(design, dtype=float)
    signed = np.where(np.asarray(y) == 1, 1.0, -1.0)[:, None] * x / np.abs(x).max(axis=0)
    solution = optimize.linprog(
        -signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(x)), bounds=(-1, 1), method="highs"
    )
    return bool(-solution.fun > 1e-7)


def logistic_fit(
    y: ArrayLike,
    design: ArrayLike,
    *,
    offset: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray, int | None]:
    """Maximum likelihood logistic regression of data known not to be separated (statsmodels).

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
    design : array_like, shape (n, k)
    offset : array_like, shape (n,), optional
    cluster : array_like, shape (n,), optional
        Cluster-robust covariance with the factor C/(C-1) (n-1)/(n-k) for C clusters.

    Returns
    -------
    coefficients : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
    n_clusters : int or None
    """
    import statsmodels.api as sm

    model = sm.GLM(
        np.asarray(y, dtype=float),
        np.asarray(design, dtype=float),
        family=sm.families.Binomial(),
        offset=offset,
    )
    if cluster is None:
        fit = model.fit(maxiter=200, tol=1e-12)
        n_clusters = None
    else:
        membership, n_clusters = cluster_index(cluster, len(np.asarray(y)))
        fit = model.fit(maxiter=200, tol=1e-12, cov_type="cluster", cov_kwds={"groups": membership})
    return np.asarray(fit.params), np.asarray(fit.cov_params()), n_clusters


def _penalised(y: FloatArray, x: FloatArray, beta: FloatArray) -> float:
    """Firth's penalised log-likelihood: the likelihood times Jeffreys' prior."""
    eta = x @ beta
    log_likelihood = float((y * eta - np.logaddexp(0, eta)).sum())
    weight = special.expit(eta) * special.expit(-eta)
    sign, log_determinant = np.linalg.slogdet((x * weight[:, None]).T @ x)
    return log_likelihood + 0.5 * float(log_determinant) if sign > 0 else -math.inf


def _firth(y: FloatArray, x: FloatArray, *, fixed: tuple[int, float] | None = None) -> FloatArray:
    """Maximum of the penalised likelihood by Newton steps with halving, one coefficient held if asked."""
    beta = np.zeros(x.shape[1])
    free = np.ones(x.shape[1], dtype=bool)
    if fixed is not None:
        beta[fixed[0]], free[fixed[0]] = fixed[1], False
    best = _penalised(y, x, beta)
    for _ in range(500):
        probability = special.expit(x @ beta)
        weight = probability * (1 - probability)
        information = (x * weight[:, None]).T @ x
        leverage = weight * np.einsum("ij,jk,ik->i", x, np.linalg.inv(information), x)
        score = x.T @ (y - probability + leverage * (0.5 - probability))
        if not free.any() or np.abs(score[free]).max() < 1e-9:
            return beta
        step = np.zeros_like(beta)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], score[free])
        step *= min(1.0, 5 / max(np.abs(step).max(), 1e-300))
        for _ in range(40):
            value = _penalised(y, x, beta + step)
            if value >= best - 1e-12:
                break
            step /= 2
        beta, best = beta + step, value
    raise ValueError("Firth's estimate did not converge: rescale or drop a predictor")


def _profile_limit(
    y: FloatArray, x: FloatArray, beta: FloatArray, k: int, drop: float, direction: int
) -> float:
    """Where the profile penalised likelihood of coefficient k has fallen by ``drop``."""
    top = _penalised(y, x, beta)

    def fall(value: float) -> float:
        return top - _penalised(y, x, _firth(y, x, fixed=(k, value))) - drop

    width = 1.0 / max(float(np.abs(x[:, k]).max()), 1e-12)
    for _ in range(60):
        if fall(float(beta[k]) + direction * width) > 0:
            edge = float(beta[k]) + direction * width
            return float(optimize.brentq(fall, min(edge, beta[k]), max(edge, beta[k]), xtol=1e-8))
        width *= 2
    raise ValueError("the profile likelihood is flat: a predictor carries no information")


def discrepancy_regression(
    y: ArrayLike,
    predictors: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    cluster: ArrayLike | None = None,
    method: Method = "auto",
    level: float = 0.95,
) -> RegressionResult:
    """Logistic regression of discrepancies, with clusters and separation taken care of.

    Parameters
    ----------
    y : array_like of {0, 1}, shape (n,)
        1 where the two readings differ.
    predictors : array_like of float, shape (n, k)
        Without intercept, which is added; categories as indicator columns.
    names : sequence of str, optional
        Names of the predictors; "x1", "x2", ... by default.
    cluster : array_like, shape (n,), optional
        Patient of each case.
    method : {"auto", "logistic", "gee", "firth"}
        ``logistic``: maximum likelihood, cluster-robust where clusters are given. ``gee``: exchangeable
        working correlation in clusters with robust errors ([4]_). ``firth``: penalised likelihood with
        profile intervals ([3]_; it does not know clusters). ``auto``: logistic, or Firth when the data are
        separated.
    level : float
        Confidence level.

    Returns
    -------
    RegressionResult

    Raises
    ------
    ValueError
        With one outcome only, missing or non-numeric values, collinear predictors, fewer cases than
        coefficients, a GEE without clusters, or separated data for a method that cannot have them.
    """
    outcome = checks.binary(y).astype(float)
    try:
        x = np.asarray(predictors, dtype=float)
    except (TypeError, ValueError):
        raise ValueError("predictors must be numbers; make indicator columns of categories") from None
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or len(x) != len(outcome):
        raise ValueError(f"y has {len(outcome)} values, predictors have shape {x.shape}")
    if not 0 < outcome.sum() < len(outcome):
        raise ValueError(f"all {len(outcome)} outcomes are equal: nothing to explain")
    if not np.isfinite(x).all():
        raise ValueError("a predictor is missing or infinite")
    labels = tuple(names) if names is not None else tuple(f"x{k + 1}" for k in range(x.shape[1]))
    if len(labels) != x.shape[1]:
        raise ValueError(f"{len(labels)} names for {x.shape[1]} predictors")
    for k, label in enumerate(labels):
        if np.ptp(x[:, k]) == 0:
            raise ValueError(f"predictor {label} is constant")
    design = np.column_stack([np.ones(len(outcome)), x])
    if len(outcome) <= design.shape[1]:
        raise ValueError(f"{len(outcome)} cases cannot carry {design.shape[1]} coefficients")
    # on standardised columns, so that units do not decide what counts as collinear
    scaled = np.column_stack([design[:, :1], (x - x.mean(axis=0)) / x.std(axis=0)])
    if np.linalg.matrix_rank(scaled, tol=1e-8 * len(outcome)) < design.shape[1]:
        raise ValueError("the predictors are collinear: drop one")
    if method not in ("auto", "logistic", "gee", "firth"):
        raise ValueError(f"method is {method!r}; known: auto, logistic, gee, firth")
    if method == "gee" and cluster is None:
        raise ValueError("GEE needs clusters")
    separated = is_separated(outcome, design)
    if separated and method in ("logistic", "gee"):
        raise ValueError(f"the data are separated: no {method} estimate exists; use firth or auto")
    names_all = ("intercept", *labels)
    counts = {"cases": len(outcome), "events": int(outcome.sum())}
    if cluster is not None:
        counts["clusters"] = cluster_index(cluster, len(outcome))[1]
    if method == "firth" or separated:
        return _firth_result(outcome, design, names_all, separated, counts, level)
    if method == "gee" and cluster is not None:
        coefficients, covariance = _gee(outcome, design, cluster)
        text = "GEE logistic regression, exchangeable correlation within clusters, robust errors"
    else:
        coefficients, covariance, n_clusters = logistic_fit(outcome, design, cluster=cluster)
        text = "logistic regression, " + ("cluster-robust errors" if n_clusters else "maximum likelihood")
    z = float(stats.norm.ppf(0.5 + level / 2))
    terms = []
    for name, value, variance in zip(names_all, coefficients, np.diag(covariance), strict=True):
        se = math.sqrt(variance)
        if se == 0:
            raise ValueError(f"the coefficient of {name} has no variance between clusters")
        terms.append(
            _term(
                name, float(value), value - z * se, value + z * se, level, text, float(value) / se, se, None
            )
        )
    return RegressionResult(tuple(terms), text, False, counts)


def _gee(outcome: FloatArray, design: FloatArray, cluster: ArrayLike) -> tuple[FloatArray, FloatArray]:
    import statsmodels.api as sm

    membership, _ = cluster_index(cluster, len(outcome))
    order = np.argsort(membership, kind="stable")
    model = sm.GEE(
        outcome[order],
        design[order],
        groups=membership[order],
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
    )
    fit = model.fit(maxiter=200)
    if not (np.isfinite(fit.params).all() and np.isfinite(fit.bse).all()):
        raise ValueError("the GEE did not converge: use cluster-robust logistic regression")
    return np.asarray(fit.params), np.asarray(fit.cov_params())


def _term(
    name: str,
    value: float,
    low: float,
    high: float,
    level: float,
    method: str,
    statistic: float,
    se: float,
    p_value: float | None,
) -> Estimate:
    # beyond about 709 the exponential leaves the floating point range
    ratio = [math.exp(min(bound, 700.0)) for bound in (value, low, high)]
    return Estimate(
        name=name,
        estimate=value,
        low=float(low),
        high=float(high),
        level=level,
        method=method,
        p_value=float(2 * stats.norm.sf(abs(statistic))) if p_value is None else p_value,
        statistic=statistic,
        details={"se": se, "odds_ratio": ratio},
    )


def _firth_result(
    outcome: FloatArray,
    design: FloatArray,
    names: tuple[str, ...],
    separated: bool,
    counts: dict[str, int],
    level: float,
) -> RegressionResult:
    # centred and scaled columns condition the Newton steps; the estimate is equivariant under both
    centre, scale = design[:, 1:].mean(axis=0), design[:, 1:].std(axis=0)
    notes = []
    if separated:
        notes.append("the data are separated: no maximum likelihood estimate exists, Firth's is given")
    if "clusters" in counts:
        notes.append("penalised likelihood does not account for clusters: intervals may be too narrow")
    text = "Firth's penalised logistic regression, profile penalised likelihood intervals and tests"
    drop = float(stats.chi2.ppf(level, 1)) / 2
    terms = []
    for k, name in enumerate(names):
        x = design.copy()
        if k == 0:
            x[:, 1:] = design[:, 1:] / scale  # the intercept belongs to predictors 0: no centring
        else:
            x[:, 1:] = (design[:, 1:] - centre) / scale
        unit = 1.0 if k == 0 else float(scale[k - 1])
        beta = _firth(outcome, x)
        weight = special.expit(x @ beta) * special.expit(-(x @ beta))
        se = math.sqrt(float(np.linalg.inv((x * weight[:, None]).T @ x)[k, k])) / unit
        null = _penalised(outcome, x, _firth(outcome, x, fixed=(k, 0.0)))
        ratio = max(2 * (_penalised(outcome, x, beta) - null), 0.0)
        low, high = (_profile_limit(outcome, x, beta, k, drop, direction) / unit for direction in (-1, 1))
        value = float(beta[k]) / unit
        signed_root = math.copysign(math.sqrt(ratio), value)
        terms.append(
            _term(name, value, low, high, level, text, signed_root, se, float(stats.chi2.sf(ratio, 1)))
        )
    return RegressionResult(tuple(terms), text, separated, counts, tuple(notes))
