r"""Bootstrap of whole clusters: patients, not images, are what a study samples.

A resample is a row of weights: how often each cluster was drawn. Every statistic of weighted cases can
therefore be computed for a block of resamples at once; the AUC of all resamples needs one sort of the scores.
Resamples depend on the seed alone, so two calls on one :class:`ClusterBootstrap` are paired: the difference
of their results is the bootstrap of the difference.

References
----------
.. [1] Efron B. Better bootstrap confidence intervals. J Am Stat Assoc 1987;82:171-185 (BCa).
.. [2] Davison AC, Hinkley DV. Bootstrap Methods and their Application. Cambridge 1997, sections 2.4, 3.2,
5.3. .. [3] Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 2007;69:369-390 (randomised
cluster
   bootstrap).
.. [4] LeDell E, Petersen M, van der Laan M. Computationally efficient confidence intervals for
   cross-validated area under the ROC curve estimates. Electron J Stat 2015;9:1583-1607.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special

from radtransfer.stats import checks
from radtransfer.stats.auc import placements
from radtransfer.stats.checks import BoolArray, FloatArray, IntArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.result import Estimate

Method: TypeAlias = Literal["percentile", "bca"]
Weighting: TypeAlias = Literal["groups", "pairs"]

# Weights of a block of resamples by case are the largest arrays held; a block that stays in the processor's
# cache is also the fastest.
_BLOCK_NUMBERS = 1_000_000
_BLOCK_RESAMPLES = 64
_KEPT_NUMBERS = 10_000_000
UNDEFINED_ALLOWED = 0.01


class ClusterBootstrap:
    """Resamples of whole clusters, drawn with replacement.

    Parameters
    ----------
    clusters : array_like, shape (n,)
        Cluster (patient) of each case, of any type. All different: the ordinary bootstrap of cases.
    n_resamples : int
        Number of resamples.
    seed : int
        Seed of the resampling; equal seeds draw equal resamples.
    strata : array_like, shape (n,), optional
        Stratum of each case, constant within a cluster. As many clusters are drawn from each stratum as it
        has. With singleton clusters and the label as stratum it is the usual stratified bootstrap of the AUC.

    Attributes
    ----------
    n_cases, n_clusters, n_resamples : int

    Raises
    ------
    ValueError
        If there is one cluster only, in all or in every stratum (every resample would be the data), a cluster
        lies in two strata, a label is missing, or lengths differ.

    Examples
    --------
    >>> patient = [1, 1, 2, 2, 3, 4, 4, 5]
    >>> bootstrap = ClusterBootstrap(patient, n_resamples=1000, seed=7)
    >>> right, image = [1, 0, 1, 1, 1, 0, 1, 1], [1] * 8
    >>> samples = bootstrap.ratio(right, image)
    >>> accuracy = bootstrap.interval("accuracy", 6 / 8, samples)
    """

    def __init__(
        self, clusters: ArrayLike, *, n_resamples: int = 2000, seed: int, strata: ArrayLike | None = None
    ) -> None:
        self.n_cases = len(np.asarray(clusters, dtype=object))
        member, self.n_clusters = cluster_index(clusters, self.n_cases)
        self.n_resamples = checks.count(n_resamples, name="n_resamples", least=1)
        self._seed = seed
        stratum = np.zeros(self.n_clusters, dtype=np.int64)
        if strata is not None:
            stratum = _stratum_of_cluster(strata, member, self.n_clusters)
        # clusters are numbered by stratum, so that those of a stratum are a range
        number = np.empty(self.n_clusters, dtype=np.int64)
        number[np.argsort(stratum, kind="stable")] = np.arange(self.n_clusters)
        self._member = number[member]
        self._stratum = np.sort(stratum)
        self._stratum_size = np.bincount(stratum)
        if self._stratum_size.max() == 1:
            raise ValueError("every stratum is one cluster: every resample would be the data")
        self._size = self._stratum_size[self._stratum]
        self._start = (np.cumsum(self._stratum_size) - self._stratum_size)[self._stratum]

    # --- resamples ----------------------------------------------------------------------------------------

    def weights(self, n: int | None = None) -> NDArray[np.float64]:
        """How often each case occurs in the first resamples.

        Parameters
        ----------
        n : int, optional
            Number of resamples, all by default.

        Returns
        -------
        ndarray of float64, shape (n, n_cases)
        """
        wanted = self.n_resamples if n is None else checks.count(n, name="n", least=1)
        if wanted > self.n_resamples:
            raise ValueError(f"{wanted} resamples asked for, {self.n_resamples} drawn")
        blocks = [counts[self._member].T for counts in self._counts(wanted, self.n_cases)]
        return np.concatenate(blocks).astype(np.float64)

    def auc(
        self,
        y: ArrayLike,
        score: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        among: ArrayLike | None = None,
        weighting: Weighting = "groups",
    ) -> FloatArray:
        """AUC of every resample.

        Parameters
        ----------
        y : array_like, shape (n_cases,)
            Reference standard, 0 or 1.
        score : array_like, shape (n_cases,)
            Higher means more likely positive.
        groups : array_like, shape (n_cases,), optional
            Folds of a cross-validation: the result is the unweighted mean of the folds' AUCs (LeDell 2015),
            because scores of different models are not comparable.
        among : array_like of bool, shape (n_cases,), optional
            Cases that count; all by default.
        weighting : {"groups", "pairs"}
            Whether groups weigh the same, or by their pairs of a positive and a negative case: the AUC is
            then that of :func:`~radtransfer.stats.auc.stratified_auc`, and a group may lack a class.

        Returns
        -------
        ndarray of float64, shape (n_resamples,)
            NaN where a resample (or, with equal weights, one of its groups) lacks a class. :meth:`interval`
            counts these.

        Raises
        ------
        ValueError
            If labels are not 0 and 1, a class is absent (with equal weights from any group), a score is NaN,
            or lengths differ.
        """
        parts = self._parts(y, score, groups, among, skip=weighting == "pairs")
        if not parts:
            raise ValueError("no group holds both classes: the AUC is undefined")
        won, pairs = self._ranked(parts)[:, :, 1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            if weighting == "pairs":
                samples: FloatArray = won.sum(axis=0) / pairs.sum(axis=0)
            else:
                samples = np.mean(won / pairs, axis=0)
        return samples

    def ranked_pairs(
        self, y: ArrayLike, score: ArrayLike, *, groups: ArrayLike, among: ArrayLike | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Pairs of a positive and a negative case of each group, in the data and in every resample.

        For an AUC that is put together of groups with other weights than :meth:`auc` knows.

        Parameters
        ----------
        y, score, groups, among
            As in :meth:`auc`; a group may lack a class.

        Returns
        -------
        won, pairs : ndarray of float64, shape (n_groups, 1 + n_resamples)
            Pairs ranked rightly, ties counting half, and all pairs; the data come first. Groups are in
            ascending order, 0 for those that lack a class or have no case that counts.

        Raises
        ------
        ValueError
            If labels are not 0 and 1, a class is absent, a score is NaN, or lengths differ.
        """
        parts = self._parts(y, score, groups, among, skip=True)
        _, number = np.unique(np.asarray(groups), return_inverse=True)
        whole = np.zeros((2, number.max() + 1, 1 + self.n_resamples))
        if parts:
            whole[:, [number[rows[0]] for rows, _, _ in parts]] = self._ranked(parts)
        return whole[0], whole[1]

    def ratio(self, numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
        """Ratio of two sums over the cases of every resample.

        Sensitivity is the ratio of true positives to positives, accuracy that of right calls to cases, F1
        that of twice the true positives to positives plus positive calls.

        Parameters
        ----------
        numerator, denominator : array_like, shape (n_cases,) or (k, n_cases)
            Contribution of each case, of one ratio or of k.

        Returns
        -------
        ndarray of float64, shape (n_resamples,) or (k, n_resamples)
            NaN where the denominator is 0.
        """
        shape = np.shape(numerator)[:-1]
        sums = np.array(
            [
                [self._cluster_sums(row) for row in np.reshape(values, (-1, self.n_cases))]
                for values in (numerator, denominator)
            ]
        )
        drawn = [sums @ counts for counts in self._counts(self.n_resamples, self.n_clusters)]
        numerators, denominators = np.concatenate(drawn, axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(denominators == 0, np.nan, numerators / denominators)
        return ratios.reshape(*shape, self.n_resamples)

    def mean_of(self, statistic: Callable[[FloatArray], float]) -> FloatArray:
        """Any other statistic of every resample.

        Parameters
        ----------
        statistic : callable
            Takes case weights, shape (n_cases,), and returns a number, NaN where it is undefined.

        Returns
        -------
        ndarray of float64, shape (n_resamples,)
        """
        return np.array(
            [
                statistic(weight)
                for counts in self._counts(self.n_resamples, self.n_cases)
                for weight in counts[self._member].T.astype(np.float64)
            ]
        )

    # --- influence, for BCa -------------------------------------------------------------------------------

    def auc_influence(self, y: ArrayLike, score: ArrayLike, *, groups: ArrayLike | None = None) -> FloatArray:
        """Empirical influence of each cluster on the AUC: how it changes per unit of the cluster's weight.

        Parameters
        ----------
        y, score, groups
            As in :meth:`auc`.

        Returns
        -------
        ndarray of float64, shape (n_clusters,)
            Sums to 0. By placement values: the pairs a cluster takes part in, less their expectation.
        """
        parts = self._parts(y, score, groups)
        influence = np.zeros(self.n_clusters)
        for rows, positive, values in parts:
            place, member = placements(positive, values), self._member[rows]
            for placement, members, others in (
                (place.positive, member[positive], len(place.negative)),
                (place.negative, member[~positive], len(place.positive)),
            ):
                above = (placement / others - place.auc) / len(placement)
                influence += np.bincount(members, above, minlength=self.n_clusters)
        return influence / len(parts)

    def ratio_influence(self, numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
        """Empirical influence of each cluster on a ratio of sums; arguments as in :meth:`ratio`."""
        top, bottom = (self._cluster_sums(values) for values in (numerator, denominator))
        if bottom.sum() == 0:
            raise ValueError("the denominator is 0: the ratio is undefined")
        influence: FloatArray = (top - bottom * (top.sum() / bottom.sum())) / bottom.sum()
        return influence

    def influence_of(self, statistic: Callable[[FloatArray], float]) -> FloatArray:
        """Jackknife influence of each cluster on any statistic: what leaving the cluster out takes away.

        Parameters
        ----------
        statistic : callable
            As in :meth:`mean_of`; called once per cluster.

        Returns
        -------
        ndarray of float64, shape (n_clusters,)
        """
        left_out = np.array([statistic((self._member != k).astype(float)) for k in range(self.n_clusters)])
        influence: FloatArray = left_out.mean() - left_out
        return influence

    # --- interval -----------------------------------------------------------------------------------------

    def interval(
        self,
        name: str,
        point: float,
        samples: FloatArray,
        *,
        level: float = 0.95,
        method: Method = "percentile",
        influence: FloatArray | None = None,
        n: dict[str, int] | None = None,
    ) -> Estimate:
        r"""Estimate with its bootstrap interval.

        Parameters
        ----------
        name : str
            What is estimated.
        point : float
            Estimate from the data.
        samples : ndarray, shape (n_resamples,)
            Estimates from the resamples, or a difference of two such arrays.
        level : float
            Confidence level.
        method : {"percentile", "bca"}
            Quantiles of the resamples; or these corrected for bias and skewness (Efron 1987), with the
            acceleration :math:`\hat a = \sum_k l_k^3 / 6 (\sum_k l_k^2)^{3/2}` of the clusters' influence
            values :math:`l_k`, centred in their strata.
        influence : ndarray, shape (n_clusters,), optional
            Influence of each cluster on the estimate, for ``"bca"``: :meth:`auc_influence`,
            :meth:`ratio_influence` or :meth:`influence_of`; for a difference the difference of the two.
        n : dict of str to int, optional
            Counts to report; clusters and cases by default.

        Returns
        -------
        Estimate
            ``details`` holds ``se`` (standard deviation of the resamples), ``n_resamples`` and
            ``undefined_resamples``.

        Raises
        ------
        ValueError
            If more than 1 % of the resamples are undefined (a class is absent: stratify), the influence that
            BCa needs is not given, or all resamples lie on one side of the estimate (BCa does not exist).
        """
        checks.fraction(level, name="level", open_ends=True)
        if np.shape(samples) != (self.n_resamples,):
            raise ValueError(f"{name}: {np.shape(samples)} samples, ({self.n_resamples},) expected")
        defined = samples[~np.isnan(samples)]
        undefined = len(samples) - len(defined)
        if undefined > UNDEFINED_ALLOWED * len(samples):
            raise ValueError(
                f"{name}: undefined in {undefined} of {len(samples)} resamples, which lack a class; "
                "draw the resamples in strata of the label, or report no interval"
            )
        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        if method == "bca":
            tails = self._bca_tails(name, point, defined, tails, influence)
        elif method != "percentile":
            raise ValueError(f"method is {method!r}, not 'percentile' or 'bca'")
        low, high = np.quantile(defined, tails)
        what = "percentile" if method == "percentile" else "BCa"
        return Estimate(
            name=name,
            estimate=point,
            low=float(low),
            high=float(high),
            level=level,
            method=f"cluster bootstrap, {what} interval, {self.n_resamples} resamples",
            n={"clusters": self.n_clusters, "cases": self.n_cases} if n is None else dict(n),
            details={
                "se": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
                "n_resamples": self.n_resamples,
                "undefined_resamples": undefined,
            },
        )

    def probability_undefined(self, y: ArrayLike) -> dict[str, float]:
        """Exact probability that a resample lacks a class, so that its AUC is undefined.

        Parameters
        ----------
        y : array_like, shape (n_cases,)
            Reference standard, 0 or 1.

        Returns
        -------
        dict
            ``without_positive``, ``without_negative``, and ``undefined``, their sum (both at once is
            impossible).
        """
        positive = checks.classes(y)
        self._check_length(positive)
        without = []
        for members in (positive, ~positive):
            has = np.bincount(self._member[members], minlength=self.n_clusters) > 0
            lacking = np.bincount(self._stratum, ~has)
            without.append(float(np.prod((lacking / self._stratum_size) ** self._stratum_size)))
        return {
            "without_positive": without[0],
            "without_negative": without[1],
            "undefined": sum(without),
        }

    # --- parts --------------------------------------------------------------------------------------------

    def _counts(self, n_resamples: int, n_rows: int) -> Iterator[NDArray[np.float32]]:
        """How often each cluster is drawn, (n_clusters, block): a resample is a column, rows add up fast."""
        block = int(np.clip(_BLOCK_NUMBERS // max(n_rows, self.n_clusters), 1, _BLOCK_RESAMPLES))
        if self.n_clusters * self.n_resamples > _KEPT_NUMBERS:
            yield from self._draw(n_resamples, block)
            return
        for done in range(0, n_resamples, block):
            yield np.ascontiguousarray(self._kept[:, done : min(done + block, n_resamples)])

    @cached_property
    def _kept(self) -> NDArray[np.float32]:
        """All resamples of few clusters: drawing them takes longer than most statistics of them."""
        return np.concatenate(list(self._draw(self.n_resamples, _BLOCK_RESAMPLES)), axis=1)

    def _draw(self, n_resamples: int, block: int) -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(self._seed)
        for done in range(0, n_resamples, block):
            width = min(block, n_resamples - done)
            # one number per draw whatever the block, so that resamples do not depend on it
            drawn = (rng.random((width, self.n_clusters)) * self._size).astype(np.int64) + self._start
            drawn += np.arange(width)[:, None] * self.n_clusters
            counts = np.bincount(drawn.ravel(), minlength=width * self.n_clusters)
            yield np.ascontiguousarray(counts.reshape(width, self.n_clusters).T, dtype=np.float32)

    def _ranked(self, parts: list[tuple[IntArray, BoolArray, FloatArray]]) -> FloatArray:
        """Pairs ranked rightly, and all pairs, of every part: (2, n_parts, 1 + n_resamples)."""
        curves = [WeightedAUC(*part, self._member, self.n_clusters) for part in parts]
        n = max(curve.n_steps for curve in curves)
        once = np.ones((self.n_clusters, 1), dtype=np.float32)
        blocks = [
            np.stack([curve.pairs(counts) for curve in curves], axis=1)
            for counts in chain([once], self._counts(self.n_resamples, n))
        ]
        return np.concatenate(blocks, axis=2)

    def _cluster_sums(self, values: ArrayLike) -> FloatArray:
        cases = checks.real(values, self.n_cases, name="numerator or denominator")
        sums = np.bincount(self._member, cases, minlength=self.n_clusters)
        return np.asarray(sums, dtype=np.float64)

    def _parts(
        self,
        y: ArrayLike,
        score: ArrayLike,
        groups: ArrayLike | None,
        among: ArrayLike | None = None,
        *,
        skip: bool = False,
    ) -> list[tuple[IntArray, BoolArray, FloatArray]]:
        """Rows, labels and scores of each group; with ``skip`` without those that lack a class."""
        positive = checks.classes(y)
        self._check_length(positive)
        values = checks.real(score, self.n_cases, name="score", infinite=True)
        group = np.zeros(self.n_cases) if groups is None else np.asarray(groups)
        if group.shape != (self.n_cases,):
            raise ValueError(f"groups has shape {group.shape}, ({self.n_cases},) expected")
        kept = np.ones(self.n_cases, bool) if among is None else checks.binary(among, name="among")
        self._check_length(kept)
        parts = []
        for name in np.unique(group[kept]):
            rows = np.flatnonzero((group == name) & kept)
            if positive[rows].all() or not positive[rows].any():
                if skip:
                    continue
                raise ValueError(f"group {name} lacks a class: its AUC is undefined")
            parts.append((rows, positive[rows], values[rows]))
        return parts

    def _check_length(self, values: BoolArray) -> None:
        if len(values) != self.n_cases:
            raise ValueError(f"y has {len(values)} values, {self.n_cases} expected")

    def _bca_tails(
        self, name: str, point: float, samples: FloatArray, tails: FloatArray, influence: FloatArray | None
    ) -> FloatArray:
        """Probabilities at which to read the resamples (Efron 1987, eq. 2.9)."""
        if influence is None or np.shape(influence) != (self.n_clusters,):
            raise ValueError(f"{name}: BCa needs the influence of each of the {self.n_clusters} clusters")
        centred = influence - (np.bincount(self._stratum, influence) / self._stratum_size)[self._stratum]
        spread = float(np.sum(centred**2)) ** 1.5
        acceleration = float(np.sum(centred**3)) / (6 * spread) if spread > 0 else 0.0
        below = np.mean(samples < point) + np.mean(samples == point) / 2
        if not 0 < below < 1:
            raise ValueError(f"{name}: all resamples lie on one side of the estimate: no BCa interval exists")
        bias = special.ndtri(below)
        shifted = bias + special.ndtri(tails)
        adjusted: FloatArray = special.ndtr(bias + shifted / (1 - acceleration * shifted))
        return adjusted


class WeightedAUC:
    """AUC of one score for many sets of weights, from one sort.

    The order is cut into steps, each a run of negative cases followed by a run of positive ones, or the cases
    of both classes that tie. A step's positives win against all negatives of earlier steps and against those
    of their own step, half of them in a tie.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        Which cases.
    positive, score : ndarray, shape (n,)
        Their labels and scores.
    member : ndarray of int, shape (n_cases,)
        Cluster of every case.
    n_clusters : int
        Number of clusters.
    """

    def __init__(
        self, rows: IntArray, positive: BoolArray, score: FloatArray, member: IntArray, n_clusters: int
    ) -> None:
        level, place = np.unique(score, return_inverse=True)
        has_positive, has_negative = (
            np.bincount(place[members], minlength=len(level)) > 0 for members in (positive, ~positive)
        )
        tied = has_positive & has_negative
        starts = tied.copy()
        starts[1:] |= tied[:-1] | (has_negative[1:] & has_positive[:-1])
        step = np.cumsum(starts) - starts[0]
        self._won = np.ones((step[-1] + 1, 1), dtype=np.float32)
        self._won[step[tied]] = 0.5
        shape = (step[-1] + 1, n_clusters)
        self._positive, self._negative = (
            sparse.csr_array(
                (np.ones(members.sum(), dtype=np.float32), (step[place[members]], member[rows[members]])),
                shape=shape,
            )
            for members in (positive, ~positive)
        )
        self.n_steps = shape[0]

    def auc(self, counts: NDArray[np.float32]) -> FloatArray:
        """AUC for cluster weights of shape (n_clusters, n_weights), as shape (n_weights,)."""
        won, pairs = self.pairs(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(pairs == 0, np.nan, won / pairs)

    def pairs(self, counts: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
        """Pairs of a positive and a negative case that are ranked rightly (ties half), and all pairs."""
        positive, negative = self._positive @ counts, self._negative @ counts
        passed = np.cumsum(negative, axis=0)
        pairs = positive.sum(axis=0, dtype=np.float64) * passed[-1]
        # negatives passed before the step are those passed with it, less its own
        negative *= 1 - self._won
        passed -= negative
        return np.einsum("ij,ij->j", positive, passed, dtype=np.float64), pairs


def _stratum_of_cluster(strata: ArrayLike, member: IntArray, n_clusters: int) -> IntArray:
    labels = np.asarray(strata, dtype=object)
    if labels.shape != member.shape:
        raise ValueError(f"strata has shape {labels.shape}, {member.shape} expected")
    if any(value is None or value != value for value in labels):
        raise ValueError("the stratum of a case is missing")
    _, number = np.unique(labels.astype(str), return_inverse=True)
    stratum = np.zeros(n_clusters, dtype=np.int64)
    stratum[member] = number
    if (stratum[member] != number).any():
        raise ValueError("a cluster lies in two strata; a stratum must hold whole clusters")
    return stratum
