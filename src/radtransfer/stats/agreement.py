"""Agreement between raters beyond chance, with intervals, for complete and incomplete ratings.

A coefficient that is undefined (0/0: every rating in one category) is a :class:`ValueError` that says so and
names the coefficient that still exists, never NaN, 0 or 1.

References
----------
.. [1] Cohen J. Educ Psychol Meas 1960;20:37-46; weighted: Psychol Bull 1968;70:213-220.
.. [2] Fleiss JL, Cohen J, Everitt BS. Large sample standard errors of kappa and weighted kappa.
   Psychol Bull 1969;72:323-327.
.. [3] Fleiss JL. Psychol Bull 1971;76:378-382; null variance: Fleiss, Nee, Landis, Psychol Bull
   1979;86:974-977.
.. [4] Gwet KL. Computing inter-rater reliability and its variance in the presence of high agreement.
   Br J Math Stat Psychol 2008;61:29-48; missing ratings: Handbook of Inter-Rater Reliability, 4th ed., 2014.
.. [5] Conger AJ. Psychol Bull 1980;88:322-328.
.. [6] Hayes AF, Krippendorff K. Commun Methods Meas 2007;1:77-89.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, cast

import krippendorff
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa as _sm_cohens_kappa

from radtransfer.stats.checks import FloatArray, IntArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

Weights: TypeAlias = Literal["none", "linear", "quadratic"]


def _missing(value: object) -> bool:
    return value is None or value != value  # NaN and pandas' NaT differ from themselves


def _key(value: object) -> str:
    """Text of a category, so that 1, 1.0 and numpy's 1 are one category."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _encode(ratings: ArrayLike, labels: Sequence[object] | None) -> tuple[IntArray, tuple[str, ...]]:
    """Category numbers (-1 for a missing rating) and the categories in order."""
    table = np.asarray(ratings, dtype=object)
    used = {_key(value): value for value in table.ravel() if not _missing(value)}
    if labels is None:
        try:
            order = sorted(used, key=lambda key: float(cast(Any, used[key])))
        except (TypeError, ValueError):
            order = sorted(used)
    else:
        order = [_key(label) for label in labels]
        if len(set(order)) != len(order):
            raise ValueError("labels holds a category twice")
        unknown = sorted(set(used) - set(order))
        if unknown:
            raise ValueError(f"rating {unknown[0]!r} is not among the declared labels {order}")
    number = {key: code for code, key in enumerate(order)}
    codes = [-1 if _missing(value) else number[_key(value)] for value in table.ravel()]
    return np.array(codes, dtype=np.int64).reshape(table.shape), tuple(order)


def contingency_table(
    rater_a: ArrayLike, rater_b: ArrayLike, *, labels: Sequence[object] | None = None
) -> IntArray:
    """Cross-tabulation of two raters.

    Parameters
    ----------
    rater_a, rater_b : array_like, shape (n,)
        Categories, one per subject; no missing value.
    labels : sequence, optional
        The scale in order. Give it when a category may be unused: weighted kappa and AC1 depend on it.

    Returns
    -------
    ndarray of int, shape (k, k)
        Rows are rater A.

    Raises
    ------
    ValueError
        If lengths differ, a rating is missing, or one is not among ``labels``.
    """
    a, b = np.asarray(rater_a, dtype=object), np.asarray(rater_b, dtype=object)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"the raters' ratings have shapes {a.shape} and {b.shape}; one rating each per subject"
        )
    if a.size == 0:
        raise ValueError("no ratings given")
    codes, order = _encode(np.stack([a, b], axis=1), labels)
    if (codes < 0).any():
        row = int(np.flatnonzero((codes < 0).any(axis=1))[0])
        raise ValueError(
            f"rating missing at position {row}: drop the subject or use gwet_ac1, which allows it"
        )
    table = np.zeros((len(order), len(order)), dtype=np.int64)
    np.add.at(table, (codes[:, 0], codes[:, 1]), 1)
    return table


