"""Accuracy by patient group and the gaps between groups.

A group without positive cases has no true positive rate, and one group alone has no gap: neither is scored 0.

References
----------
.. [1] Hardt M, Price E, Srebro N. Equality of opportunity in supervised learning. NeurIPS 2016.
.. [2] Newcombe RG. Interval estimation for the difference between independent proportions. Stat Med
   1998;17:873-890, method 10.
.. [3] Westfall PH, Young SS. Resampling-Based Multiple Testing. Wiley 1993, section 2.3.
.. [4] Cohen J. Statistical Power Analysis for the Behavioral Sciences. 2nd ed. 1988, section 1.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from radtransfer.stats import checks
from radtransfer.stats.checks import IntArray
from radtransfer.stats.proportions import Counts, confusion_counts, proportion
from radtransfer.stats.result import Estimate

_UNDEFINED_ALLOWED = 0.01

SMALL_GROUP = 10
"""Fewer positive (or negative) cases than this make a rate too uncertain to carry a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disparity:
    """Rates by group and the gaps between the groups.

    Parameters
    ----------
    tpr, fpr : mapping of str to Estimate or None
        True and false positive rate of each group with Wilson intervals; None where the group has no
        positive, or no negative, cases.
    equal_opportunity_difference : float or None
        Largest minus smallest true positive rate.
    equalised_odds_difference_worst, equalised_odds_difference_mean : float or None
        Larger, and mean, of the gaps in true and in false positive rate.
    signed_difference : dict of str to Estimate
        With two groups, ``tpr`` and ``fpr`` of the first minus the second in order of name, with Newcombe's
        interval; empty otherwise.
    notes : tuple of str
        Why a gap is None, and which groups are small.
    """

    tpr: Mapping[str, Estimate | None]
    fpr: Mapping[str, Estimate | None]
    equal_opportunity_difference: float | None
    equalised_odds_difference_worst: float | None
    equalised_odds_difference_mean: float | None
    signed_difference: Mapping[str, Estimate]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{'group':<16}{'TPR':>8}{'FPR':>8}"]
        for group in self.tpr:
            rates = (self.tpr[group], self.fpr[group])
            lines.append(f"{group:<16}" + "".join(f"{r.estimate:>8.3f}" if r else f"{'-':>8}" for r in rates))
        gap = self.equal_opportunity_difference
        lines.append(f"equal opportunity difference {'undefined' if gap is None else f'{gap:.3f}'}")
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), allow_nan=False)


