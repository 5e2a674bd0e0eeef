"""Decisions at a threshold: decision curves, operating points, predictive values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import expit, logit

from radtransfer.stats.net_benefit import DecisionCurve, decision_curve, net_benefit_difference
from radtransfer.stats.proportions import clustered_proportion, npv_at_prevalence, ppv_at_prevalence

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from radtransfer.stats.result import Estimate
    from radtransfer.utility.cases import Question


def at_prevalence(question: Question, prevalence: float) -> NDArray[np.float64]:
    """Probabilities of the test images where the condition is as frequent as said.

    Parameters
    ----------
    question : Question
        With probabilities that hold at the prevalence of each fold's validation images.
    prevalence : float
        Where the model is to be used.

    Returns
    -------
    ndarray of float64, shape (n_images,)
        Bayes' rule with another prior: the logit moves by the difference of the logits of the prevalences.
    """
    of_fold = question.validation.groupby("fold")["label"].mean()
    moved: NDArray[np.float64] = expit(
        logit(question.test["score"])
        + logit(prevalence)
        - logit(question.test["fold"].map(of_fold).to_numpy(float))
    )
    return moved


def curve_at(
    question: Question, *, prevalence: float, thresholds: NDArray[np.float64], level: float
) -> DecisionCurve:
    """Decision curve of test images at another prevalence, with patient-clustered intervals."""
    return decision_curve(
        question.test["label"],
        at_prevalence(question, prevalence),
        thresholds=thresholds,
        prevalence=prevalence,
        cluster=question.test["patient_id"],
        level=level,
    )


def gain(
    question: Question, reference: Question, *, prevalence: float, threshold: float, level: float
) -> Estimate | None:
    """Net benefit of one model minus that of another on the same test images.

    Returns
    -------
    Estimate or None
        None where the difference has no variance between the images.
    """
    try:
        return net_benefit_difference(
            question.test["label"],
            at_prevalence(question, prevalence),
            at_prevalence(reference, prevalence),
            threshold=threshold,
            prevalence=prevalence,
            cluster=question.test["patient_id"],
            level=level,
        )
    except ValueError:
        return None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold fixed on validation images, and how it does on test images.

    Attributes
    ----------
    fixed : {"sensitivity", "specificity"}
        What was asked for.
    wanted : float
        How much of it.
    thresholds : dict of int to float
        Threshold of each fold.
    decision : ndarray of int64, shape (n_images,)
        1 where the score reaches the threshold.
    sensitivity, specificity : Estimate
        On the test images, patient-clustered.
    """

    fixed: Literal["sensitivity", "specificity"]
    wanted: float
    thresholds: dict[int, float]
    decision: NDArray[np.int64]
    sensitivity: Estimate
    specificity: Estimate

    def predictive_values(
        self, prevalence: float, *, level: float
    ) -> tuple[Estimate | None, Estimate | None]:
        """Positive and negative predictive value; None where no such call would ever be made.

        Their intervals count the effective numbers of cases behind sensitivity and specificity.
        """
        rates = (self.sensitivity.estimate, self.specificity.estimate)
        n_positive, n_negative = (
            max(1, round(rate.details["effective_n"])) for rate in (self.sensitivity, self.specificity)
        )
        options: dict[str, Any] = {
            "prevalence": prevalence,
            "n_positive": n_positive,
            "n_negative": n_negative,
            "level": level,
        }
        called = prevalence * rates[0] + (1 - prevalence) * (1 - rates[1])
        return (
            ppv_at_prevalence(*rates, **options) if called > 0 else None,
            npv_at_prevalence(*rates, **options) if called < 1 else None,
        )


def threshold_for(
    validation: pd.DataFrame, fixed: Literal["sensitivity", "specificity"], wanted: float
) -> float:
    """Threshold that reaches a sensitivity or specificity on validation images and gives away least.

    Parameters
    ----------
    validation : DataFrame
        Columns label and score, both classes.
    fixed : {"sensitivity", "specificity"}
    wanted : float
        At least so much of it is reached.

    Returns
    -------
    float
        A score at or above it is called positive: the highest such threshold for a sensitivity, the lowest
        for a specificity.
    """
    scores = np.sort(validation.loc[validation["label"] == (fixed == "sensitivity"), "score"])
    # a product such as .9 * 10 must not miss its whole number by rounding
    needed = int(np.ceil(wanted * len(scores) - 1e-9))
    if fixed == "sensitivity":
        return float(scores[len(scores) - needed])
    return float(np.nextafter(scores[needed - 1], np.inf))


def operating_point(
    question: Question, fixed: Literal["sensitivity", "specificity"], wanted: float, *, level: float
) -> OperatingPoint:
    """Fix a threshold in every fold's validation images and judge it on the test images.

    Parameters
    ----------
    question : Question
    fixed : {"sensitivity", "specificity"}
    wanted : float
        In (0, 1].
    level : float
        Confidence level.
    """
    thresholds = {
        int(fold): threshold_for(question.validation.query("fold == @fold"), fixed, wanted)
        for fold in question.validation["fold"].unique()
    }
    test = question.test
    reached = test["score"] >= test["fold"].map(thresholds)
    decision = np.asarray(reached, dtype=np.int64)
    actual = test["label"].to_numpy(dtype=np.int64)
    rates = (
        clustered_proportion(hit, trial, cluster=test["patient_id"], level=level, name=name)
        for name, hit, trial in (
            ("sensitivity", actual * decision, actual),
            ("specificity", (1 - actual) * (1 - decision), 1 - actual),
        )
    )
    return OperatingPoint(fixed, wanted, thresholds, decision, *rates)