def _disagreement(n_categories: int, weights: Weights) -> FloatArray:
    distance = np.abs(np.subtract.outer(np.arange(n_categories), np.arange(n_categories))).astype(float)
    if weights == "none":
        return (distance > 0).astype(float)
    if weights == "linear":
        return distance
    if weights == "quadratic":
        return distance**2
    raise ValueError(f"weights is {weights!r}; known: 'none', 'linear', 'quadratic'")


def _kappa_of_tables(tables: FloatArray, weights: Weights) -> FloatArray:
    """Weighted kappa of every table in a stack, shape (..., k, k); NaN where undefined."""
    distance = _disagreement(tables.shape[-1], weights)
    n = tables.sum(axis=(-2, -1))
    observed = (tables * distance).sum(axis=(-2, -1)) / n
    chance = np.einsum("...i,ij,...j->...", tables.sum(axis=-1), distance, tables.sum(axis=-2)) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return cast(FloatArray, 1 - observed / chance)


def _square_counts(table: ArrayLike) -> FloatArray:
    counts = np.asarray(table, dtype=float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"the table has shape {counts.shape}; rows and columns must be the same categories")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("the table holds a negative or non-finite count")
    if counts.sum() == 0:
        raise ValueError("the table is empty")
    return counts


def cohen_kappa_table(table: ArrayLike, *, weights: Weights = "none", level: float = 0.95) -> Estimate:
    """Cohen's kappa of a cross-tabulation, unweighted or weighted.

    Parameters
    ----------
    table : array_like of int, shape (k, k)
        Counts; rows are rater A, columns rater B, over the whole declared scale, unused categories included.
    weights : {"none", "linear", "quadratic"}
        Disagreement weights ``|i-j|`` or ``(i-j)^2`` between category positions [1]_.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Interval from the non-null standard error of [2]_, cut at -1 and 1; ``details`` has ``observed`` and
        ``expected`` agreement, ``se``, ``se_null`` and the uncut ``wald`` interval. The p-value is the test
        of kappa 0 with the null standard error; None if that is 0 and kappa is not.

    Raises
    ------
    ValueError
        If chance agreement is 1 (both raters used one same category): kappa is 0/0.
    """
    counts = _square_counts(table)
    n = counts.sum()
    distance = _disagreement(counts.shape[0], weights)
    if float(counts.sum(axis=1) @ distance @ counts.sum(axis=0)) == 0:
        raise ValueError(
            "kappa is undefined (0/0): both raters put every subject into one category, so agreement "
            "expected "
            "by chance is 1; report the percent agreement or Gwet's AC1"
        )
    scale = distance.max() or 1.0
    agreement = 1 - distance / scale
    # statsmodels' unweighted branch and its weighted one with 0/1 weights agree; the latter serves both.
    # It divides by a null standard error that is 0 when one rater is constant.
    with np.errstate(invalid="ignore", divide="ignore"):
        result = _sm_cohens_kappa(counts, weights=distance)
    kappa = float(_kappa_of_tables(counts, weights))
    # differences of sums near 1: below this a variance is rounding of 0
    se, se_null = (
        math.sqrt(variance) if variance > 1e-15 else 0.0
        for variance in (float(result.var_kappa), float(result.var_kappa0))
    )
    z = float(stats.norm.ppf(0.5 + level / 2))
    if se_null > 0:
        statistic: float | None = kappa / se_null
        p_value: float | None = float(2 * stats.norm.sf(abs(kappa / se_null)))
    else:
        statistic, p_value = None, (1.0 if abs(kappa) < 1e-12 else None)
    constant = (counts.sum(axis=0) > 0).sum() == 1 or (counts.sum(axis=1) > 0).sum() == 1
    note = "; one rater is constant, so kappa is 0 whatever the agreement" if constant else ""
    kind = "Cohen's kappa" if weights == "none" else f"Cohen's kappa, {weights} weights"
    return Estimate(
        name=kind,
        estimate=kappa,
        low=max(-1.0, kappa - z * se),
        high=min(1.0, kappa + z * se),
        level=level,
        method=f"{kind}; Fleiss-Cohen-Everitt standard error, normal interval cut at -1 and 1{note}",
        p_value=p_value,
        statistic=statistic,
        n={"subjects": int(n), "raters": 2},
        details={
            "observed": float((counts * agreement).sum() / n),
            "expected": float(counts.sum(axis=1) @ agreement @ counts.sum(axis=0) / n**2),
            "se": se,
            "se_null": se_null,
            "wald": [kappa - z * se, kappa + z * se],
        },
    )


