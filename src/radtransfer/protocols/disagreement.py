"""Hidden strata: how a model does where a shortcut points the wrong way.

A property of the file, the frame or the request is taken for a classifier of its own, learned on the other
folds. A model that does not use it has no reason to be better where it points to the right class; one that
follows it fails where it misleads (Oakden-Rayner et al., CHIL 2020:151-159; Sagawa et al., ICLR 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from radtransfer.data.leakage import QUANTITIES, learned_shares, properties
from radtransfer.errors import InputError
from radtransfer.evaluation.performance import decide
from radtransfer.stats.bootstrap import ClusterBootstrap

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from radtransfer.data.cohort import Cohort
    from radtransfer.stats.result import Estimate


@dataclass(frozen=True)
class Disagreement:
    """Accuracy of a model where a shortcut is right and where it is wrong.

    All are means over the classes of the accuracy in each, so that it does not matter that the property is
    right more often in one class than in another.

    Attributes
    ----------
    model, column : str
        Name in the prediction table; the property.
    agree, disagree, gap : Estimate
        Accuracy where the property alone tells the right class, where it tells a wrong one, and their
        difference.
    shortcut : Estimate
        Accuracy of the property alone.
    """

    model: str
    column: str
    agree: Estimate
    disagree: Estimate
    gap: Estimate
    shortcut: Estimate


def disagreement(
    predictions: pd.DataFrame,
    cohort: Cohort,
    column: str,
    *,
    n_resamples: int,
    level: float,
    seed: int,
    unit: str,
) -> Disagreement:
    """Divide a model's test images by whether one property alone tells their class.

    Parameters
    ----------
    predictions : DataFrame
        Of one model on one task.
    cohort : Cohort
        Holds its test images.
    column : str
        The property, one of :func:`radtransfer.data.leakage.properties`.
    n_resamples : int
        Resamples of patients.
    level : float
        Confidence level.
    seed : int
        Of the resampling.
    unit : str
        What ``patient_id`` of the predictions names.

    Returns
    -------
    Disagreement

    Raises
    ------
    InputError
        If the property is not known of the cohort, or is never right, or never wrong, in a class.
    """
    decided = decide(predictions)
    table = decided.table
    frame = cohort.frame.set_index("image_id", drop=False).loc[table["image_id"]].reset_index(drop=True)
    if column not in (known := properties(frame)):
        raise InputError(f"{column} of {cohort.dataset} is not known", hint=f"known: {', '.join(known)}")
    label = table["label"].to_numpy(dtype=np.intp)
    led = _led_to(known[column], label, table["fold"].to_numpy(), ordered=column in QUANTITIES) == label
    right = (table["decision"] == table["label"]).to_numpy()
    bootstrap = ClusterBootstrap(table["patient_id"].to_numpy(), n_resamples=n_resamples, seed=seed)

    def mean_of_classes(hit: NDArray[np.bool_], part: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
        cells = [(hit & part & (label == k), part & (label == k)) for k in range(len(decided.classes))]
        if not all(whole.any() for _, whole in cells):
            raise InputError(f"{column} of {cohort.dataset} is never right, or never wrong, in a class")
        drawn = [bootstrap.ratio(top.astype(float), whole.astype(float)) for top, whole in cells]
        point = [float(top.sum() / whole.sum()) for top, whole in cells]
        # of few images a resample may lack a class: its mean is then that of the others
        return float(np.mean(point)), np.nanmean(drawn, axis=0)

    def estimate(name: str, point: float, drawn: NDArray[np.float64], part: NDArray[np.bool_]) -> Estimate:
        n = {unit: int(table.loc[part, "patient_id"].nunique()), "images": int(part.sum())}
        return bootstrap.interval(name, point, drawn, level=level, n=n)

    everywhere = np.ones(len(led), dtype=bool)
    agree, disagree = mean_of_classes(right, led), mean_of_classes(right, ~led)
    return Disagreement(
        model=str(predictions["model"].iloc[0]),
        column=column,
        agree=estimate("Accuracy, mean of the classes", *agree, led),
        disagree=estimate("Accuracy, mean of the classes", *disagree, ~led),
        gap=estimate("difference in accuracy", agree[0] - disagree[0], agree[1] - disagree[1], everywhere),
        shortcut=estimate("Accuracy, mean of the classes", *mean_of_classes(led, everywhere), everywhere),
    )


def _led_to(
    values: pd.Series[Any], label: NDArray[np.intp], fold: NDArray[Any], *, ordered: bool
) -> NDArray[np.intp]:
    """Class that a property tells, learned on the other folds, all classes weighing alike."""
    shares = learned_shares(values, label, np.unique(fold, return_inverse=True)[1], ordered=ordered)
    return np.asarray((shares / np.bincount(label)).argmax(axis=1), dtype=np.intp)
