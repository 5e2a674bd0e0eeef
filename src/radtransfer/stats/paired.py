r"""Comparisons on the same cases, or on the same folds: McNemar, Student's t, Wilcoxon.

Where the data hold no difference at all the p-value is 1. Where all differences are alike but not 0 a t-test
does not exist, and that is an error.

References
----------
.. [1] McNemar Q. Psychometrika 1947;12:153-157.
.. [2] Fagerland MW, Lydersen S, Laake P. The McNemar test for binary matched-pairs data: mid-p and asymptotic
   are better than exact conditional. BMC Med Res Methodol 2013;13:91.
.. [3] Tango T. Equivalence test and confidence interval for the difference in proportions for the
paired-sample
   design. Stat Med 1998;17:891-908.
.. [4] Obuchowski NA. On the comparison of correlated proportions for clustered data. Stat Med
   1998;17:1495-1507; as written by Yang Z, Sun X, Hardin JW. Biom J 2010;52:638-652.
.. [5] Wilcoxon F. Biometrics Bull 1945;1:80-83. Pratt JW. J Am Stat Assoc 1959;54:655-667. Kerby DS. Compr
   Psychol 2014;3:11.IT.3.1 (rank-biserial correlation).
.. [6] Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003;52:239-281.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from radtransfer.stats import checks
from radtransfer.stats.checks import FloatArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

McNemarMethod: TypeAlias = Literal["exact", "midp", "asymptotic", "corrected"]
WilcoxonMethod: TypeAlias = Literal["auto", "exact", "normal", "corrected"]

_MCNEMAR: dict[McNemarMethod, str] = {
    "exact": "McNemar, exact",
    "midp": "McNemar, mid-p",
    "asymptotic": "McNemar, chi-squared",
    "corrected": "McNemar, chi-squared with continuity correction",
}
_EXACT_PAIRS = 200  # chosen by "auto"; above it the normal approximation is good to about 3 digits
_EXACT_LIMIT = 1000  # the exact distribution takes n**3 operations


class DiscordantPairs(NamedTuple):
    """How often only the first, and only the second, of two paired decisions was right, among n pairs."""

    b: int
    c: int
    n: int


def discordant_pairs(a: ArrayLike, b: ArrayLike) -> DiscordantPairs:
    """Count the pairs in which two binary results differ.

    Parameters
    ----------
    a, b : array_like, shape (n,)
        Results of the same cases, 1 for right (or positive) and 0 otherwise.

    Returns
    -------
    DiscordantPairs
        Pairs with a alone 1, pairs with b alone 1, all pairs: arguments of :func:`mcnemar`.

    Raises
    ------
    ValueError
        If a value is neither 0 nor 1 or lengths differ.
    """
    first, second = _pair(a, b)
    return DiscordantPairs(int((first & ~second).sum()), int((~first & second).sum()), len(first))


def mcnemar(
    b: float, c: float, *, n: float | None = None, method: McNemarMethod = "exact", level: float = 0.95
) -> Estimate:
    r"""McNemar's test of two paired proportions.

    Parameters
    ----------
    b, c : int
        Pairs in which only the first, and only the second, is 1.
    n : int, optional
        All pairs; with it the estimate is the difference of the two proportions with Tango's score interval,
        without it the excess ``b - c`` of discordant pairs, without an interval.
    method : {"exact", "midp", "asymptotic", "corrected"}
        Binomial test of *b* among *b + c*; its p-value less the probability of *b* itself (Fagerland 2013,
        the recommended one; at *b = c* Fagerland takes off half of it only, which makes no decision differ);
        :math:`(b - c)^2/(b + c)` as chi-squared; the same with
        :math:`(|b - c| - 1)^2`, no less than 0.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        ``statistic`` is chi-squared with ``df`` 1 for the asymptotic methods, *b* for the others. Without
        discordant pairs p is 1.

    Raises
    ------
    ValueError
        If a count is not whole or negative, or ``b + c > n``.

    Examples
    --------
    >>> result = mcnemar(1, 9, n=100, method="midp")
    >>> round(result.estimate, 4), round(result.low, 4), round(result.high, 4), round(result.p_value, 4)
    (-0.08, -0.1541, -0.0226, 0.0117)
    """
    if method not in _MCNEMAR:
        raise ValueError(f"method is {method!r}, not one of {', '.join(_MCNEMAR)}")
    first, second = checks.count(b, name="b"), checks.count(c, name="c")
    discordant = first + second
    statistic, df = float(first), None
    if method in ("exact", "midp"):
        p_value = min(2 * float(stats.binom.cdf(min(first, second), discordant, 0.5)), 1.0)
        if method == "midp" and discordant:
            p_value -= float(stats.binom.pmf(first, discordant, 0.5))
    else:
        excess = max(abs(first - second) - (method == "corrected"), 0)
        statistic, df = excess**2 / discordant if discordant else 0.0, 1
        p_value = float(stats.chi2.sf(statistic, 1))
    text, low, high, value = _MCNEMAR[method], None, None, float(first - second)
    counts = {"discordant pairs": discordant}
    if n is not None:
        pairs = checks.count(n, name="n", least=1)
        low, high = tango_interval(first, second, pairs, level=level)
        value, counts = (first - second) / pairs, {"pairs": pairs}
        text += "; Tango score interval"
    return Estimate(
        name="excess of discordant pairs" if n is None else "difference of paired proportions",
        estimate=value,
        low=low,
        high=high,
        level=level,
        method=text,
        p_value=p_value,
        statistic=statistic,
        df=df,
        n=counts,
        details={"b": first, "c": second},
    )


def clustered_mcnemar(a: ArrayLike, b: ArrayLike, *, cluster: ArrayLike, level: float = 0.95) -> Estimate:
    r"""McNemar's test when several images come from one patient.

    .. math:: X^2 = \frac{K - 1}{K} \frac{\left(\sum_k (b_k - c_k)\right)^2}{\sum_k (b_k - c_k)^2}

    with one degree of freedom (Obuchowski 1998 with the variance under the null hypothesis, as written by
    Yang 2010), :math:`b_k`, :math:`c_k` the discordant pairs of patient *k* of *K*. The interval of the
    difference has the variance of a ratio of patients' sums,
    :math:`\frac{K}{K-1} \sum_k (b_k - c_k - \hat\delta n_k)^2 / (\sum_k n_k)^2`, and is cut at -1 and 1.

    Parameters
    ----------
    a, b : array_like, shape (n,)
        Results of the same images, 0 or 1.
    cluster : array_like, shape (n,)
        Patient of each image.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Difference of the two proportions, a minus b; p is 1 without discordance.

    Raises
    ------
    ValueError
        As :func:`discordant_pairs`; also with fewer than 2 patients.
    """
    first, second = _pair(a, b)
    member, n_clusters = cluster_index(cluster, len(first))
    excess = np.bincount(member, first.astype(float) - second, minlength=n_clusters)
    size = np.bincount(member, minlength=n_clusters)
    squares = float(excess @ excess)
    statistic = (n_clusters - 1) / n_clusters * float(excess.sum()) ** 2 / squares if squares else 0.0
    value = float(excess.sum() / len(first))
    deviation = excess - value * size
    se = math.sqrt(n_clusters / (n_clusters - 1) * float(deviation @ deviation)) / len(first)
    half = float(stats.norm.isf((1 - checks.fraction(level, name="level", open_ends=True)) / 2)) * se
    return Estimate(
        name="difference of paired proportions",
        estimate=value,
        low=max(value - half, -1.0),
        high=min(value + half, 1.0),
        level=level,
        method="clustered McNemar (Obuchowski 1998), Wald interval from patients' sums"
        + ("" if se else "; the variance is 0, so the interval has no width"),
        p_value=float(stats.chi2.sf(statistic, 1)),
        statistic=statistic,
        df=1,
        n={"clusters": n_clusters, "pairs": len(first)},
        details={"se": se, "b": int((first & ~second).sum()), "c": int((~first & second).sum())},
    )


def paired_t(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Paired t-test of the mean difference, a minus b.

    Not for the folds of one cross-validation, whose training sets overlap: see :func:`corrected_resampled_t`.

    Parameters
    ----------
    a, b : array_like, shape (n,)
        Paired measurements.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Mean difference; ``statistic`` t with ``df`` n - 1. If all differences are 0, p is 1 and there is no
        interval.

    Raises
    ------
    ValueError
        If there are fewer than 2 pairs, a value is not finite, lengths differ, or the differences are
        constant and not 0.
    """
    first = checks.real(a, name="a")
    difference = first - checks.real(b, len(first), name="b")
    return _t_test(difference, 1 / len(difference), method="paired t", unit="pairs", level=level)