def cohen_kappa(
    rater_a: ArrayLike,
    rater_b: ArrayLike,
    *,
    labels: Sequence[object] | None = None,
    weights: Weights = "none",
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Cohen's kappa of two raters, unweighted or weighted.

    Parameters
    ----------
    rater_a, rater_b : array_like, shape (n,)
        Categories given by the two raters to the same subjects.
    labels : sequence, optional
        The scale in order; by default the categories in use, numbers in numeric order.
    weights : {"none", "linear", "quadratic"}
        See :func:`cohen_kappa_table`.
    cluster : array_like, shape (n,), optional
        Patient of each subject. The interval is then a delete-one-cluster jackknife with t on clusters - 1.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        As of :func:`cohen_kappa_table`.

    Raises
    ------
    ValueError
        For missing ratings, unknown categories, unequal lengths, or an undefined kappa.

    Examples
    --------
    >>> round(cohen_kappa([0, 0, 1, 1], [0, 1, 1, 1]).estimate, 3)
    0.5
    """
    table = contingency_table(rater_a, rater_b, labels=labels)
    result = cohen_kappa_table(table, weights=weights, level=level)
    if cluster is None:
        return result
    codes, _ = _encode(np.stack([np.asarray(rater_a, object), np.asarray(rater_b, object)], axis=1), labels)
    membership, n_clusters = cluster_index(cluster, len(codes))
    tables = np.zeros((n_clusters, *table.shape))
    np.add.at(tables, (membership, codes[:, 0], codes[:, 1]), 1)
    return _jackknifed(
        result, _kappa_of_tables(table.astype(float) - tables, weights), bounds=(-1, 1), units="clusters"
    )


def _jackknifed(
    result: Estimate, left_out: FloatArray, *, bounds: tuple[float, float], units: str
) -> Estimate:
    """The estimate with a delete-one-unit jackknife interval (Efron, Tibshirani 1993, eq. 11.5)."""
    if np.isnan(left_out).any():
        raise ValueError(
            f"{result.name}: undefined when one of the {units} is left out; no jackknife interval"
        )
    size = len(left_out)
    se = math.sqrt((size - 1) / size * float(((left_out - left_out.mean()) ** 2).sum()))
    margin = float(stats.t.ppf(0.5 + result.level / 2, size - 1)) * se
    statistic = result.estimate / se if se > 0 else None
    return replace(
        result,
        low=max(bounds[0], result.estimate - margin),
        high=min(bounds[1], result.estimate + margin),
        method=f"{result.name}; delete-one jackknife over {size} {units}, t interval cut at its bounds",
        p_value=None if statistic is None else float(2 * stats.t.sf(abs(statistic), size - 1)),
        statistic=statistic,
        df=size - 1,
        n=result.n | {units: size},
        details=result.details | {"se": se, "wald": [result.estimate - margin, result.estimate + margin]},
    )


# --- many raters: everything from the counts of ratings by subject and category ---------------------------


def rating_counts(
    ratings: ArrayLike, *, labels: Sequence[object] | None = None
) -> tuple[IntArray, tuple[str, ...]]:
    """How many raters put each subject into each category.

    Parameters
    ----------
    ratings : array_like, shape (n_subjects, n_raters)
        Categories; None or NaN where a rater did not rate.
    labels : sequence, optional
        The scale in order; by default the categories in use.

    Returns
    -------
    counts : ndarray of int, shape (n_subjects, k)
    labels : tuple of str
        The categories, in the order of the columns.
    """
    table = np.asarray(ratings, dtype=object)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"ratings has shape {table.shape}; subjects by raters wanted")
    codes, order = _encode(table, labels)
    return np.stack([(codes == k).sum(axis=1) for k in range(len(order))], axis=1).astype(np.int64), order


def _counts(counts: ArrayLike) -> FloatArray:
    table = np.asarray(counts, dtype=float)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"counts has shape {table.shape}; subjects by categories wanted")
    if not np.isfinite(table).all() or (table < 0).any() or (table != np.round(table)).any():
        raise ValueError("counts must be whole numbers of raters, 0 or more")
    table = np.asarray(table[table.sum(axis=1) > 0])  # a subject nobody rated says nothing
    if not (table.sum(axis=1) >= 2).any():
        raise ValueError("no subject has two ratings: agreement cannot be seen")
    return table


def _chance_corrected(
    counts: FloatArray, *, name: str, chance: Callable[[FloatArray], FloatArray], level: float, undefined: str
) -> Estimate:
    """Chance-corrected agreement with Gwet's linearised variance, allowing unequal numbers of ratings.

    ``chance`` gives, for category shares (k,), the weights c with expected agreement c @ shares; both
    coefficients served have an expected agreement quadratic in the shares, which makes the factor 2 below.
    """
    n = len(counts)
    raters = counts.sum(axis=1)
    paired = raters >= 2
    shares = (counts / raters[:, None]).mean(axis=0)
    pair_agreement = (counts * (counts - 1)).sum(axis=1) / np.where(paired, raters * (raters - 1), 1)
    observed = float(pair_agreement[paired].mean())
    coefficients = chance(shares)
    expected = float(coefficients @ shares)
    if 1 - expected < 1e-12:
        raise ValueError(undefined)
    estimate = (observed - expected) / (1 - expected)
    details = {"observed": observed, "expected": expected, "shares": shares.tolist()}
    if n < 2:
        text = f"{name}; no interval for one subject"
        return Estimate(name=name, estimate=estimate, method=text, n={"subjects": n}, details=details)
    # Gwet 2008, eq. 24; 2014 for unequal numbers of ratings
    contribution = n / paired.sum() * (pair_agreement - expected * paired) / (1 - expected)
    expected_by_subject = (counts / raters[:, None]) @ coefficients
    contribution -= 2 * (1 - estimate) * (expected_by_subject - expected) / (1 - expected)
    se = math.sqrt(float(((contribution - estimate) ** 2).sum()) / (n * (n - 1)))
    margin = float(stats.t.ppf(0.5 + level / 2, n - 1)) * se
    statistic = estimate / se if se > 1e-12 else None
    return Estimate(
        name=name,
        estimate=estimate,
        low=max(-1.0, estimate - margin),
        high=min(1.0, estimate + margin),
        level=level,
        method=f"{name}; Gwet's linearised variance over subjects, t interval cut at -1 and 1",
        p_value=None if statistic is None else float(2 * stats.t.sf(abs(statistic), n - 1)),
        statistic=statistic,
        df=n - 1,
        n={"subjects": n, "ratings": int(raters.sum())},
        details=details | {"se": se, "wald": [estimate - margin, estimate + margin]},
    )


def _generalised_fleiss(counts: FloatArray, level: float) -> Estimate:
    return _chance_corrected(
        counts,
        name="Fleiss' kappa",
        chance=lambda shares: shares,
        level=level,
        undefined=(
            "Fleiss' kappa is undefined (0/0): all ratings are in one category, so agreement expected by "
            "chance "
            "is 1; report the percent agreement or Gwet's AC1"
        ),
    )


def _gwet(counts: FloatArray, level: float) -> Estimate:
    categories = counts.shape[1]
    if categories < 2:
        raise ValueError("AC1 needs a scale of at least two categories: declare it with labels")
    return _chance_corrected(
        counts,
        name="Gwet's AC1",
        chance=lambda shares: (1 - shares) / (categories - 1),
        level=level,
        undefined="AC1 is undefined: expected agreement is 1",  # cannot happen: it is at most 1/categories
    )


def _clustered(
    result: Estimate, counts: ArrayLike, cluster: ArrayLike, refit: Callable[[FloatArray, float], Estimate]
) -> Estimate:
    table, labels = np.asarray(counts, dtype=float), np.asarray(cluster, dtype=object)
    if labels.shape != (len(table),):
        raise ValueError(f"cluster has shape {labels.shape}, not ({len(table)},)")
    rated = table.sum(axis=1) > 0
    table, labels = table[rated], labels[rated]
    membership, n_clusters = cluster_index(labels, len(table))
    left_out = np.array([refit(table[membership != c], result.level).estimate for c in range(n_clusters)])
    return _jackknifed(result, left_out, bounds=(-1, 1), units="clusters")


def fleiss_kappa(
    counts: ArrayLike,
    *,
    unequal: bool = False,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Fleiss' kappa of any number of raters.

    Parameters
    ----------
    counts : array_like of int, shape (n_subjects, k)
        Raters per category; see :func:`rating_counts`.
    unequal : bool
        Allow different numbers of ratings per subject (Gwet's generalisation [4]_). The classical coefficient
        does not exist then, so that this must be asked for.
    cluster : array_like, shape (n_subjects,), optional
        Patient of each subject; delete-one-cluster jackknife interval.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Interval from Gwet's linearised variance over subjects, with t on subjects - 1. With equal numbers of
        ratings the p-value is the test of kappa 0 with the null standard error of [3]_ (in ``details``).

    Raises
    ------
    ValueError
        If the numbers of ratings differ and ``unequal`` is false, or if all ratings are in one category.
    """
    table = _counts(counts)
    raters = table.sum(axis=1)
    if not unequal and (raters != raters[0]).any():
        raise ValueError(
            f"subjects have {int(raters.min())} to {int(raters.max())} ratings: classical Fleiss' kappa "
            "needs equal "
            "numbers; ask for the generalisation with unequal=True, or use Gwet's AC1"
        )
    result = _generalised_fleiss(table, level)
    if cluster is not None:
        return _clustered(result, counts, cluster, _generalised_fleiss)
    if unequal or len(table) < 2:
        return result
    n, m = len(table), raters[0]
    shares = table.sum(axis=0) / (n * m)
    spread = float((shares * (1 - shares)).sum())
    # Fleiss, Nee, Landis 1979, eq. 12
    null = (
        2
        / (n * m * (m - 1))
        * (spread**2 - float((shares * (1 - shares) * (1 - 2 * shares)).sum()))
        / spread**2
    )
    se_null = math.sqrt(max(null, 0.0))
    statistic = result.estimate / se_null if se_null > 0 else None
    return replace(
        result,
        method=f"{result.method}; test of 0 with the null standard error",
        p_value=None if statistic is None else float(2 * stats.norm.sf(abs(statistic))),
        statistic=statistic,
        df=None,
        n={"subjects": n, "raters": int(m)},
        details=result.details | {"se_null": se_null},
    )


def gwet_ac1(counts: ArrayLike, *, cluster: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Gwet's AC1, which does not collapse when one category dominates, with missing ratings allowed.

    Parameters
    ----------
    counts : array_like of int, shape (n_subjects, k)
        Raters per category over the whole declared scale (AC1 depends on k); a missing rating is simply not
        counted, it is not a category. Subjects with one rating inform the category shares only.
    cluster : array_like, shape (n_subjects,), optional
        Patient of each subject; delete-one-cluster jackknife interval.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Interval from the linearised variance of [4]_ with t on subjects - 1.
    """
    table = _counts(counts)
    result = _gwet(table, level)
    return result if cluster is None else _clustered(result, counts, cluster, _gwet)


def conger_kappa(
    ratings: ArrayLike, *, labels: Sequence[object] | None = None, level: float = 0.95
) -> Estimate:
    """Conger's kappa: Cohen's kappa for more than two identified raters, missing ratings allowed.

    Parameters
    ----------
    ratings : array_like, shape (n_subjects, n_raters)
        Categories; None or NaN where missing.
    labels : sequence, optional
        The scale in order.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Chance agreement from each rater's own category shares [5]_; interval by delete-one-subject jackknife.
    """
    table = np.asarray(ratings, dtype=object)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"ratings has shape {table.shape}; subjects by at least two raters wanted")
    codes, order = _encode(table, labels)
    codes = codes[(codes >= 0).any(axis=1)]
    indicator = (codes[:, :, None] == np.arange(len(order))).astype(float)  # subject, rater, category
    _counts(indicator.sum(axis=1))

    def kappa(part: FloatArray) -> tuple[float, float, float]:
        counts = part.sum(axis=1)
        n_ratings = counts.sum(axis=1)
        paired = n_ratings >= 2
        observed = (
            (counts * (counts - 1)).sum(axis=1)[paired] / (n_ratings * (n_ratings - 1))[paired]
        ).mean()
        shares = part.sum(axis=0) / part.sum(axis=(0, 2))[:, None]
        if not np.isfinite(shares).all():
            raise ValueError("a rater rated no subject: drop the rater")
        total = shares.sum(axis=0)
        size = len(shares)
        expected = float((total**2).sum() - (shares**2).sum()) / (size * (size - 1))
        if 1 - expected < 1e-12:
            raise ValueError(
                "Conger's kappa is undefined (0/0): all ratings are in one category; use Gwet's AC1"
            )
        return float((observed - expected) / (1 - expected)), float(observed), expected

    with np.errstate(invalid="ignore", divide="ignore"):
        estimate, observed, expected = kappa(indicator)
        # subjects rated alike leave the same value behind
        _, first, alike = np.unique(codes, axis=0, return_index=True, return_inverse=True)
        left_out = np.array([kappa(np.delete(indicator, i, axis=0))[0] for i in first])[alike.ravel()]
    result = Estimate(
        name="Conger's kappa",
        estimate=estimate,
        level=level,
        n={"raters": codes.shape[1], "ratings": int((codes >= 0).sum())},
        details={"observed": observed, "expected": expected},
    )
    return _jackknifed(result, left_out, bounds=(-1, 1), units="subjects")


def krippendorff_alpha(
    ratings: ArrayLike,
    *,
    measurement: Literal["nominal", "ordinal", "interval", "ratio"] = "nominal",
    labels: Sequence[object] | None = None,
    level: float = 0.95,
) -> Estimate:
    """Krippendorff's alpha of any number of raters with missing ratings (library `krippendorff`).

    Parameters
    ----------
    ratings : array_like, shape (n_subjects, n_raters)
        Categories; None or NaN where missing. For "interval" and "ratio" they must be numbers.
    measurement : {"nominal", "ordinal", "interval", "ratio"}
        Distance between categories.
    labels : sequence, optional
        The scale in order, needed for ordinal text categories.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Interval by delete-one-subject jackknife over the subjects with two ratings or more.

    Raises
    ------
    ValueError
        If fewer than two categories are in use (alpha is 0/0).
    """
    counts, order = rating_counts(ratings, labels=labels)
    counts = counts[counts.sum(axis=1) >= 2]
    _counts(counts)
    if (counts.sum(axis=0) > 0).sum() < 2:
        raise ValueError(
            "Krippendorff's alpha is undefined (0/0): all ratings are in one category; use Gwet's AC1"
        )
    if measurement in ("interval", "ratio"):
        try:
            domain: Sequence[float] = [float(label) for label in order]
        except ValueError:
            raise ValueError(f"{measurement} distances need numbers, not {order}") from None
    else:
        domain = list(range(len(order)))

    def alpha(table: IntArray) -> float:
        if (table.sum(axis=0) > 0).sum() < 2:
            return math.nan
        value = krippendorff.alpha(value_counts=table, value_domain=domain, level_of_measurement=measurement)
        return float(value)

    estimate = alpha(counts)
    # subjects rated alike leave the same value behind
    _, first, alike = np.unique(counts, axis=0, return_index=True, return_inverse=True)
    left_out = np.array([alpha(np.delete(counts, i, axis=0)) for i in first])[alike.ravel()]
    result = Estimate(
        name=f"Krippendorff's alpha ({measurement})",
        estimate=estimate,
        level=level,
        method=f"Krippendorff's alpha ({measurement}); no interval: one subject decides whether it exists",
        n={"subjects": len(counts), "ratings": int(counts.sum())},
    )
    if np.isnan(left_out).any():
        return result
    return _jackknifed(result, left_out, bounds=(-1, 1), units="subjects")