def group_index(group: ArrayLike, n: int) -> tuple[list[str], IntArray]:
    """Names of the groups and each case's group number.

    Parameters
    ----------
    group : array_like, shape (n,)
        Group of each case, of any type.
    n : int
        Number of cases expected.

    Returns
    -------
    names : list of str, in order
    number : ndarray of int, shape (n,)

    Raises
    ------
    ValueError
        If the length differs, a group is missing, or there is only one.
    """
    labels = np.asarray(group, dtype=object)
    if labels.shape != (n,):
        raise ValueError(f"group has shape {labels.shape}, ({n},) expected")
    if any(value is None or value != value for value in labels):
        raise ValueError("the group of a case is missing: leave the case out, or make it a group of its own")
    names, number = np.unique(labels.astype(str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"all cases are in group {names[0]}: a gap needs two groups")
    return [str(name) for name in names], number.astype(np.int64)


def disparity(y: ArrayLike, decision: ArrayLike, *, group: ArrayLike, level: float = 0.95) -> Disparity:
    """True and false positive rates by group, and the gaps between the groups.

    The gap of three or more groups is the largest minus the smallest rate, which is above 0 by chance alone
    and more so the smaller the groups are; test it with
    :func:`radtransfer.stats.permutation.permutation_disparity`.

    Parameters
    ----------
    y, decision : array_like, shape (n,)
        Reference standard and decision, 0 or 1.
    group : array_like, shape (n,)
        Group of each case; for intersections join the labels (``"F 60-80"``).
    level : float
        Confidence level of the groups' intervals.

    Returns
    -------
    Disparity

    Raises
    ------
    ValueError
        If values are not 0 and 1, lengths differ, a group is missing, or there is only one.

    Examples
    --------
    >>> result = disparity([1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 0, 1], group=list("AAABBB"))
    >>> result.equal_opportunity_difference
    0.5
    """
    truth, called = checks.binary(y), checks.binary(decision, name="decision")
    names, number = group_index(group, len(truth))
    if len(called) != len(truth):
        raise ValueError(f"y has {len(truth)} values, decision {len(called)}")
    tables = {name: confusion_counts(truth[number == g], called[number == g]) for g, name in enumerate(names)}
    rates = {
        "tpr": {name: _rate(t["tp"], t["tp"] + t["fn"], level) for name, t in tables.items()},
        "fpr": {name: _rate(t["fp"], t["fp"] + t["tn"], level) for name, t in tables.items()},
    }
    gaps = {kind: _gap(by_group) for kind, by_group in rates.items()}
    opportunity, alarm = gaps["tpr"], gaps["fpr"]
    both = None if opportunity is None or alarm is None else (opportunity, alarm)
    return Disparity(
        tpr=rates["tpr"],
        fpr=rates["fpr"],
        equal_opportunity_difference=opportunity,
        equalised_odds_difference_worst=None if both is None else max(both),
        equalised_odds_difference_mean=None if both is None else sum(both) / 2,
        signed_difference=_signed(rates, level) if len(names) == 2 else {},
        notes=tuple(_notes(tables)),
    )


def gap_between(
    name: str,
    rates: ArrayLike,
    resampled: ArrayLike,
    *,
    level: float = 0.95,
    n: dict[str, int] | None = None,
) -> Estimate:
    r"""Largest gap between groups in any measure, with an interval that may reach 0.

    The gap is the largest difference of a pair of groups. Its resamples are all above 0 and too large on
    average, so that their quantiles are no interval. Instead all pairs' intervals
    :math:`|d_{ij} - \hat d_{ij}| \le q\,s_{ij}` hold at once with the given probability, where *q* is the
    quantile of the largest studentised deviation of a resample ([3]_); the limits of the gap are the largest
    of the pairs' limits. The lower one is 0 unless some pair is told apart.

    Parameters
    ----------
    name : str
        What the gap is in.
    rates : array_like, shape (n_measures, n_groups)
        Measure of each group: one row for the AUC, two (true and false positive rate) for equalised odds.
    resampled : array_like, shape (n_measures, n_groups, n_resamples)
        The same of each resample of patients; NaN where undefined.
    level : float
        Confidence level.
    n : dict of str to int, optional
        Counts to report.

    Returns
    -------
    Estimate
        ``p_value`` is that of the studentised largest difference. ``details`` holds ``se`` (the largest of a
        pair), ``n_pairs`` and ``undefined_resamples``; where these are above 1 % or a pair that differs never
        varies, there is neither interval nor test.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or shapes differ.
    """
    points, samples = np.asarray(rates, dtype=float), np.asarray(resampled, dtype=float)
    if points.ndim != 2 or points.shape[1] < 2 or samples.shape[:2] != points.shape or samples.ndim != 3:
        raise ValueError(f"rates of shape {points.shape} and resamples of {samples.shape} make no gap")
    first, second = np.triu_indices(points.shape[1], k=1)
    difference = (points[:, first] - points[:, second]).ravel()
    drawn = (samples[:, first] - samples[:, second]).reshape(len(difference), -1)
    defined = drawn[:, ~np.isnan(drawn).any(axis=0)]
    undefined = drawn.shape[1] - defined.shape[1]
    distance = np.abs(difference)
    details: dict[str, Any] = {"n_pairs": len(distance), "undefined_resamples": undefined, "se": None}
    low = high = p_value = None
    method = f"simultaneous over {len(distance)} differences, {drawn.shape[1]} resamples of patients"
    se = defined.std(axis=1, ddof=1) if defined.shape[1] > 1 else np.zeros(len(distance))
    if undefined > _UNDEFINED_ALLOWED * drawn.shape[1]:
        method += f"; none: {undefined} resamples lack a class of a group"
    elif ((se == 0) & (distance > 0)).any() or not se.any():
        method += "; none: a difference does not vary"
    else:
        varying = se > 0
        deviation = np.abs(defined - difference[:, None])[varying] / se[varying, None]
        largest = deviation.max(axis=0)
        quantile = float(np.quantile(largest, level))
        observed = float((distance[varying] / se[varying]).max())
        low = max(float((distance - quantile * se).max()), 0.0)
        high = min(float((distance + quantile * se).max()), 1.0)
        p_value = (int(np.count_nonzero(largest >= observed)) + 1) / (len(largest) + 1)
        details["se"] = float(se.max())
    return Estimate(
        name=name,
        estimate=float(distance.max()),
        low=low,
        high=high,
        level=level,
        method=method,
        p_value=p_value,
        n=n or {},
        details=details,
    )


def detectable_gap(gap: Estimate, *, n_tests: int, power: float = 0.8) -> float | None:
    r"""Smallest gap that the data would have shown with a given probability, whichever pair of groups has it.

    :math:`(z_{1-\alpha/2mP} + z_{power})\,s` for the pair with the largest standard error *s* ([4]_), where
    *m* is the number of tests of the family, so that Holm's first step is passed, and *P* that of pairs.

    Parameters
    ----------
    gap : Estimate
        From :func:`gap_between`.
    n_tests : int
        Tests of the family.
    power : float
        Probability of finding it.

    Returns
    -------
    float or None
        None where the gap has no interval. A result above 1 says that no gap could have been found.
    """
    if gap.details["se"] is None:
        return None
    tail = (1 - gap.level) / (2 * n_tests * gap.details["n_pairs"])
    return float((stats.norm.isf(tail) + stats.norm.ppf(power)) * gap.details["se"])


def _rate(x: int, n: int, level: float) -> Estimate | None:
    return proportion(x, n, level=level) if n else None


def _gap(rates: Mapping[str, Estimate | None]) -> float | None:
    values = [rate.estimate for rate in rates.values() if rate is not None]
    return max(values) - min(values) if len(values) == len(rates) else None


def _notes(tables: Mapping[str, Counts]) -> list[str]:
    notes = []
    for name, t in tables.items():
        for kind, rate, n in (
            ("positive", "true positive rate", t["tp"] + t["fn"]),
            ("negative", "false positive rate", t["fp"] + t["tn"]),
        ):
            if n == 0:
                notes.append(f"group {name} has no {kind} case: its {rate}, and the gap, are undefined")
            elif n < SMALL_GROUP:
                notes.append(f"group {name} has {n} {kind} cases: its {rate} is very uncertain")
    return notes


def _signed(rates: Mapping[str, Mapping[str, Estimate | None]], level: float) -> dict[str, Estimate]:
    result = {}
    for kind, by_group in rates.items():
        (name_a, a), (name_b, b) = by_group.items()
        if a is None or b is None:
            continue
        sizes = a.n["trials"], b.n["trials"]
        low, high = confint_proportions_2indep(
            round(a.estimate * sizes[0]),
            sizes[0],
            round(b.estimate * sizes[1]),
            sizes[1],
            method="newcomb",
            compare="diff",
            alpha=1 - level,
        )
        value = a.estimate - b.estimate
        result[kind] = Estimate(
            name=f"difference in {kind.upper()}, {name_a} - {name_b}",
            estimate=value,
            low=max(min(float(low), value), -1.0),
            high=min(max(float(high), value), 1.0),
            level=level,
            method="Newcombe",
            n={name_a: sizes[0], name_b: sizes[1]},
        )
    return result
