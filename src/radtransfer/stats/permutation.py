r"""Permutation tests: exact where all arrangements can be listed, otherwise with random ones.

With *M* random arrangements of which *b* are at least as extreme as the data, :math:`p = (b + 1)/(M + 1)`:
never 0, and never too small on average (Phipson and Smyth 2010).

References
----------
.. [1] Bandos AI, Rockette HE, Gur D. A permutation test sensitive to differences in areas for comparing ROC
   curves from a paired design. Stat Med 2005;24:2873-2893.
.. [2] Phipson B, Smyth GK. Permutation p-values should never be zero. Stat Appl Genet Mol Biol 2010;9:39.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from radtransfer.stats import checks
from radtransfer.stats.auc import placements
from radtransfer.stats.bootstrap import WeightedAUC
from radtransfer.stats.checks import BoolArray, FloatArray, IntArray
from radtransfer.stats.clusters import cluster_index
from radtransfer.stats.disparity import group_index
from radtransfer.stats.result import Estimate

Method: TypeAlias = Literal["auto", "exact", "monte_carlo"]

_TABLES = 200_000  # arrangements listed at most
_BLOCK_NUMBERS = 1_000_000
_SAME = 1e-12  # statistics nearer than this are equal but for rounding


def permutation_auc(
    y: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    n_permutations: int = 9999,
    seed: int,
) -> Estimate:
    """Permutation test of the difference of two AUCs on the same cases, a minus b.

    Under the null hypothesis the two scores of a case, as ranks among all cases, may be exchanged (Bandos
    2005). Whole patients are exchanged where clusters are given.

    Parameters
    ----------
    y : array_like, shape (n,)
        Reference standard, 0 or 1.
    score_a, score_b : array_like, shape (n,)
        The two scores of each case; their scales need not agree.
    cluster : array_like, shape (n,), optional
        Patient of each image, when patients recur.
    n_permutations : int
        Random exchanges; all of them are listed instead where there are no more than this.
    seed : int
        Seed of the random exchanges.

    Returns
    -------
    Estimate
        Difference with two-sided ``p_value`` and no interval; ``details`` holds ``auc_a``, ``auc_b``,
        ``n_permutations`` and ``exact``.

    Raises
    ------
    ValueError
        If labels are not 0 and 1, a class is absent, a score is NaN, or lengths differ.
    """
    positive = checks.classes(y)
    n_cases = len(positive)
    wanted = checks.count(n_permutations, name="n_permutations", least=1)
    scores = [
        checks.real(score, n_cases, name=name, infinite=True)
        for name, score in (("score_a", score_a), ("score_b", score_b))
    ]
    member, n_units = np.arange(n_cases), n_cases
    if cluster is not None:
        member, n_units = cluster_index(cluster, n_cases)
    auc_a, auc_b = (placements(positive, score).auc for score in scores)
    observed = auc_a - auc_b
    # both ranks of a case stand in one list; an exchange moves weight from one to the other
    curve = WeightedAUC(
        np.arange(2 * n_cases),
        np.concatenate([positive, positive]),
        np.concatenate([stats.rankdata(score) for score in scores]),
        np.concatenate([member, member + n_units]),
        2 * n_units,
    )
    exact = n_units < 63 and 2**n_units <= wanted
    extreme = total = 0
    for swap in _exchanges(n_units, None if exact else wanted, curve.n_steps, seed):
        kept = 1 - swap
        difference = curve.auc(np.concatenate([kept, swap])) - curve.auc(np.concatenate([swap, kept]))
        extreme += int(np.count_nonzero(np.abs(difference) >= abs(observed) - _SAME))
        total += swap.shape[1]
    n = {"cases": n_cases, "positive": int(positive.sum()), "negative": int((~positive).sum())}
    if cluster is not None:
        n["clusters"] = n_units
    return Estimate(
        name="difference in AUC",
        estimate=observed,
        method=f"permutation of {'patients' if cluster is not None else 'cases'} (Bandos 2005), "
        + ("all exchanges" if exact else f"{total} random exchanges"),
        p_value=extreme / total if exact else (extreme + 1) / (total + 1),
        n=n,
        details={"auc_a": auc_a, "auc_b": auc_b, "n_permutations": total, "exact": exact},
    )


def permutation_disparity(
    hit: ArrayLike,
    group: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    stratum: ArrayLike | None = None,
    method: Method = "auto",
    n_permutations: int = 9999,
    seed: int = 0,
) -> Estimate:
    """Permutation test of the gap between groups in a rate: largest minus smallest.

    For equal opportunity give the positive cases and whether each was detected; for equalised odds all cases,
    whether each was called positive, and the reference standard as stratum. Group labels are permuted
    among the cases (or whole patients), group sizes kept; for intersections give the joint label. Where
    patients lie in several groups (a later image is of an older patient), the labels of a patient's cases go
    together to another patient with as many cases in each stratum, in random order within the stratum.

    Parameters
    ----------
    hit : array_like, shape (n,)
        1 where the decision was positive (right), else 0.
    group : array_like, shape (n,)
        Group of each case.
    cluster : array_like, shape (n,), optional
        Patient of each case, when patients recur; a patient belongs to one group.
    method : {"auto", "exact", "monte_carlo"}
        Exact sums over all divisions of the hits among the groups; ``"auto"`` does so where there are at most
        200,000 and no clusters.
    n_permutations : int
        Random permutations otherwise.
    seed : int
        Their seed.

    Returns
    -------
    Estimate
        Gap with its ``p_value``; ``details`` holds ``exact``, ``n_permutations`` (of the exact test the
        number of arrangements of the labels, None beyond 2**53) and the groups' ``rates`` over all strata.

    Raises
    ------
    ValueError
        If values are not 0 and 1, lengths differ, a group is missing or alone, a group has no case in a
        stratum, or an exact test is asked for that is not available.

    Examples
    --------
    >>> result = permutation_disparity([1, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    >>> round(result.estimate, 4), round(result.p_value, 4), result.details["n_permutations"]
    (0.6667, 0.4, 20)
    """
    hits = checks.binary(hit, name="hit")
    names, number = group_index(group, len(hits))
    if method not in ("auto", "exact", "monte_carlo"):
        raise ValueError(f"method is {method!r}, not 'auto', 'exact' or 'monte_carlo'")
    wanted = checks.count(n_permutations, name="n_permutations", least=1)
    size = np.bincount(number)
    rates = np.bincount(number, hits) / size
    layer = _layers(stratum, number)
    observed = float(_gaps(*_totals(hits, number, layer)))
    n_tables = math.prod(int(min(s, hits.sum())) + 1 for s in size[:-1])
    available = cluster is None and stratum is None and n_tables <= _TABLES
    if method == "exact" and not available:
        raise ValueError(
            "the exact test is not available with clusters, strata or so many cases: use 'monte_carlo'"
        )
    exact = available and method != "monte_carlo"
    n = {"cases": len(hits), "groups": len(names)}
    total: int | None = wanted
    if exact:
        gap, chance = _hypergeometric_gaps(size, int(hits.sum()))
        p_value = min(float(chance[gap >= observed - _SAME].sum()), 1.0)
        total = _arrangements(size)
    else:
        rng = np.random.default_rng(seed)
        if cluster is None and stratum is None:
            gaps = np.ptp(rng.multivariate_hypergeometric(size, int(hits.sum()), size=wanted) / size, axis=1)
        else:
            member = np.arange(len(hits))
            if cluster is not None:
                member, n["clusters"] = cluster_index(cluster, len(hits))
            gaps = _clustered_gaps(hits, number, layer, member, wanted, rng)
        p_value = (int(np.count_nonzero(gaps >= observed - _SAME)) + 1) / (wanted + 1)
    return Estimate(
        name="gap between groups",
        estimate=observed,
        method="permutation of group labels, " + ("exact" if exact else f"{wanted} random permutations"),
        p_value=p_value,
        n=n,
        details={
            "exact": exact,
            "n_permutations": total,
            "rates": dict(zip(names, rates.tolist(), strict=True)),
        },
    )


# --- parts ------------------------------------------------------------------------------------------------


def _exchanges(n_units: int, n_random: int | None, n_rows: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Whether each unit is exchanged, in blocks (n_units, block): random, or all possibilities."""
    total = 2**n_units if n_random is None else n_random
    block = max(_BLOCK_NUMBERS // max(n_rows, n_units), 1)
    rng = np.random.default_rng(seed)
    for done in range(0, total, block):
        width = min(block, total - done)
        if n_random is None:
            swap = np.arange(done, done + width) >> np.arange(n_units)[:, None] & 1
        else:
            swap = rng.integers(0, 2, size=(width, n_units), dtype=np.int8).T
        yield np.ascontiguousarray(swap, dtype=np.float32)


def _hypergeometric_gaps(size: IntArray, n_hits: int) -> tuple[FloatArray, FloatArray]:
    """Gap and probability of every division of the hits among groups of given sizes."""
    choices = [np.arange(min(int(s), n_hits) + 1) for s in size[:-1]]
    tables = np.stack(np.meshgrid(*choices, indexing="ij"), axis=-1).reshape(-1, len(choices))
    last = n_hits - tables.sum(axis=1)
    possible = (last >= 0) & (last <= size[-1])
    tables = np.column_stack([tables, last])[possible]
    log_chance = _log_choose(size, tables).sum(axis=1) - _log_choose(size.sum(), np.array(n_hits))
    return np.ptp(tables / size, axis=1), np.exp(log_chance)


def _arrangements(size: IntArray) -> int | None:
    """Ways to divide cases into groups of given sizes; None where a float could not hold the number."""
    log_number = special.gammaln(size.sum() + 1) - special.gammaln(size + 1).sum()
    if log_number > math.log(2**53):
        return None
    left = np.cumsum(size)
    return math.prod(math.comb(int(n), int(k)) for n, k in zip(left, size, strict=True))


def _log_choose(n: IntArray, k: IntArray) -> FloatArray:
    result: FloatArray = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return result


def _layers(stratum: ArrayLike | None, number: IntArray) -> IntArray:
    """Number of each case's stratum."""
    if stratum is None:
        return np.zeros(len(number), dtype=np.int64)
    labels = np.asarray(stratum)
    if labels.shape != number.shape:
        raise ValueError(f"stratum has shape {labels.shape}, {number.shape} expected")
    names, layer = np.unique(labels, return_inverse=True)
    present = np.unique(np.column_stack([layer, number]), axis=0)
    if len(present) < len(names) * (number.max() + 1):
        raise ValueError("a group has no case in a stratum: its rate there is undefined")
    return layer.astype(np.int64)


def _totals(hits: BoolArray, labels: IntArray, layer: IntArray) -> tuple[FloatArray, FloatArray]:
    """Hits and cases by group and stratum, (n_groups, n_layers)."""
    shape = int(labels.max()) + 1, int(layer.max()) + 1
    place = labels * shape[1] + layer
    hit, case = (
        np.bincount(place, weight, minlength=math.prod(shape)).astype(np.float64).reshape(shape)
        for weight in (hits, np.ones(len(hits)))
    )
    return hit, case


def _gaps(hit: FloatArray, case: FloatArray) -> FloatArray:
    """Largest gap of a stratum, of hits and cases (n_groups, ..., n_layers); no case, no rate."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(case > 0, hit / case, np.nan)
    gap: FloatArray = (np.nanmax(rate, axis=0) - np.nanmin(rate, axis=0)).max(axis=-1)
    return gap


def _clustered_gaps(
    hits: BoolArray,
    number: IntArray,
    layer: IntArray,
    member: IntArray,
    n_permutations: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Gaps after permuting the group labels of whole clusters."""
    label = np.zeros(member.max() + 1, dtype=np.int64)
    label[member] = number
    inside = np.equal.outer(layer, np.arange(layer.max() + 1)).astype(np.float32)
    columns = np.concatenate([hits[:, None] * inside, inside], axis=1)
    if whole := bool((label[member] == number).all()):
        columns = np.stack([np.bincount(member, column) for column in columns.T], axis=1, dtype=np.float32)
    alike = [] if whole else _alike(layer, member)
    gaps = np.empty(n_permutations)
    block = max(_BLOCK_NUMBERS // len(columns), 1)
    for done in range(0, n_permutations, block):
        width = min(block, n_permutations - done)
        if whole:
            labels = rng.permuted(np.broadcast_to(label, (width, len(label))), axis=1)
        else:
            labels = _exchanged(number.astype(np.int16), layer, alike, width, rng)
        # numpy multiplies single precision fast, and counts below 2**24 are exact in it
        totals = np.stack([(labels == g).astype(np.float32) @ columns for g in range(int(number.max()) + 1)])
        gaps[done : done + width] = _gaps(*np.split(totals.astype(np.float64), 2, axis=-1))
    return gaps


def _alike(layer: IntArray, member: IntArray) -> list[IntArray]:
    """Cases of clusters with equally many cases in each stratum, (n_clusters, n_cases of one), by stratum."""
    order = np.lexsort([layer, member])
    composition: dict[tuple[int, ...], list[IntArray]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(member[order])) + 1):
        composition.setdefault(tuple(layer[rows].tolist()), []).append(rows)
    return [np.stack(rows) for rows in composition.values()]


def _exchanged(
    number: IntArray, layer: IntArray, alike: list[IntArray], width: int, rng: np.random.Generator
) -> IntArray:
    """Labels after clusters that are alike have exchanged theirs, (width, n_cases)."""
    labels = np.empty((width, len(number)), dtype=number.dtype)
    for rows in alike:
        if rows.shape[1] == 1:  # most patients: no order within
            labels[:, rows[:, 0]] = rng.permuted(
                np.broadcast_to(number[rows[:, 0]], (width, len(rows))), axis=1
            )
            continue
        taken = number[rows][rng.random((width, len(rows))).argsort(axis=1)]
        for stratum in np.unique(layer[rows[0]]):
            columns = layer[rows[0]] == stratum
            if columns.sum() > 1:
                taken[..., columns] = rng.permuted(taken[..., columns], axis=2)
        labels[:, rows] = taken
    return labels
