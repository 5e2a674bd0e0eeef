"""Saying "I do not know": selective prediction and conformal sets.

References
----------
.. [1] Geifman Y, Uziel G, El-Yaniv R. Bias-reduced uncertainty estimation for deep neural classifiers.
   ICLR 2019 (AURC).
.. [2] Vovk V, Gammerman A, Shafer G. Algorithmic Learning in a Random World. Springer 2005, section 4.5
   (class-conditional, "Mondrian", sets); split conformal sets: Sadinle M, Lei J, Wasserman L. J Am Stat Assoc
   2019;114:223-234.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.proportions import clustered_proportion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from radtransfer.stats.result import Estimate
    from radtransfer.utility.cases import Part, Scored


def risk_at(
    wrong: NDArray[np.float64], confidence: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Error among the most confident images, for every share of images kept.

    Parameters
    ----------
    wrong : ndarray, shape (n,)
        1 where the decision is wrong.
    confidence : ndarray, shape (n,)
    weight : ndarray, shape (n,), optional
        How often each image counts.

    Returns
    -------
    coverage, risk : ndarray of float64, shape (n,)
        Images in the order of falling confidence; images of equal confidence have the same risk, that of all
        of them together.
    """
    order = np.argsort(-confidence, kind="stable")
    w = np.ones(len(order)) if weight is None else weight[order]
    kept = np.cumsum(w)
    errors = np.cumsum(w * wrong[order])
    # images that tie are kept or left together
    ordered = confidence[order]
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    with np.errstate(invalid="ignore"):
        return kept / kept[-1], (errors / kept)[last]


def aurc(
    wrong: NDArray[np.float64], confidence: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> float:
    """Area under the risk-coverage curve: mean risk over all coverages ([1]_, section 2)."""
    coverage, risk = risk_at(wrong, confidence, weight)
    counted = np.diff(coverage, prepend=0.0)
    return float(np.sum(np.where(counted > 0, risk * counted, 0.0)))


@dataclass(frozen=True)
class Abstention:
    """What leaving out the least certain images does.

    Attributes
    ----------
    curve : DataFrame
        coverage, risk, low and high (pointwise limits).
    error, error_80, aurc : Estimate
        Error among all images, among the four fifths with the highest confidence, and AURC.
    """

    curve: pd.DataFrame
    error: Estimate
    error_80: Estimate
    aurc: Estimate


def abstain(part: Part, *, n_resamples: int, level: float, seed: int) -> Abstention:
    """Risk-coverage curve with patient-clustered intervals.

    Parameters
    ----------
    part : Part
        Test images; the confidence is the highest probability, the decision its class.
    n_resamples, level, seed
        Of :class:`~radtransfer.stats.bootstrap.ClusterBootstrap`, in strata of folds.
    """
    wrong = (part.probability.argmax(axis=1) != part.label).astype(float)
    confidence = part.probability.max(axis=1)
    grid = np.linspace(0.05, 1, 39)
    bootstrap = ClusterBootstrap(part.patient, n_resamples=n_resamples, seed=seed, strata=part.fold)

    def along(weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Risk on the grid, and AURC."""
        coverage, risk = risk_at(wrong, confidence, weight)
        at = np.minimum(np.searchsorted(coverage, grid - 1e-12), len(risk) - 1)
        return np.append(risk[at], aurc(wrong, confidence, weight))

    point = along(None)
    samples = np.array([along(weight) for weight in bootstrap.weights()])
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)

    def estimate(name: str, column: int) -> Estimate:
        return bootstrap.interval(name, float(point[column]), samples[:, column], level=level, n=part.counts)

    return Abstention(
        curve=pd.DataFrame({"coverage": grid, "risk": point[:-1], "low": low[:-1], "high": high[:-1]}),
        error=estimate("error", len(grid) - 1),
        error_80=estimate("error among the most certain four fifths", int(np.argmin(abs(grid - 0.8)))),
        aurc=estimate("area under the risk-coverage curve", len(grid)),
    )


@dataclass(frozen=True)
class ConformalSets:
    """Sets of classes that hold the right one with a stated probability.

    Attributes
    ----------
    member : ndarray of bool, shape (n_images, n_classes)
        Which classes are in the set of a test image.
    coverage : dict of str to Estimate
        Share of the images of each class whose set holds it.
    single, empty : Estimate
        Share of the images whose set is one class, or none.
    """

    member: NDArray[np.bool_]
    coverage: dict[str, Estimate]
    single: Estimate
    empty: Estimate


def conformal_quantile(scores: NDArray[np.float64], alpha: float) -> float:
    """The ``ceil((n + 1)(1 - alpha))``-th smallest score; infinite where there are too few."""
    rank = int(np.ceil((len(scores) + 1) * (1 - alpha) - 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf


def conformal_sets(case: Scored, *, alpha: float, level: float) -> ConformalSets:
    """Class-conditional split conformal sets ([2]_), calibrated on each fold's validation images.

    Parameters
    ----------
    case : Scored
    alpha : float
        Share of each class that may be missed.
    level : float
        Confidence level of the measured coverage, patient-clustered.

    Returns
    -------
    ConformalSets

    Notes
    -----
    The guarantee is for a further image exchangeable with the validation images of its class. Images of one
    patient are not, so that it holds over patients only on average; hence the coverage is measured.
    """
    test = case.test
    member = np.zeros(test.probability.shape, dtype=bool)
    for fold in np.unique(test.fold):
        given, wanted = case.validation.fold == fold, test.fold == fold
        for number in range(len(case.classes)):
            of_class = given & (case.validation.label == number)
            limit = conformal_quantile(1 - case.validation.probability[of_class, number], alpha)
            member[wanted, number] = 1 - test.probability[wanted, number] <= limit
    right = member[np.arange(len(member)), test.label]

    def share(name: str, hit: ArrayLike, trial: ArrayLike | None = None) -> Estimate:
        return clustered_proportion(hit, trial, cluster=test.patient, level=level, name=name)

    return ConformalSets(
        member=member,
        coverage={
            name: share(f"coverage of {name}", right & (test.label == number), test.label == number)
            for number, name in enumerate(case.classes)
        },
        single=share("sets of one class", member.sum(axis=1) == 1),
        empty=share("empty sets", ~member.any(axis=1)),
    )
