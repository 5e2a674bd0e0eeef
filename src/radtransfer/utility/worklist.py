r"""A reading queue, in order of arrival and with what a model flags first.

One reader takes one study after the other; arrivals are Poisson, reading times gamma-distributed. A flagged
study goes before all that are not flagged, and nobody is interrupted: an M/G/1 queue with nonpreemptive
priorities.

References
----------
.. [1] Cobham A. Priority assignment in waiting line problems. Oper Res 1954;2:70-76.
.. [2] Gross D, Shortle JF, Thompson JM, Harris CM. Fundamentals of Queueing Theory. 4th ed. Wiley 2008
   (Pollaczek-Khinchine: section 5.1; priorities: section 3.4).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from radtransfer.errors import InputError
from radtransfer.stats.calibration import mean_estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from radtransfer.stats.result import Estimate

Order = Literal["arrival", "flagged", "perfect"]

WARM_UP = 0.2
"""Share of the studies at the start that is not counted: the queue begins empty."""


@dataclass(frozen=True, kw_only=True)
class Worklist:
    """What arrives, and how it is read.

    Attributes
    ----------
    utilisation : float
        Share of the reader's time that the studies need, below 1.
    minutes : float
        Mean reading time.
    variation : float
        Coefficient of variation of the reading time: 0 constant, 1 exponential.
    prevalence : float
        Share of the studies with the condition.
    sensitivity, specificity : float
        Of the model that flags.
    """

    utilisation: float
    minutes: float
    variation: float
    prevalence: float
    sensitivity: float
    specificity: float

    def __post_init__(self) -> None:
        if not 0 < self.utilisation < 1:
            raise InputError(
                f"utilisation {self.utilisation} is not between 0 and 1: the queue would never end"
            )
        if self.minutes <= 0 or self.variation < 0:
            raise InputError("a reading time is positive, and its variation not negative")

    @property
    def per_minute(self) -> float:
        """Studies that arrive in a minute."""
        return self.utilisation / self.minutes

    @property
    def flagged(self) -> float:
        """Share of the studies that is flagged."""
        return self.prevalence * self.sensitivity + (1 - self.prevalence) * (1 - self.specificity)


@dataclass(frozen=True)
class Delays:
    """Mean minutes from arrival to report.

    Attributes
    ----------
    arrival : float
        Of every study, read in the order of arrival.
    flagged, unflagged : float
        Of studies that are flagged and that are not, flagged ones first.
    positive, negative : float
        Of studies with and without the condition, flagged ones first.
    """

    arrival: float
    flagged: float
    unflagged: float
    positive: float
    negative: float


def expected_delays(work: Worklist) -> Delays:
    r"""Long-run means ([1]_, [2]_).

    With arrivals :math:`\lambda`, second moment of the reading time :math:`E S^2`, load :math:`\rho`, load
    :math:`\rho_1` of the flagged and :math:`W_0 = \lambda E S^2 / 2`, the wait is :math:`W_0/(1 - \rho)` in
    order of arrival, :math:`W_0/(1 - \rho_1)` for flagged and :math:`W_0/((1 - \rho_1)(1 - \rho))` for other
    studies.
    """
    residual = work.per_minute * work.minutes**2 * (1 + work.variation**2) / 2
    ahead = 1 - work.utilisation * work.flagged
    all_ = 1 - work.utilisation
    flagged = residual / ahead + work.minutes
    unflagged = residual / (ahead * all_) + work.minutes
    return Delays(
        arrival=residual / all_ + work.minutes,
        flagged=flagged,
        unflagged=unflagged,
        positive=work.sensitivity * flagged + (1 - work.sensitivity) * unflagged,
        negative=(1 - work.specificity) * flagged + work.specificity * unflagged,
    )


@dataclass(frozen=True)
class Day:
    """Simulated studies in the order of arrival, after the warm-up.

    Attributes
    ----------
    delay : ndarray of float64
        Minutes from arrival to report.
    positive, flagged : ndarray of bool
        Whether the condition is there, and whether the model flagged it.
    """

    delay: NDArray[np.float64]
    positive: NDArray[np.bool_]
    flagged: NDArray[np.bool_]


def simulate(work: Worklist, *, n_studies: int, order: Order, seed: int) -> Day:
    """Follow studies through the queue, event by event.

    Parameters
    ----------
    work : Worklist
    n_studies : int
        Number of arrivals.
    order : {"arrival", "flagged", "perfect"}
        Who is read next: who came first; the flagged before the others; all with the condition before the
        others.
    seed : int
        Equal seeds draw equal studies whatever the order, so that orders can be compared study by study.
    """
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / work.per_minute, n_studies))
    reading = _reading_times(work, n_studies, rng)
    positive = rng.random(n_studies) < work.prevalence
    flagged = rng.random(n_studies) < np.where(positive, work.sensitivity, 1 - work.specificity)
    first = {"arrival": np.zeros(n_studies, dtype=bool), "flagged": flagged, "perfect": positive}[order]
    report = np.empty(n_studies)
    waiting: list[tuple[bool, int]] = []
    clock, next_ = 0.0, 0
    while next_ < n_studies or waiting:
        if not waiting:
            clock = max(clock, arrival[next_])
        while next_ < n_studies and arrival[next_] <= clock:
            heapq.heappush(waiting, (not first[next_], next_))
            next_ += 1
        _, study = heapq.heappop(waiting)
        clock += reading[study]
        report[study] = clock
    counted = slice(int(WARM_UP * n_studies), None)
    return Day((report - arrival)[counted], positive[counted], flagged[counted])


def _reading_times(work: Worklist, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if work.variation == 0:
        return np.full(n, work.minutes)
    shape = work.variation**-2
    return rng.gamma(shape, work.minutes / shape, n)


def replicate(
    work: Worklist,
    summary: Callable[[Day], float],
    *,
    order: Order,
    n_studies: int,
    n_replicates: int,
    level: float,
    seed: int,
    name: str,
) -> Estimate:
    """Mean of a summary over independent runs of the queue, with the normal interval of that mean."""
    values = np.array(
        [
            summary(simulate(work, n_studies=n_studies, order=order, seed=seed + r))
            for r in range(n_replicates)
        ]
    )
    return mean_estimate(
        name,
        values,
        bounds=(0.0, np.inf),
        level=level,
        method=f"simulation, {n_replicates} runs of {n_studies} studies; normal interval of a mean",
    )