def corrected_resampled_t(
    differences: ArrayLike, *, n_train: float, n_test: float, level: float = 0.95
) -> Estimate:
    r"""t-test over resampled training and test sets, corrected for their overlap.

    .. math:: t = \bar d \Big/ \sqrt{\left(\tfrac{1}{k} + \tfrac{n_{test}}{n_{train}}\right) s_d^2}

    with k - 1 degrees of freedom (Nadeau and Bengio 2003). The correction stands for a correlation of
    :math:`n_{test}/(n_{test} + n_{train})` between folds; the true one is unknown.

    Parameters
    ----------
    differences : array_like, shape (k,)
        Difference of two models on each fold, or on each of r x k folds of a repeated cross-validation.
    n_train, n_test : float
        Sizes of a training and of a test set.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Mean difference; ``details`` holds ``t_uncorrected``. If all differences are 0, p is 1 and there is no
        interval.

    Raises
    ------
    ValueError
        If there are fewer than 2 differences, one is not finite, a size is not positive, or the differences
        are constant and not 0.
    """
    difference = checks.real(differences, name="differences")
    for name, size in (("n_train", n_train), ("n_test", n_test)):
        if not (math.isfinite(size) and size > 0):
            raise ValueError(f"{name} is {size}, not positive")
    return _t_test(
        difference,
        1 / len(difference) + n_test / n_train,
        method="corrected resampled t (Nadeau and Bengio 2003)",
        unit="folds",
        level=level,
    )


