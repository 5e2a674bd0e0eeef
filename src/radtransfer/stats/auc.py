r"""Area under the ROC curve: DeLong variance, clustered cases, case weights, paired comparison.

Everything rests on *placement values*: for a positive case the share of negative cases that score lower, for
a negative case the share of positive cases that score higher, ties counting half. Their mean within either
class is the AUC, their variances give its variance (DeLong), their sums within patients the variance for
clustered images (Obuchowski). One sort yields them all, so that a million cases take a fraction of a second.

The AUC is not turned round when it is below one half: a score that ranks the wrong way gets what it deserves.

References
----------
.. [1] DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver
   operating characteristic curves: a nonparametric approach. Biometrics 1988;44:837-845.
.. [2] Sun X, Xu W. Fast implementation of DeLong's algorithm. IEEE Signal Process Lett 2014;21:1389-1393.
.. [3] Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.
.. [4] Pepe MS. The Statistical Evaluation of Medical Tests for Classification and Prediction. Oxford 2003,
   section 5.2.6 (interval on the logit scale).
.. [5] Janes H, Pepe MS. Adjusting for covariate effects on classification accuracy using the
   covariate-adjusted receiver operating characteristic curve. Biometrika 2009;96:371-382.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from radtransfer.stats import checks
from radtransfer.stats.checks import BoolArray, FloatArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

Interval: TypeAlias = Literal["wald", "logit"]

_FLAT = "; the variance is 0, so the interval has no width and does not tell the uncertainty"


@dataclass(frozen=True, slots=True)
class Placements:
    """Placement values of one score.

    Parameters
    ----------
    positive : ndarray of float, shape (n_positive,)
        Weight of the negative cases that score below each positive case, ties half. A whole number of halves
        where the weights are counts, so that sums and differences of them are exact.
    negative : ndarray of float, shape (n_negative,)
        Weight of the positive cases that score above each negative case, ties half.
    weight_positive, weight_negative : ndarray of float, shape (n_positive,), (n_negative,)
        Weights of the cases themselves.
    """

    positive: FloatArray
    negative: FloatArray
    weight_positive: FloatArray
    weight_negative: FloatArray

    @property
    def auc(self) -> float:
        """Area under the empirical ROC curve."""
        pairs = self.weight_positive.sum() * self.weight_negative.sum()
        return min(float(self.positive @ self.weight_positive / pairs), 1.0)  # weights may round it above


def placements(positive: BoolArray, score: FloatArray, weight: FloatArray | None = None) -> Placements:
    """Placement values from one sort, O(n log n) (Sun and Xu 2014, with cumulative weights for midranks)."""
    if weight is None:
        weight = np.ones(len(score))
    level, place = np.unique(score, return_inverse=True)
    mass_positive = np.bincount(place[positive], weight[positive], minlength=len(level))
    mass_negative = np.bincount(place[~positive], weight[~positive], minlength=len(level))
    below = np.cumsum(mass_negative) - mass_negative / 2
    above = mass_positive.sum() - np.cumsum(mass_positive) + mass_positive / 2
    return Placements(
        positive=below[place[positive]],
        negative=above[place[~positive]],
        weight_positive=weight[positive],
        weight_negative=weight[~positive],
    )


def auc(
    y: ArrayLike,
    score: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    level: float = 0.95,
    interval: Interval = "wald",
) -> Estimate:
    r"""AUC with its DeLong standard error and interval, for independent cases.

    .. math:: \widehat{\mathrm{var}}(\hat\theta) = \frac{S_{10}}{m} + \frac{S_{01}}{n}

    with :math:`S_{10}`, :math:`S_{01}` the sample variances of the placement values of the *m* positive and
    *n* negative cases (DeLong 1988).

    Parameters
    ----------
    y : array_like, shape (n,)
        Reference standard, 0 or 1.
    score : array_like, shape (n,)
        Higher means more likely positive; any scale, only the order counts. Infinite values are allowed.
    weight : array_like, shape (n,), optional
        Case weights, such as inverse sampling probabilities; at least 0, and a case of weight 0 counts as
        absent. The variance is the linearised (sandwich) one,
        :math:`\sum_i w_i^2 (V_i - \hat\theta)^2 / (\sum_i w_i)^2 \cdot m/(m-1)` in either class, which is
        DeLong's for equal weights.
    level : float
        Confidence level.
    interval : {"wald", "logit"}
        ``"wald"`` is :math:`\hat\theta \pm z\,\mathrm{SE}` cut at 0 and 1, the convention of most programs;
        it covers too rarely when the AUC is high (83 % instead of 95 % at AUC .98 with 30 and 100 cases).
        ``"logit"`` makes it on the log-odds of the AUC (Pepe 2003) and covers better there; it does not exist
        at AUC 0 or 1.

    Returns
    -------
    Estimate
        ``details`` holds ``variance`` and ``se`` (None with fewer than 2 cases of a class, which have an AUC
        but no variance and no interval).

    Raises
    ------
    ValueError
        If labels are not 0 and 1, a class is absent or of weight 0, a score is NaN, or lengths differ.

    Examples
    --------
    >>> result = auc([0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.2, 0.9])
    >>> round(result.estimate, 4), round(result.details["se"], 4)
    (0.8889, 0.1571)
    """
    positive = checks.classes(y)
    values = checks.real(score, len(positive), name="score", infinite=True)
    if weight is not None:
        case_weight = _case_weights(weight, positive)
        kept = case_weight > 0
        positive, values, case_weight = positive[kept], values[kept], case_weight[kept]
    else:
        case_weight = None
    place = placements(positive, values, case_weight)
    variance = _delong_variance(place)
    method = "DeLong" if weight is None else "DeLong, case weights, linearised variance"
    return _estimate(
        place.auc, variance, n=_counts(positive), method=method, level=level, interval=interval, details={}
    )


def clustered_auc(
    y: ArrayLike,
    score: ArrayLike,
    *,
    cluster: ArrayLike,
    level: float = 0.95,
    interval: Interval = "wald",
) -> Estimate:
    r"""AUC of images of which several come from one patient.

    The point estimate is the usual AUC over all images; only the standard error knows the patients:

    .. math:: \widehat{\mathrm{var}}(\hat\theta) = \frac{S_{10}}{M} + \frac{S_{01}}{N} + \frac{2 S_{11}}{M N}

    with :math:`S_{10}`, :math:`S_{01}`, :math:`S_{11}` the variances and covariance of the patients' sums of
    placement values about their expectation (Obuchowski 1997), *M* and *N* the numbers of
    positive and negative images. With one image per patient it is DeLong's.

    Parameters
    ----------
    y, score : array_like, shape (n,)
        As in :func:`auc`.
    cluster : array_like, shape (n,)
        Patient of each image, of any type.
    level, interval
        As in :func:`auc`.

    Returns
    -------
    Estimate
        ``details`` holds ``variance``, ``se``, ``S10``, ``S01``, ``S11``.

    Raises
    ------
    ValueError
        As :func:`auc`; also if fewer than 2 patients have positive, or negative, images.
    """
    positive = checks.classes(y)
    values = checks.real(score, len(positive), name="score", infinite=True)
    membership, n_clusters = cluster_index(cluster, len(positive))
    place = placements(positive, values)
    terms = _obuchowski_terms(place, positive, membership, n_clusters)
    return _estimate(
        place.auc,
        terms.variance,
        n=_counts(positive) | {"clusters": n_clusters},
        method="Obuchowski 1997",
        level=level,
        interval=interval,
        details={"S10": terms.s10, "S01": terms.s01, "S11": terms.s11},
    )


def stratified_auc(y: ArrayLike, score: ArrayLike, *, stratum: ArrayLike) -> Estimate:
    """AUC over the pairs of a positive and a negative case of the same stratum.

    With folds as strata it never ranks scores of two models against each other; with a covariate it is the
    covariate-adjusted AUC, with weights by pairs (Janes and Pepe 2009).

    Parameters
    ----------
    y, score : array_like, shape (n,)
        As in :func:`auc`.
    stratum : array_like, shape (n,)
        Stratum of each case, of any type that sorts.

    Returns
    -------
    Estimate
        Without interval (see :meth:`~radtransfer.stats.bootstrap.ClusterBootstrap.auc`); ``details`` holds
        the number of ``pairs``.

    Raises
    ------
    ValueError
        If no stratum holds both classes, labels are not 0 and 1, a score is NaN, or lengths differ.
    """
    positive = checks.classes(y)
    values = checks.real(score, len(positive), name="score", infinite=True)
    strata = np.asarray(stratum)
    if strata.shape != positive.shape:
        raise ValueError(f"stratum has shape {strata.shape}, {positive.shape} expected")
    won = pairs = 0.0
    for name in np.unique(strata):
        rows = strata == name
        if positive[rows].any() and not positive[rows].all():
            place = placements(positive[rows], values[rows])
            won += float(place.positive.sum())
            pairs += len(place.positive) * len(place.negative)
    if not pairs:
        raise ValueError("no stratum holds both classes: the AUC is undefined")
    return Estimate(
        name="AUC",
        estimate=won / pairs,
        method="pairs within strata",
        n=_counts(positive),
        details={"pairs": int(pairs)},
    )


def compare_auc(
    y: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    r"""Difference of two AUCs on the same cases, a minus b, with its test.

    .. math:: z = (\hat\theta_a - \hat\theta_b) / \sqrt{\widehat{\mathrm{var}}(\hat\theta_a - \hat\theta_b)}

    The variance of the difference is that of the cases' differences in placement value (DeLong 1988,
    written as a difference, which loses no digits when the curves are alike; Obuchowski 1997 when
    images are clustered). Two scores that order the cases alike have difference 0 and p = 1.

    Parameters
    ----------
    y : array_like, shape (n,)
        Reference standard, 0 or 1.
    score_a, score_b : array_like, shape (n,)
        The two scores of each case; their scales need not agree.
    cluster : array_like, shape (n,), optional
        Patient of each image, when patients recur.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Difference, Wald interval cut at -1 and 1, ``statistic`` z and two-sided ``p_value``; ``details``
        holds ``auc_a``, ``auc_b``, ``variance``, ``se``. Where the variance is 0 and the difference is not
        (AUC 1 against 0) there is no interval and no p-value, and ``method`` says so:
        use :func:`radtransfer.stats.permutation.permutation_auc`.

    Raises
    ------
    ValueError
        As :func:`auc`; also if a class has fewer than 2 cases (or patients).
    """
    positive = checks.classes(y)
    places = [
        placements(positive, checks.real(score, len(positive), name=name, infinite=True))
        for name, score in (("score_a", score_a), ("score_b", score_b))
    ]
    auc_a, auc_b = (place.auc for place in places)
    first, second = places
    # both areas are multiples of 1/2mn; taken as one sum their difference is 0 exactly when it should be
    pairs = first.weight_positive.sum() * first.weight_negative.sum()
    difference = float((first.positive - second.positive).sum() / pairs)
    apart = Placements(
        positive=first.positive - second.positive,
        negative=first.negative - second.negative,
        weight_positive=first.weight_positive,
        weight_negative=first.weight_negative,
    )
    n = _counts(positive)
    if cluster is None:
        variance, method = _delong_variance(apart), "paired DeLong"
        if variance is None:
            raise ValueError(f"comparing AUCs needs 2 cases of each class; there are {n}")
    else:
        membership, n_clusters = cluster_index(cluster, len(positive))
        variance = _obuchowski_terms(apart, positive, membership, n_clusters).variance
        method = "paired, Obuchowski 1997"
        n |= {"clusters": n_clusters}
    return _difference(
        difference, variance, method=method, level=level, n=n, details={"auc_a": auc_a, "auc_b": auc_b}
    )


def compare_macro_auc(
    y: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    r"""Difference of two macro-averaged AUCs on the same cases, a minus b, with its test.

    The macro-averaged AUC of K classes is the mean of the K AUCs of one class against the rest. Its
    difference is a mean of differences in AUC, and each of these is moved by a cluster of cases by the sum
    of its cases' differences in placement value. Averaged over the classes, the influences :math:`l_k` of
    the clusters give the variance

    .. math:: \frac{k}{k - 1} \sum_k l_k^2

    which is DeLong's idea carried over to a mean of AUCs on the same cases; k is the smallest number of
    clusters that have cases of a class, so that the correction is that of the rarest class.

    Parameters
    ----------
    y : array_like of int, shape (n,)
        Class of each case, 0 to K - 1, every one present.
    scores_a, scores_b : array_like, shape (n, K)
        Scores of each class; only their order within a class counts.
    cluster : array_like, shape (n,), optional
        Patient of each image, when patients recur.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        As :func:`compare_auc`; ``details`` has the two macro-averaged AUCs.

    Raises
    ------
    ValueError
        If a class is absent or has cases in fewer than 2 clusters, a score is NaN, or shapes do not agree.
    """
    label = np.asarray(y)
    tables = [np.asarray(table) for table in (scores_a, scores_b)]
    n_classes = tables[0].shape[1] if tables[0].ndim == 2 else 0
    if any(table.shape != (len(label), n_classes) for table in tables) or n_classes < 2:
        raise ValueError(
            f"scores of shape {tables[0].shape} and {tables[1].shape} do not fit {len(label)} cases"
        )
    if sorted(set(label.tolist())) != list(range(n_classes)):
        raise ValueError(f"y does not hold every class from 0 to {n_classes - 1}, and nothing else")
    membership, n_clusters = cluster_index(np.arange(len(label)) if cluster is None else cluster, len(label))
    areas = np.empty((2, n_classes))
    influence = np.zeros(n_clusters)
    differences, least = [], n_clusters
    for number in range(n_classes):
        positive = label == number
        first, second = (
            placements(positive, checks.real(table[:, number], len(label), name="scores", infinite=True))
            for table in tables
        )
        areas[:, number] = first.auc, second.auc
        pairs = len(first.positive) * len(first.negative)
        differences.append(float((first.positive - second.positive).sum() / pairs))
        for values, members in (
            (first.positive - second.positive, membership[positive]),
            (first.negative - second.negative, membership[~positive]),
        ):
            influence += np.bincount(members, values - values.mean(), minlength=n_clusters) / pairs
            least = min(least, len(np.unique(members)))
    if least < 2:
        raise ValueError("the variance needs 2 clusters with cases of every class; a class has 1")
    variance = least / (least - 1) * float(np.sum((influence / n_classes) ** 2))
    return _difference(
        math.fsum(differences) / n_classes,
        variance,
        method="paired, influence of clusters on the mean over classes",
        level=level,
        n={"cases": len(label), "classes": n_classes, "clusters": n_clusters},
        details={"auc_a": float(areas[0].mean()), "auc_b": float(areas[1].mean())},
    )


def compare_auc_unpaired(
    y_a: ArrayLike, score_a: ArrayLike, y_b: ArrayLike, score_b: ArrayLike, *, level: float = 0.95
) -> Estimate:
    r"""Difference of the AUCs of two separate groups of cases, a minus b.

    The test is Welch's t on the two DeLong variances with

    .. math:: \nu = \frac{(v_a + v_b)^2}{v_a^2/(n_a - 1) + v_b^2/(n_b - 1)}

    degrees of freedom, as in pROC (Robin et al. 2011, BMC Bioinformatics 12:77).

    Parameters
    ----------
    y_a, score_a : array_like, shape (n_a,)
        Reference standard and score of the first group.
    y_b, score_b : array_like, shape (n_b,)
        Those of the second group, of other patients.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        Difference, interval cut at -1 and 1, ``statistic`` t, ``df`` and two-sided ``p_value``; as
        :func:`compare_auc` where both variances are 0.

    Raises
    ------
    ValueError
        As :func:`compare_auc`.
    """
    areas, variances, sizes = [], [], []
    for group, y, score in (("a", y_a, score_a), ("b", y_b, score_b)):
        result = auc(y, score)
        if result.details["variance"] is None:
            raise ValueError(f"comparing AUCs needs 2 cases of each class; group {group} has {result.n}")
        areas.append(result.estimate)
        variances.append(result.details["variance"])
        sizes.append(result.n["cases"])
    variance = sum(variances)
    df = None
    if variance > 0:
        df = variance**2 / sum(v**2 / (size - 1) for v, size in zip(variances, sizes, strict=True))
    return _difference(
        areas[0] - areas[1],
        variance,
        method="unpaired DeLong, Welch",
        level=level,
        n={"cases_a": sizes[0], "cases_b": sizes[1]},
        details={"auc_a": areas[0], "auc_b": areas[1]},
        df=df,
    )


# --- parts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Terms:
    s10: float
    s01: float
    s11: float
    variance: float


def _obuchowski_terms(
    place: Placements, positive: BoolArray, membership: checks.IntArray, n_clusters: int
) -> _Terms:
    n_positive, n_negative = len(place.positive), len(place.negative)
    sums, clusters_with = [], []
    for values, members, others in (
        (place.positive, membership[positive], n_negative),
        (place.negative, membership[~positive], n_positive),
    ):
        size = np.bincount(members, minlength=n_clusters)
        total = np.bincount(members, values, minlength=n_clusters)
        sums.append((total - size * (values.sum() / len(values))) / others)
        clusters_with.append(int(np.count_nonzero(size)))
    if min(clusters_with) < 2:
        raise ValueError(
            "the clustered variance needs 2 clusters with positive and 2 with negative cases; "
            f"there are {clusters_with[0]} and {clusters_with[1]}"
        )
    k10, k01 = clusters_with
    s10 = k10 / ((k10 - 1) * n_positive) * float(sums[0] @ sums[0])
    s01 = k01 / ((k01 - 1) * n_negative) * float(sums[1] @ sums[1])
    s11 = n_clusters / (n_clusters - 1) * float(sums[0] @ sums[1])
    variance = s10 / n_positive + s01 / n_negative + 2 * s11 / (n_positive * n_negative)
    return _Terms(s10, s01, s11, max(variance, 0.0))


def _delong_variance(place: Placements) -> float | None:
    """None where a class has fewer than 2 cases."""
    variance = 0.0
    for values, weight, others in (
        (place.positive, place.weight_positive, place.weight_negative.sum()),
        (place.negative, place.weight_negative, place.weight_positive.sum()),
    ):
        size = len(values)
        if size < 2:
            return None
        deviation = (values - values @ weight / weight.sum()) / others
        share = weight / weight.sum()
        variance += size / (size - 1) * float(np.sum((share * deviation) ** 2))
    return variance


def _case_weights(weight: ArrayLike, positive: BoolArray) -> FloatArray:
    values = checks.real(weight, len(positive), name="weight")
    if (values < 0).any():
        raise ValueError(f"weight[{int(np.flatnonzero(values < 0)[0])}] is negative")
    for name, members in (("positive", positive), ("negative", ~positive)):
        if not values[members].sum() > 0:
            raise ValueError(f"the {name} cases have a total weight of 0")
    return values


def _counts(positive: BoolArray) -> dict[str, int]:
    n_positive = int(np.count_nonzero(positive))
    return {"cases": len(positive), "positive": n_positive, "negative": len(positive) - n_positive}


def _estimate(
    value: float,
    variance: float | None,
    *,
    n: dict[str, int],
    method: str,
    level: float,
    interval: Interval,
    details: dict[str, float],
) -> Estimate:
    if interval not in ("wald", "logit"):
        raise ValueError(f"interval is {interval!r}, not 'wald' or 'logit'")
    se = None if variance is None else math.sqrt(variance)
    low = high = None
    method = f"{method}, {'Wald interval cut at 0 and 1' if interval == 'wald' else 'logit interval'}"
    z = float(stats.norm.isf((1 - checks.fraction(level, name="level", open_ends=True)) / 2))
    if se is None:
        method += "; no interval: a class has one case, the variance needs two"
    elif interval == "wald":
        low, high = max(value - z * se, 0.0), min(value + z * se, 1.0)
    elif 0 < value < 1:
        half = z * se / (value * (1 - value))
        low, high = (float(special.expit(special.logit(value) + side * half)) for side in (-1, 1))
    else:
        method += f"; no interval: the log-odds of {value:.0f} are infinite"
    if low is not None and se == 0:
        method += _FLAT
    return Estimate(
        name="AUC",
        estimate=value,
        low=low,
        high=high,
        level=level,
        method=method,
        n=n,
        details={"variance": variance, "se": se, **details},
    )


def _difference(
    value: float,
    variance: float,
    *,
    method: str,
    level: float,
    n: dict[str, int],
    details: dict[str, float],
    df: float | None = None,
) -> Estimate:
    """Difference of two AUCs; the normal distribution where there are no degrees of freedom."""
    tail = (1 - checks.fraction(level, name="level", open_ends=True)) / 2
    se = math.sqrt(variance)
    low = high = p_value = statistic = None
    if se > 0:
        statistic = value / se
        reference = stats.norm if df is None else stats.t(df)
        p_value = float(2 * reference.sf(abs(statistic)))
        half = float(reference.isf(tail)) * se
        low, high = max(value - half, -1.0), min(value + half, 1.0)
    elif value == 0:
        low = high = 0.0
        p_value = 1.0
        method += "; difference 0 with variance 0"
    else:
        method += "; the variance is 0 and the difference is not: no test, use a permutation test"
    return Estimate(
        name="difference in AUC",
        estimate=value,
        low=low,
        high=high,
        level=level,
        method=method,
        p_value=p_value,
        statistic=statistic,
        df=df,
        n=n,
        details={**details, "variance": variance, "se": se},
    )
