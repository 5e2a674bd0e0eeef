"""Recalibration on validation images, and what it does on test images.

References
----------
.. [1] Platt JC. Probabilistic outputs for support vector machines. In: Advances in Large Margin Classifiers.
   MIT Press 1999:61-74 (with the smoothed targets of his section 2.2).
.. [2] Zadrozny B, Elkan C. Transforming classifier scores into accurate multiclass probability estimates.
   KDD 2002:694-699 (isotonic; several classes one against the rest, then normalised).
.. [3] Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML 2017
   (temperature).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from radtransfer.errors import unknown_name
from radtransfer.stats.calibration import (
    brier_score,
    calibration_in_the_large,
    calibration_slope,
    expected_calibration_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from radtransfer.stats.result import Estimate
    from radtransfer.utility.cases import Part, Scored

METHODS = {"none": "As predicted", "sigmoid": "Platt", "isotonic": "Isotonic", "temperature": "Temperature"}
"""Ways to recalibrate, with the names readers see."""

LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1, whose logits are infinite."""


class _Logits(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The model as scikit-learn sees it: its input are the logarithms of the probabilities."""

    def fit(self, x: NDArray[np.float64], y: NDArray[np.int64]) -> Self:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x[:, 1] - x[:, 0] if x.shape[1] == 2 else x

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        chosen: NDArray[np.int64] = self.classes_[x.argmax(axis=1)]
        return chosen


def recalibrate(case: Scored, method: str) -> Part:
    """Test images with probabilities that were recalibrated on their fold's validation images.

    Parameters
    ----------
    case : Scored
    method : str
        Key of :data:`METHODS`: Platt's sigmoid ([1]_), isotonic regression ([2]_) or temperature ([3]_), all
        of scikit-learn.

    Returns
    -------
    Part
        The test part; probabilities inside ``LEAST`` and ``1 - LEAST``.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    probability = case.test.probability
    if method != "none":
        probability = probability.copy()
        for fold in np.unique(case.test.fold):
            given, wanted = case.validation.fold == fold, case.test.fold == fold
            model = _fit(_logits(case.validation.probability[given]), case.validation.label[given], method)
            probability[wanted] = model.predict_proba(_logits(case.test.probability[wanted]))
    return replace(case.test, probability=np.clip(probability, LEAST, 1 - LEAST))


def measures(part: Part, *, level: float) -> dict[str, Estimate | None]:
    """How well probabilities hold; with more than two classes all questions "this class?" are pooled.

    Parameters
    ----------
    part : Part
    level : float
        Confidence level; intervals are robust to patients with several images.

    Returns
    -------
    dict of str to Estimate or None
        ``brier``, ``ece`` (10 bins of equal width), ``slope`` and ``intercept``; None where it does not
        exist: the slope of probabilities that separate the classes, and the intercept of those of more than
        two classes, whose sum of 1 makes it 0.
    """
    y, p, patient = pooled(part)
    made: dict[str, Callable[[], Estimate]] = {
        "brier": lambda: brier_score(y, p, cluster=patient, level=level),
        "ece": lambda: expected_calibration_error(y, p),
        "slope": lambda: calibration_slope(y, p, cluster=patient, level=level),
    }
    if part.probability.shape[1] == 2:
        made["intercept"] = lambda: calibration_in_the_large(y, p, cluster=patient, level=level)
    found: dict[str, Estimate | None] = {"intercept": None}
    for name, make in made.items():
        try:
            found[name] = make()
        except ValueError:
            found[name] = None
    return found


def pooled(part: Part) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.object_]]:
    """Outcome, probability and patient of every question "this class?"; of a binary task one an image."""
    n_classes = part.probability.shape[1]
    numbers = range(n_classes) if n_classes > 2 else (1,)
    return (
        np.concatenate([(part.label == number).astype(np.int64) for number in numbers]),
        np.concatenate([part.probability[:, number] for number in numbers]),
        np.tile(part.patient, len(numbers)),
    )


def _logits(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = np.log(np.clip(probability, LEAST, 1 - LEAST))
    return logits


def _fit(logits: NDArray[np.float64], label: NDArray[np.int64], method: str) -> Any:
    everything = np.arange(len(label))
    return CalibratedClassifierCV(
        FrozenEstimator(_Logits().fit(logits, label)),
        method=method,
        cv=[(everything, everything)],  # the model is given: nothing is fitted anew
        ensemble=False,
    ).fit(logits, label)