def wilcoxon_signed_rank(
    differences: ArrayLike, *, method: WilcoxonMethod = "auto", zeros: Literal["drop", "pratt"] = "drop"
) -> Estimate:
    """Wilcoxon's signed-rank test of differences symmetric about 0.

    Parameters
    ----------
    differences : array_like, shape (n,)
        Paired differences.
    method : {"auto", "exact", "normal", "corrected"}
        The exact distribution over all signs, right with ties too (SciPy's is not); the normal approximation
        with the variance of the ranks as they are tied; the same with continuity correction; ``"auto"`` is
        exact up to 200 differences and corrected above. With 5 pairs p cannot be below .0625.
    zeros : {"drop", "pratt"}
        Leave differences of 0 out before ranking (Wilcoxon), or after it (Pratt).

    Returns
    -------
    Estimate
        Matched-pairs rank-biserial correlation (W+ - W-)/(W+ + W-), from -1 to 1, with ``p_value``;
        ``statistic`` is W+, ``details`` holds ``W_plus`` and ``W_minus``. If all differences are 0, p is 1.

    Raises
    ------
    ValueError
        If there is no difference, one is not finite, or the exact distribution of more than 1,000 differences
        is asked for.
    """
    difference = checks.real(differences, name="differences")
    if method not in ("auto", "exact", "normal", "corrected"):
        raise ValueError(f"method is {method!r}, not 'auto', 'exact', 'normal' or 'corrected'")
    if zeros not in ("drop", "pratt"):
        raise ValueError(f"zeros is {zeros!r}, not 'drop' or 'pratt'")
    n = {"pairs": len(difference), "zero differences": int((difference == 0).sum())}
    ranked = difference if zeros == "pratt" else difference[difference != 0]
    rank = stats.rankdata(np.abs(ranked))[ranked != 0]
    plus = float(rank[ranked[ranked != 0] > 0].sum())
    minus = float(rank.sum()) - plus
    if method == "auto":
        method = "exact" if len(rank) <= _EXACT_PAIRS else "corrected"
    if not len(rank):
        value, p_value, text = 0.0, 1.0, "all differences are 0"
    else:
        value = (plus - minus) / (plus + minus)
        p_value, text = _signed_rank_p(rank, min(plus, minus), method)
    return Estimate(
        name="rank-biserial correlation",
        estimate=value,
        method=f"Wilcoxon signed rank, {text}",
        p_value=p_value,
        statistic=plus,
        n=n,
        details={"W_plus": plus, "W_minus": minus},
    )


# --- Tango's score for paired proportions -----------------------------------------------------------------


def tango_z(b: int, c: int, n: int, difference: float) -> float:
    r"""Score statistic for a given difference of two paired proportions.

    .. math:: z = \frac{b - c - n\delta}{\sqrt{n (2 \tilde q + \delta (1 - \delta))}}

    with :math:`\tilde q` the maximum likelihood estimate of the second discordant probability under
    :math:`\delta`, the larger root of
    :math:`2 n q^2 - (b + c - (2n - b + c)\delta) q - c \delta (1 - \delta) = 0` (Tango 1998).

    Parameters
    ----------
    b, c, n : int
        Discordant pairs of either kind, and all pairs.
    difference : float
        Hypothetical difference :math:`\delta` in (-1, 1).

    Returns
    -------
    float
    """
    linear = (2 * n - b + c) * difference - b - c
    constant = -c * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 8 * n * constant, 0.0))
    # the form of the root that subtracts nothing
    q = (root - linear) / (4 * n) if linear <= 0 else -2 * constant / (root + linear)
    variance = n * (2 * q + difference * (1 - difference))
    score = b - c - n * difference
    if variance > 0:
        return score / math.sqrt(variance)
    return math.copysign(math.inf, score) if score else 0.0


