"""Protocols compared, from their prediction tables alone: what is measured under each, and the difference.

However a protocol dealt its images, whole patients are resampled here, all protocols by the same draws. A
patient with images in several folds is one patient: folds are no strata of the resampling. AUC is taken
over the pairs of images of one fold. Fitted models are held fixed, as in
:mod:`radtransfer.evaluation.performance`, whose rules of decision these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from radtransfer.errors import InputError, unknown_name
from radtransfer.evaluation.performance import METRICS, decide
from radtransfer.stats.auc import stratified_auc
from radtransfer.stats.bootstrap import ClusterBootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from radtransfer.evaluation.performance import Decisions
    from radtransfer.stats.result import Estimate

MEASURES: Final = ("accuracy", "auc")
"""Keys of :data:`radtransfer.evaluation.performance.METRICS` that protocols are compared by."""


@dataclass(frozen=True)
class Measured:
    """A learner under one protocol.

    Attributes
    ----------
    metrics : dict of str to Estimate
        By key of :data:`MEASURES`.
    chance : float
        Accuracy of calling every test image what most of them are.
    n_images, n_units : int
        Tested.
    """

    metrics: dict[str, Estimate]
    chance: float
    n_images: int
    n_units: int


@dataclass(frozen=True)
class Comparison:
    """A learner under several protocols.

    Attributes
    ----------
    arms : dict of str to Measured
        By name of the protocol.
    level : float
        Confidence level of all intervals.
    """

    arms: dict[str, Measured]
    level: float
    _bootstrap: ClusterBootstrap
    _samples: Mapping[str, Mapping[str, NDArray[np.float64]]]

    def difference(self, wrong: str, right: str, metric: str) -> Estimate:
        """What a protocol measures more than another, with the interval of resampled patients.

        Parameters
        ----------
        wrong, right : str
            Names of two protocols.
        metric : str
            Key of :data:`MEASURES`.

        Returns
        -------
        Estimate
        """
        for name in (wrong, right):
            if name not in self.arms:
                raise unknown_name("protocol", name, self.arms)
        point = self.arms[wrong].metrics[metric].estimate - self.arms[right].metrics[metric].estimate
        samples = self._samples[wrong][metric] - self._samples[right][metric]
        n = self.arms[right].metrics[metric].n
        name = f"difference in {METRICS[metric]}"
        return self._bootstrap.interval(name, point, samples, level=self.level, n=n)


def compare(
    predictions: Mapping[str, pd.DataFrame], *, n_resamples: int, level: float, seed: int, unit: str
) -> Comparison:
    """Judge a learner under several protocols.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        Prediction tables by protocol, each of one model; ``patient_id`` is who the patient is, not what the
        protocol believed.
    n_resamples : int
        Resamples of patients, over all images that any of the protocols tested.
    level : float
        Confidence level.
    seed : int
        Of the resampling.
    unit : str
        What ``patient_id`` names.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        As :func:`radtransfer.evaluation.performance.decide`.
    """
    if not predictions:
        raise InputError("no protocol to judge")
    decided = {name: decide(table) for name, table in predictions.items()}
    # all protocols' images one under the other: a patient is drawn for all of them at once
    cases = pd.concat([each.table.assign(arm=name) for name, each in decided.items()], ignore_index=True)
    bootstrap = ClusterBootstrap(cases["patient_id"].to_numpy(), n_resamples=n_resamples, seed=seed)
    arms, samples = {}, {}
    for name, each in decided.items():
        mine = (cases["arm"] == name).to_numpy()
        right = (each.table["label"] == each.table["decision"]).to_numpy(dtype=float)
        points = {"accuracy": float(right.mean()), "auc": _auc(each)}
        samples[name] = {
            "accuracy": bootstrap.ratio(_placed(right, mine), mine.astype(float)),
            "auc": np.mean(
                [
                    bootstrap.auc(
                        _placed(label, mine),
                        _placed(score, mine),
                        groups=cases["fold"].to_numpy(),
                        among=mine,
                        weighting="pairs",
                    )
                    for label, score in each.questions
                ],
                axis=0,
            ),
        }
        n = {unit: int(each.table["patient_id"].nunique()), "images": len(each.table)}
        arms[name] = Measured(
            metrics={
                key: bootstrap.interval(METRICS[key], points[key], samples[name][key], level=level, n=n)
                for key in MEASURES
            },
            chance=float(each.table["label"].value_counts(normalize=True).iloc[0]),
            n_images=n["images"],
            n_units=n[unit],
        )
    return Comparison(arms, level, bootstrap, samples)


def _auc(decided: Decisions) -> float:
    fold = decided.table["fold"]
    return float(np.mean([stratified_auc(*each, stratum=fold).estimate for each in decided.questions]))


def _placed(values: NDArray[Any], mine: NDArray[np.bool_]) -> NDArray[Any]:
    """Values of one protocol's images among those of all, 0 for the others."""
    placed = np.zeros(len(mine), dtype=values.dtype)
    placed[mine] = values
    return placed
