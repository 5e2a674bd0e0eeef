"""Cost per correct diagnosis of a reader, of a model, and of a model that spares the reader some images.

Sensitivity and specificity, seconds of computing and the reader's accuracy are measured; prices are assumed.
The model and the reader are taken to err independently, given the truth: with reading after the model,
sensitivities multiply.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

STRATEGIES = {
    "reader": "Reader alone",
    "model": "Network alone",
    "first": "Network first, reader for what it flags",
}
"""Ways to diagnose, with the names readers see."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a strategy's cost and accuracy follow from; arrays are draws of the probabilistic analysis.

    Attributes
    ----------
    prevalence : float
    sensitivity, specificity : float
        Of the model.
    reader_sensitivity, reader_specificity : float
    reading_cost : float
        Dollars for one reading.
    compute_seconds, training_seconds : float
        For one image, and for training once.
    machine_hour : float
        Dollars for an hour of the machine.
    images_served : float
        Images over which the cost of training is spread.
    running_cost : float
        Dollars an image for everything around the model: integration, upkeep, quality control.
    """

    prevalence: float | NDArray[np.float64]
    sensitivity: float | NDArray[np.float64]
    specificity: float | NDArray[np.float64]
    reader_sensitivity: float | NDArray[np.float64]
    reader_specificity: float | NDArray[np.float64]
    reading_cost: float | NDArray[np.float64]
    compute_seconds: float | NDArray[np.float64]
    training_seconds: float | NDArray[np.float64]
    machine_hour: float | NDArray[np.float64]
    images_served: float | NDArray[np.float64]
    running_cost: float | NDArray[np.float64]

    @property
    def compute_cost(self) -> float | NDArray[np.float64]:
        """Dollars of computing for one image, its share of the training included."""
        seconds = self.compute_seconds + self.training_seconds / self.images_served
        return seconds * self.machine_hour / 3600


@dataclass(frozen=True)
class Outcome:
    """What one image costs and yields.

    Attributes
    ----------
    cost : float or ndarray
        Dollars an image.
    correct, found : float or ndarray
        Share of the images diagnosed correctly, and share that are diseased and found.
    read : float or ndarray
        Share of the images that a person reads.
    """

    cost: float | NDArray[np.float64]
    correct: float | NDArray[np.float64]
    found: float | NDArray[np.float64]
    read: float | NDArray[np.float64]

    @property
    def per_correct(self) -> float | NDArray[np.float64]:
        """Dollars per correct diagnosis."""
        return self.cost / self.correct

    @property
    def per_found(self) -> float | NDArray[np.float64]:
        """Dollars per diseased person found."""
        return self.cost / self.found


def outcome(strategy: str, x: Inputs) -> Outcome:
    """Cost and yield of a strategy of :data:`STRATEGIES`."""
    healthy = 1 - x.prevalence
    if strategy == "reader":
        found, spared = x.prevalence * x.reader_sensitivity, healthy * x.reader_specificity
        return Outcome(x.reading_cost, found + spared, found, 1.0)
    model = x.compute_cost + x.running_cost
    if strategy == "model":
        found, spared = x.prevalence * x.sensitivity, healthy * x.specificity
        return Outcome(model, found + spared, found, 0.0)
    read = x.prevalence * x.sensitivity + healthy * (1 - x.specificity)
    found = x.prevalence * x.sensitivity * x.reader_sensitivity
    spared = healthy * (1 - (1 - x.specificity) * (1 - x.reader_specificity))
    return Outcome(model + read * x.reading_cost, found + spared, found, read)


def saving(x: Inputs) -> float | NDArray[np.float64]:
    """Dollars saved per correct diagnosis: reader alone minus network first."""
    return outcome("reader", x).per_correct - outcome("first", x).per_correct


@dataclass(frozen=True)
class Range:
    """An uncertain input.

    Attributes
    ----------
    low, high : float
        Of the one-way analysis.
    draw : callable
        Takes a random generator and a number of draws.
    """

    low: float
    high: float
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]]


def assumed(value: float, low: float, high: float) -> Range:
    """Range of an assumption: triangular between its limits, most likely at its value."""
    if low == high:
        return Range(low, high, lambda rng, n: np.full(n, value))
    return Range(low, high, lambda rng, n: rng.triangular(low, value, high, n))


def measured(rate: Estimate) -> Range:
    """Range of a measured proportion: a beta distribution with the mean and variance behind its interval."""
    if rate.low is None or rate.high is None:
        raise ValueError(f"{rate.name} has no interval")
    from scipy import stats

    se = (rate.high - rate.low) / (2 * float(stats.norm.ppf(0.5 + rate.level / 2)))
    mean = float(np.clip(rate.estimate, 0.001, 0.999))
    size = max(mean * (1 - mean) / se**2 - 1, 2.0) if se > 0 else 1e6
    return Range(rate.low, rate.high, lambda rng, n: rng.beta(mean * size, (1 - mean) * size, n))


def tornado(base: Inputs, ranges: Mapping[str, Range]) -> list[tuple[str, float, float]]:
    """One-way sensitivity of the :func:`saving`: input, and the saving at its low and at its high limit.

    Returns
    -------
    list of tuple
        The input that matters most first.
    """
    rows = [
        (
            name,
            float(saving(replace(base, **{name: ends.low}))),
            float(saving(replace(base, **{name: ends.high}))),
        )
        for name, ends in ranges.items()
    ]
    return sorted(rows, key=lambda row: -abs(row[2] - row[1]))


def draws(base: Inputs, ranges: Mapping[str, Range], *, n: int, seed: int) -> Inputs:
    """Inputs of the probabilistic analysis: every uncertain one drawn, the others as they are."""
    unknown = ranges.keys() - {field.name for field in fields(Inputs)}
    if unknown:
        raise ValueError(f"{unknown.pop()} is no input")
    rng = np.random.default_rng(seed)
    return replace(base, **{name: ends.draw(rng, n) for name, ends in ranges.items()})


def summary(name: str, point: float, values: NDArray[np.float64], *, level: float) -> Estimate:
    """Value at the assumptions with the quantiles of the probabilistic analysis."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(
        name=name,
        estimate=point,
        low=float(low),
        high=float(high),
        level=level,
        method="probabilistic sensitivity analysis",
        n={"draws": len(values)},
    )