def tango_interval(b: int, c: int, n: int, *, level: float) -> tuple[float, float]:
    """Differences that Tango's score test does not reject.

    Parameters
    ----------
    b, c, n : int
        As in :func:`tango_z`.
    level : float
        Confidence level.

    Returns
    -------
    low, high : float
        Inside -1 and 1.

    Raises
    ------
    ValueError
        If ``b + c > n`` or the level is not between 0 and 1.
    """
    if b + c > n:
        raise ValueError(f"{b} + {c} discordant pairs among {n}")
    z = float(stats.norm.isf((1 - checks.fraction(level, name="level", open_ends=True)) / 2))
    value, edge = (b - c) / n, 1 - 1e-12
    limits = []
    for side in (-1, 1):

        def excess(difference: float, side: int = side) -> float:
            return max(min(-side * tango_z(b, c, n, difference), 1e6), -1e6) - z

        end = side * edge
        inside = abs(value) < edge or value * side < 0
        limits.append(
            float(optimize.brentq(excess, min(max(value, -edge), edge), end, xtol=1e-14))
            if inside and excess(end) > 0
            else float(side)
        )
    return limits[0], limits[1]


# --- parts ------------------------------------------------------------------------------------------------


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[checks.BoolArray, checks.BoolArray]:
    first, second = checks.binary(a, name="a"), checks.binary(b, name="b")
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} values, b {len(second)}")
    return first, second


def _t_test(difference: FloatArray, factor: float, *, method: str, unit: str, level: float) -> Estimate:
    """t-test of the mean, whose variance is ``factor`` times that of a difference."""
    k = len(difference)
    if k < 2:
        raise ValueError(f"{method}: {k} difference, the variance needs 2")
    tail = (1 - checks.fraction(level, name="level", open_ends=True)) / 2
    mean, sd = float(difference.mean()), float(difference.std(ddof=1))
    if not difference.any():
        return Estimate(
            name="mean difference",
            estimate=0.0,
            level=level,
            method=f"{method}; all differences are 0",
            p_value=1.0,
            n={unit: k},
        )
    if sd <= 10 * np.finfo(float).eps * abs(mean):  # R's rule for data that are constant but for rounding
        raise ValueError(
            f"{method}: all differences are {mean:.6g}, their variance is 0 and there is no t-test"
        )
    se = sd * math.sqrt(factor)
    half = float(stats.t.isf(tail, k - 1)) * se
    return Estimate(
        name="mean difference",
        estimate=mean,
        low=mean - half,
        high=mean + half,
        level=level,
        method=method,
        p_value=float(2 * stats.t.sf(abs(mean / se), k - 1)),
        statistic=mean / se,
        df=k - 1,
        n={unit: k},
        details={"se": se, "sd": sd, "t_uncorrected": mean / (sd / math.sqrt(k))},
    )


def _signed_rank_p(rank: FloatArray, smaller: float, method: WilcoxonMethod) -> tuple[float, str]:
    """Two-sided p-value of the smaller rank sum, and how it was found."""
    if method == "exact":
        if len(rank) > _EXACT_LIMIT:
            raise ValueError(
                f"the exact distribution is for up to {_EXACT_LIMIT} differences, not {len(rank)}"
            )
        # distribution of twice the rank sum (midranks are halves) over all signs, one rank after another
        doubled = np.rint(2 * rank).astype(np.int64)
        chance = np.zeros(int(doubled.sum()) + 1)
        chance[0] = 1.0
        for step in doubled:
            chance /= 2
            chance[step:] += chance[:-step].copy()
        return min(2 * float(chance[: round(2 * smaller) + 1].sum()), 1.0), "exact"
    distance = float(rank.sum()) / 2 - smaller
    if method == "corrected":
        distance = max(distance - 0.5, 0.0)
    z = distance / math.sqrt(float(rank @ rank) / 4)
    text = "normal approximation" + (" with continuity correction" if method == "corrected" else "")
    return float(2 * stats.norm.sf(z)), text
