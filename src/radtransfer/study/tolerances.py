"""How far a recomputed number may lie from the published one: one rule for all numbers.

Publishing applies it, so that every number carries its tolerance in ``numbers.json``. Three cases:

- What follows from data and parameters alone has to be the same: counts, cohorts, readers. So has a
  name or a verdict, since it is a conclusion.
- What rests on trained models may move when they are trained again, since the bits of a trained network
  depend on processor and number of threads. It may move by :data:`SHARE` of the half-width of its own
  95 % interval, about one standard error, to either side: a shift of that size leaves the new estimate well
  inside the published interval and changes no conclusion that the interval allowed.
- Times are of one machine, and some quantities have neither interval nor count to derive a width from.
  They carry no tolerance; :func:`why_none` says why, and a report shows them as not comparable.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import sqrt
from typing import TYPE_CHECKING, Final

from scipy.stats import norm

from radtransfer.report.numbers import Tolerance

if TYPE_CHECKING:
    from radtransfer.report.numbers import Number

SHARE: Final = 0.5
"""Part of the half-width of a 95 % interval by which a number may move."""

Z: Final = 1.96
"""Half-width of a 95 % interval in standard errors."""

UNITS: Final = ("patients", "groups of similar images", "cases", "images")
"""Counts of what is independent, or of what there is of it; the smallest of a number's own is taken."""

DATA_ALONE: Final = ("01_data_curation", "09_reader_study")
"""Notebooks that look at no model trained by the study."""

BY_DESIGN: Final = ("tests.*.smallest_p", "subgroups.*.margin", "explain.*.setup.area")
"""Numbers of other notebooks that follow from data and parameters, although they are no counts."""

NONE: Final = {
    "ablation.cost.hours": "a time: of one machine",
    "ablation.cost.energy": "follows from a time: of one machine",
    "utility.compute.*": "a time, or an energy that follows from it: of one machine",
    "training.*.source": "where the weights were had from, not what they are",
    "training.*.epochs": "where training stops depends on the last bits, and it was not repeated with seeds",
    "tests.*.n_better": "a tally of verdicts; the estimates behind it are compared themselves",
    "tests.*.n_worse": "a tally of verdicts; the estimates behind it are compared themselves",
    "tests.*.n_disagree": "a tally of verdicts; the estimates behind it are compared themselves",
    "subgroups.*.n_*found*": "a tally of verdicts; the gaps behind it are compared themselves",
    "utility.queue.flagged.*": "its interval tells the error of the simulation, not that of the network",
}
"""Numbers without a tolerance, by pattern of their keys, and why."""

NOTHING_TO_DERIVE_FROM: Final = "it rests on trained models and has neither an interval nor a count"


def tolerance_of(number: Number) -> Tolerance | None:
    """Tolerance of a number by the rule of this module; one that was declared with it goes before.

    Parameters
    ----------
    number : Number
        As a notebook recorded it.

    Returns
    -------
    Tolerance or None
        None where none can be declared, see :func:`why_none`.
    """
    if number.tolerance is not None:
        return number.tolerance
    if _pattern(number.key):
        return None
    by_design = any(fnmatchcase(number.key, pattern) for pattern in BY_DESIGN)
    if number.notebook in DATA_ALONE or by_design or not isinstance(number.value, float):
        return Tolerance(kind="exact")
    half_width = _half_width(number)
    if not half_width:
        return None
    return Tolerance(kind="absolute", value=SHARE * half_width, basis="sampling_error")


def declare(number: Number) -> Number:
    """The number with its tolerance beside it."""
    return number.model_copy(update={"tolerance": tolerance_of(number)})


def why_none(number: Number) -> str:
    """Why a number has no tolerance; empty if it has one."""
    if tolerance_of(number) is not None:
        return ""
    return NONE.get(_pattern(number.key), NOTHING_TO_DERIVE_FROM)


def _pattern(key: str) -> str:
    return next((pattern for pattern in NONE if fnmatchcase(key, pattern)), "")


def _half_width(number: Number) -> float | None:
    """Half-width of the number's 95 % interval, or of one that its count or p-value implies."""
    value = float(number.value)
    to_95 = Z / float(norm.ppf((1 + (number.level or 0.95)) / 2))
    if number.low is not None and number.high is not None and number.high > number.low:
        return (number.high - number.low) / 2 * to_95
    bound = number.high if number.low is None else number.low
    if bound is not None and bound != value:  # one-sided
        return abs(value - bound) * to_95
    if number.unit == "p":
        return _shift_of_p(value) / SHARE
    n = min((count for unit, count in number.n.items() if unit in UNITS), default=0)
    if n and 0 <= value <= 1 and "groups" not in number.n:  # a gap between groups is no proportion
        # Wilson's interval, which has a width at 0 and 1, too
        return Z * sqrt(value * (1 - value) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return None


def _shift_of_p(p: float) -> float:
    """How far a two-sided p-value moves when its estimate moves by the share of its half-width."""
    z = float(norm.isf(p / 2))
    larger, smaller = (2 * float(norm.sf(end)) for end in (max(z - SHARE * Z, 0.0), z + SHARE * Z))
    return max(larger - p, p - smaller)
