"""Power and sample size of a new multi-reader study, from a pilot study's components.

References
----------
.. [1] Hillis SL, Obuchowski NA, Berbaum KS. Power estimation for multireader ROC methods: an updated and
   unified approach. Acad Radiol 2011;18:129-142 (noncentrality: eq. 12; degrees of freedom: eq. 13).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from radtransfer.stats.mrmc.obuchowski_rockette import Effect, check_effects
from radtransfer.stats.mrmc.result import MRMCResult
from radtransfer.stats.result import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ORComponents:
    """Variances of one accuracy, and the number of cases that its error terms belong to.

    Parameters
    ----------
    var_interaction : float
        Modality by reader variance.
    var_error, cov1, cov2, cov3 : float
        Error variance and covariances of an accuracy estimated from ``n_cases`` cases; they shrink as
        1/cases, at the same share of positive cases.
    n_cases : int
        Cases of the pilot.
    """

    var_interaction: float
    var_error: float
    cov1: float
    cov2: float
    cov3: float
    n_cases: int

    def __post_init__(self) -> None:
        if self.n_cases < 2 or self.var_error <= 0:
            raise ValueError("a pilot needs at least two cases and a positive error variance")

    @classmethod
    def from_result(cls, result: MRMCResult) -> ORComponents:
        """Components of an Obuchowski-Rockette analysis, whichever its fixed factor."""
        needed = ("var_interaction", "var_error", "cov1", "cov2", "cov3")
        if any(name not in result.components for name in needed):
            raise ValueError(
                "only a result of obuchowski_rockette with two readers or more has these components"
            )
        cases = {"sensitivity": "positive", "specificity": "negative"}.get(result.metric)
        counts = result.n | {"negative": result.n["cases"] - result.n["positive"]}
        return cls(
            **{name: result.components[name] for name in needed},
            n_cases=counts[cases] if cases else counts["cases"],
        )


def power(
    *,
    components: ORComponents,
    difference: float,
    n_readers: int,
    n_cases: int,
    readers: Effect = "random",
    cases: Effect = "random",
    alpha: float = 0.05,
) -> Estimate:
    """Power of a factorial study of two modalities to find a difference.

    Parameters
    ----------
    components : ORComponents
        From a pilot (:meth:`ORComponents.from_result`) or from assumptions.
    difference : float
        True difference in mean accuracy, of either sign.
    n_readers, n_cases : int
        Size of the new study (for sensitivity and specificity: cases of that class).
    readers, cases : {"random", "fixed"}
    alpha : float
        Two-sided level of the test.

    Returns
    -------
    Estimate
        ``estimate`` is the power; ``details`` has ``noncentrality``, ``df1``, ``df2`` (None: infinite) and
        ``critical`` ([1]_ eq. 12 and 13; negative variance estimates are taken as 0).
    """
    check_effects(readers, cases)
    if n_readers < 1 or n_cases < 2 or (readers == "random" and n_readers < 2):
        raise ValueError(f"{n_readers} readers and {n_cases} cases are too few for {readers} readers")
    if not 0 < abs(difference) <= 1:
        raise ValueError(f"difference is {difference}; a value between 0 and 1 in size, not 0, is needed")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, not between 0 and 1")
    shrink = components.n_cases / n_cases
    shared = max(components.cov2 - components.cov3, 0.0) * shrink
    own = (
        max(components.var_error - components.cov1 - max(components.cov2 - components.cov3, 0.0), 0.0)
        * shrink
    )
    interaction = own + max(components.var_interaction, 0.0)  # expected MS(TR)
    if readers == "fixed":
        denominator, df2 = own + n_readers * shared, math.inf
    else:
        denominator = interaction + (n_readers * shared if cases == "random" else 0.0)
        df2 = denominator**2 / (interaction**2 / (n_readers - 1)) if interaction > 0 else math.inf
    if denominator <= 0:
        raise ValueError("the components leave no variance: power is not defined")
    noncentrality = n_readers * difference**2 / 2 / denominator
    if math.isinf(df2):
        critical = float(stats.chi2.isf(alpha, 1))
        value = float(stats.ncx2.sf(critical, 1, noncentrality))
    else:
        critical = float(stats.f.isf(alpha, 1, df2))
        value = float(stats.ncf.sf(critical, 1, df2, noncentrality))
    return Estimate(
        name="power",
        estimate=min(max(value, 0.0), 1.0),
        level=1 - alpha,
        method=(
            f"Hillis, Obuchowski, Berbaum 2011; {readers} readers, {cases} cases, two-sided alpha {alpha:g}"
        ),
        n={"readers": n_readers, "cases": n_cases},
        details={
            "difference": difference,
            "noncentrality": noncentrality,
            "df1": 1,
            "df2": None if math.isinf(df2) else df2,
            "critical": critical,
        },
    )


def sample_size(
    *,
    components: ORComponents,
    difference: float,
    n_readers: int,
    target: float = 0.8,
    readers: Effect = "random",
    cases: Effect = "random",
    alpha: float = 0.05,
    largest: int = 100_000,
) -> Estimate:
    """Fewest cases that give a number of readers the wanted power.

    Parameters
    ----------
    components, difference, n_readers, readers, cases, alpha
        As in :func:`power`.
    target : float
        Wanted power.
    largest : int
        Most cases to consider.

    Returns
    -------
    Estimate
        ``estimate`` is the number of cases, ``details["power"]`` what they give.

    Raises
    ------
    ValueError
        If ``largest`` cases are not enough: with few readers the variation between readers sets a ceiling
        that no number of cases lifts; the message says the power reached.
    """
    if not alpha < target < 1:
        raise ValueError(f"target power {target} is not between alpha and 1")

    def reached(n_cases: int) -> Estimate:
        return power(
            components=components,
            difference=difference,
            n_readers=n_readers,
            n_cases=n_cases,
            readers=readers,
            cases=cases,
            alpha=alpha,
        )

    best = reached(largest)
    if best.estimate < target:
        raise ValueError(
            f"{n_readers} readers reach a power of {best.estimate:.3f} with {largest} cases, not {target:g}: "
            "take more readers"
        )
    low, high = 1, largest  # power grows with cases; high always suffices
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle).estimate >= target else (middle, high)
    result = reached(high)
    return Estimate(
        name="cases needed",
        estimate=high,
        level=result.level,
        method=result.method,
        n={"readers": n_readers, "cases": high},
        details=result.details | {"power": result.estimate},
    )
