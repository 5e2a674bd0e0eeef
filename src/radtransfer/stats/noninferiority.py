r"""Is the new test not worse than the reference by more than a margin fixed beforehand?

Null hypothesis: new minus reference is at most minus the margin. p-values are one-sided; the interval is the
two-sided one at level ``1 - 2 alpha``, whose lower limit decides.

References
----------
.. [1] Chen W, Petrick NA, Sahiner B. Hypothesis testing in noninferiority and equivalence MRMC ROC studies.
   Acad Radiol 2012;19:1158-1165.
.. [2] Tango T. Equivalence test and confidence interval for the difference in proportions for the
paired-sample
   design. Stat Med 1998;17:891-908.
"""

from __future__ import annotations

import math

from scipy import stats

from radtransfer.stats import checks
from radtransfer.stats.paired import tango_interval, tango_z
from radtransfer.stats.result import Estimate


def noninferiority_auc(difference: float, se: float, *, margin: float, alpha: float = 0.025) -> Estimate:
    r"""Non-inferiority of an AUC.

    .. math:: z = (\hat\theta_{new} - \hat\theta_{reference} + \Delta) / \mathrm{SE}

    Parameters
    ----------
    difference, se : float
        AUC of the new test minus that of the reference, and its standard error: ``estimate`` and
        ``details["se"]`` of :func:`radtransfer.stats.auc.compare_auc`.
    margin : float
        Largest loss that is acceptable, between 0 and 1.
    alpha : float
        One-sided level.

    Returns
    -------
    Estimate
        ``details`` holds ``noninferior``, ``margin``, ``alpha``; the interval is cut at -1 and 1.

    Raises
    ------
    ValueError
        If the standard error is not positive, the difference is not in -1 to 1, or margin or level are
        impossible.
    """
    _check_margin(margin, alpha)
    if not -1 <= difference <= 1:
        raise ValueError(f"a difference in AUC of {difference} is impossible")
    if not (math.isfinite(se) and se > 0):
        raise ValueError(f"the standard error is {se}: the test needs a positive one")
    z = (difference + margin) / se
    half = float(stats.norm.isf(alpha)) * se
    return _decision(
        "difference in AUC, new - reference",
        difference,
        z,
        limits=(max(difference - half, -1.0), min(difference + half, 1.0)),
        margin=margin,
        alpha=alpha,
        method="non-inferiority, Wald z",
        n={},
    )


def noninferiority_paired_proportion(
    new_only: float, reference_only: float, n: float, *, margin: float, alpha: float = 0.025
) -> Estimate:
    """Non-inferiority of a paired proportion: sensitivity, specificity or accuracy on the same cases.

    Tango's score test, which exists without discordant pairs too.

    Parameters
    ----------
    new_only, reference_only : int
        Cases that only the new test, and only the reference, called right.
    n : int
        All cases: for sensitivity the positive ones.
    margin : float
        Largest loss that is acceptable, between 0 and 1.
    alpha : float
        One-sided level.

    Returns
    -------
    Estimate
        Difference of the proportions with Tango's interval; ``details`` holds ``noninferior``, ``margin``,
        ``alpha``.

    Raises
    ------
    ValueError
        If counts are impossible or margin or level are.
    """
    _check_margin(margin, alpha)
    b, c = checks.count(new_only, name="new_only"), checks.count(reference_only, name="reference_only")
    pairs = checks.count(n, name="n", least=1)
    return _decision(
        "difference of paired proportions, new - reference",
        (b - c) / pairs,
        tango_z(b, c, pairs, -margin),
        limits=tango_interval(b, c, pairs, level=1 - 2 * alpha),
        margin=margin,
        alpha=alpha,
        method="non-inferiority, Tango score",
        n={"pairs": pairs},
    )


def _check_margin(margin: float, alpha: float) -> None:
    checks.fraction(margin, name="margin", open_ends=True)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}, not between 0 and 0.5")


def _decision(
    name: str,
    value: float,
    z: float,
    *,
    limits: tuple[float, float],
    margin: float,
    alpha: float,
    method: str,
    n: dict[str, int],
) -> Estimate:
    p_value = float(stats.norm.sf(z))
    return Estimate(
        name=name,
        estimate=value,
        low=limits[0],
        high=limits[1],
        level=1 - 2 * alpha,
        method=f"{method}, margin {margin:g}, one-sided p",
        p_value=p_value,
        statistic=z,
        n=n,
        details={"noninferior": p_value < alpha, "margin": margin, "alpha": alpha},
    )
