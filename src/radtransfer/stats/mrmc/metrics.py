"""Accuracy of each reader in each modality, and what it becomes without one case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy as np
from scipy.stats import rankdata

from radtransfer.stats.checks import FloatArray
from radtransfer.stats.mrmc.study import ReaderStudy

MetricName: TypeAlias = Literal["auc", "partial_auc", "sensitivity", "specificity"]
METRICS: tuple[MetricName, ...] = ("auc", "partial_auc", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class Metric:
    """An accuracy measure of a set of ratings.

    Parameters
    ----------
    name : {"auc", "partial_auc", "sensitivity", "specificity"}
        Empirical (trapezoidal) AUC; area under the part of the empirical ROC curve within a range of
        specificities (not rescaled); share of cases with, or without, the condition called right.
    threshold : float, optional
        For sensitivity and specificity: ratings at or above it are called positive. May be left out if every
        rating is 0 or 1.
    specificity_range : (float, float)
        For the partial AUC: lowest and highest specificity.
    """

    name: MetricName = "auc"
    threshold: float | None = None
    specificity_range: tuple[float, float] = (0.9, 1.0)

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise ValueError(f"metric is {self.name!r}; known: {', '.join(METRICS)}")
        low, high = self.specificity_range
        if not 0 <= low < high <= 1:
            raise ValueError(f"specificity_range {self.specificity_range} is not a range within 0 to 1")

    @property
    def largest(self) -> float:
        """Largest value the metric can take."""
        low, high = self.specificity_range
        return high - low if self.name == "partial_auc" else 1.0

    def of(self, study: ReaderStudy) -> FloatArray:
        """Value for every modality and reader, shape (n_modalities, n_readers)."""
        if self.name == "auc":
            return cast(FloatArray, np.nanmean(placements(study)[..., study.truth == 1], axis=-1))
        if self.name == "partial_auc":
            shape = study.rating.shape[:2]
            return np.array([self._partial(study, i, j) for i, j in np.ndindex(*shape)]).reshape(shape)
        return cast(FloatArray, np.nanmean(self.correct(study), axis=-1))

    def correct(self, study: ReaderStudy) -> FloatArray:
        """Whether each call was right (NaN: not read), for the class the proportion is about.

        Shape (n_modalities, n_readers, n_cases of the class).
        """
        rating = study.rating[..., study.truth == (1 if self.name == "sensitivity" else 0)]
        if self.threshold is None and not np.isin(study.rating[study.read], (0.0, 1.0)).all():
            raise ValueError(f"{self.name} of ratings other than 0 and 1 needs a threshold")
        called = rating >= (0.5 if self.threshold is None else self.threshold)
        right = called if self.name == "sensitivity" else ~called
        return np.where(np.isnan(rating), np.nan, right.astype(float))

    def leave_one_out(self, study: ReaderStudy) -> FloatArray:
        """Value without each case, shape (n_modalities, n_readers, n_used).

        ``n_used`` counts the cases the metric looks at (one class for proportions). A case that a reader did
        not read leaves the reader's value as it is.

        Raises
        ------
        ValueError
            If a reader has fewer than two cases of a class the metric looks at.
        """
        needed = {"sensitivity": (2, 0), "specificity": (0, 2)}.get(self.name, (2, 2))
        if (study.n_read_positive < needed[0]).any() or (study.n_read_negative < needed[1]).any():
            raise ValueError("a reader has fewer than two cases of a class: no variance can be estimated")
        value = self.of(study)[..., None]
        if self.name == "auc":
            # dropping a case takes its own placement value out of the mean over its class
            parts = placements(study)
            size = np.where(
                study.truth == 1, study.n_read_positive[..., None], study.n_read_negative[..., None]
            )
        elif self.name == "partial_auc":
            return self._partial_leave_one_out(study)
        else:
            parts = self.correct(study)
            size = (~np.isnan(parts)).sum(axis=-1, keepdims=True)
        return np.where(np.isnan(parts), value, (size * value - parts) / (size - 1))

    def _partial(self, study: ReaderStudy, i: int, j: int, skip: int = -1) -> float:
        keep = study.read[i, j].copy()
        if skip >= 0:
            keep[skip] = False
        return partial_auc(study.rating[i, j, keep], study.truth[keep] == 1, self.specificity_range)

    def _partial_leave_one_out(self, study: ReaderStudy) -> FloatArray:
        full = self.of(study)
        result = np.repeat(full[..., None], study.n_cases, axis=-1)
        for i, j, k in np.argwhere(study.read):
            result[i, j, k] = self._partial(study, int(i), int(j), int(k))
        return result


def placements(study: ReaderStudy) -> FloatArray:
    """Placement value of each case among the cases of the other class (DeLong 1988, eq. 4 and 5).

    For a case with the condition the share of cases without it that are rated lower (ties count half), for a
    case without it the share of cases with it rated higher. Their mean within either class is the AUC. From
    midranks in O(n log n) (Sun, Xu 2014).

    Returns
    -------
    ndarray, shape (n_modalities, n_readers, n_cases)
        NaN where not read.
    """
    # ratings are finite, so missing ones sorted to the end leave all other ranks as they are
    rating = np.where(study.read, study.rating, np.inf)
    rank = rankdata(rating, axis=-1)
    result = np.full(rating.shape, np.nan)
    for positive, others in ((1, study.n_read_negative), (0, study.n_read_positive)):
        members = study.truth == positive
        below = (rank[..., members] - rankdata(rating[..., members], axis=-1)) / others[..., None]
        result[..., members] = below if positive else 1 - below
    return np.where(study.read, result, np.nan)


def partial_auc(rating: FloatArray, positive: np.ndarray, specificity_range: tuple[float, float]) -> float:
    """Area under the empirical ROC curve between two specificities, by trapezoids (McClish 1989, eq. 1)."""
    thresholds = np.unique(rating)[::-1]
    n_above = np.searchsorted(np.sort(rating[positive]), thresholds, side="left")
    true_positive = np.concatenate([[0.0], 1 - n_above / positive.sum()])
    n_above = np.searchsorted(np.sort(rating[~positive]), thresholds, side="left")
    false_positive = np.concatenate([[0.0], 1 - n_above / (~positive).sum()])
    low, high = 1 - specificity_range[1], 1 - specificity_range[0]
    inside = (false_positive > low) & (false_positive < high)
    # at a vertical step the area to the left ends at its foot, the area to the right begins at its head
    left = _height(false_positive, true_positive, low, last=True)
    right = _height(false_positive, true_positive, high, last=False)
    x = np.concatenate([[low], false_positive[inside], [high]])
    y = np.concatenate([[left], true_positive[inside], [right]])
    return float(np.trapezoid(y, x))


def _height(x: FloatArray, y: FloatArray, at: float, *, last: bool) -> float:
    exact = np.flatnonzero(x == at)
    if exact.size:
        return float(y[exact[-1 if last else 0]])
    after = int(np.searchsorted(x, at))
    share = (at - x[after - 1]) / (x[after] - x[after - 1])
    return float(y[after - 1] + share * (y[after] - y[after - 1]))
