"""Performance of models by group of images, gaps between groups, and their tests.

Every model is judged by the decisions and folds of the evaluation; the AUC of a group is that of its pairs of
a positive and a negative image *of the same fold*, since scores of different folds come from different
models.

Gaps follow the conventions of fairlearn (Weerts et al. 2023): the largest minus the smallest of the groups.
Equal opportunity looks at sensitivity; equalised odds at sensitivity and at the false positive rate, of which
the larger gap counts. In one respect they do not: a rate without a case to count is there 0, here the cell is
suppressed.

Declared family of a model: three gaps (AUC, equal opportunity, equalised odds) for each attribute and each
pair of attributes. Gaps in AUC are tested by the bootstrap of patients, the other two by permutation of the
patients' groups; Holm's procedure counts all of them.

References
----------
.. [1] Weerts H, Dudik M, Edgar R, Jalali A, Lutz R, Madaio M. Fairlearn: assessing and improving fairness of
   AI systems. J Mach Learn Res 2023;24(257):1-8.
.. [2] Hardt M, Price E, Srebro N. Equality of opportunity in supervised learning. NeurIPS 2016.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.errors import InputError
from radtransfer.stats.auc import stratified_auc
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.calibration import calibration_slope, mean_estimate
from radtransfer.stats.disparity import detectable_gap, gap_between
from radtransfer.stats.multiplicity import adjust_p_values
from radtransfer.stats.permutation import permutation_disparity
from radtransfer.stats.proportions import clustered_proportion
from radtransfer.stats.result import Estimate
from radtransfer.subgroups.groups import Cell, cells_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from radtransfer.evaluation.performance import Evaluation
    from radtransfer.stats.checks import FloatArray

MEASURES: dict[str, str] = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "selection_rate": "Selection rate",
    "calibration": "Mean score − prevalence",
    "slope": "Calibration slope",
}
"""Measures of a group by key, with the name readers see."""

GAPS: dict[str, str] = {
    "auc": "AUC",
    "equal_opportunity": "Equal opportunity",
    "equalised_odds": "Equalised odds",
}
"""Gaps between groups by key; the first is the primary one."""


@dataclass(frozen=True)
class Sample:
    """Test images of one model, and resamples of their patients.

    Parameters
    ----------
    table : DataFrame
        Columns image_id, patient_id, fold, label, score and decision; one row an image.
    bootstrap : ClusterBootstrap
        Of the patients within folds.
    """

    table: pd.DataFrame
    bootstrap: ClusterBootstrap

    @classmethod
    def of(cls, table: pd.DataFrame, *, n_resamples: int, seed: int) -> Sample:
        """Sample of a table, as the evaluation resamples it."""
        bootstrap = ClusterBootstrap(
            table["patient_id"], n_resamples=n_resamples, seed=seed, strata=table["fold"]
        )
        return cls(table, bootstrap)

    @property
    def label(self) -> NDArray[np.int64]:
        """Reference standard, 0 or 1."""
        return self.table["label"].to_numpy(dtype=np.int64)

    @property
    def decision(self) -> NDArray[np.int64]:
        """Decision at the threshold of the fold, 0 or 1."""
        return self.table["decision"].to_numpy(dtype=np.int64)

    def auc(self, cells: Sequence[Cell]) -> tuple[FloatArray, FloatArray]:
        """AUC of each cell over pairs of one fold.

        Returns
        -------
        points : ndarray, shape (1, n_cells)
        samples : ndarray, shape (1, n_cells, n_resamples)
        """
        stratum = self.table["fold"].to_numpy(dtype=np.int64)
        label, score = self.label, self.table["score"].to_numpy()
        points = [
            stratified_auc(label[c.rows], score[c.rows], stratum=stratum[c.rows]).estimate for c in cells
        ]
        samples = [
            self.bootstrap.auc(label, score, groups=stratum, among=c.rows, weighting="pairs") for c in cells
        ]
        return np.array([points]), np.array([samples])

    def rates(
        self, cells: Sequence[Cell], decision: ArrayLike | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """True and false positive rate of each cell.

        Returns
        -------
        points : ndarray, shape (2, n_cells)
        samples : ndarray, shape (2, n_cells, n_resamples)
        """
        called = self.decision if decision is None else np.asarray(decision)
        rows = np.stack([cell.rows for cell in cells])
        counted = np.stack([rows & (self.label == 1), rows & (self.label == 0)])
        hits = counted & (called == 1)
        return hits.sum(axis=2) / counted.sum(axis=2), self.bootstrap.ratio(hits, counted)


@dataclass(frozen=True)
class CellResult:
    """Performance of one model in one cell.

    Parameters
    ----------
    model : str
        Name.
    cell : Cell
        Which images.
    measures : dict of str to Estimate
        By key of :data:`MEASURES`; empty where the cell is suppressed, without a slope where none exists.
    """

    model: str
    cell: Cell
    measures: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """Gap of one model between the cells of an attribute.

    Parameters
    ----------
    model, attribute, measure : str
        Which; the measure is a key of :data:`GAPS`.
    estimate : Estimate
        With interval and p-value, where they exist.
    n_cells : int
        Cells that were not suppressed.
    holm : float or None
        p-value adjusted over the family.
    detectable : float or None
        Smallest gap that would have been found with probability .8, see
        :func:`~radtransfer.stats.disparity.detectable_gap`.
    """

    model: str
    attribute: str
    measure: str
    estimate: Estimate
    n_cells: int
    holm: float | None = None
    detectable: float | None = None

    @property
    def found(self) -> bool:
        """Whether it is significant in its family."""
        return self.holm is not None and self.holm <= 1 - self.estimate.level


@dataclass(frozen=True)
class Subgroups:
    """Every model in every cell, and every gap.

    Parameters
    ----------
    evaluation : Evaluation
        What it rests on.
    groups : DataFrame
        Groups of the images, from :func:`~radtransfer.subgroups.groups.attributes_of`.
    minimum : int
        Patients of either class below which a cell is suppressed.
    cells : tuple of CellResult
        By model, attribute and group.
    gaps : tuple of Gap
        By model, attribute and measure; none for an attribute with fewer than two cells shown.
    """

    evaluation: Evaluation
    groups: pd.DataFrame
    minimum: int
    cells: tuple[CellResult, ...]
    gaps: tuple[Gap, ...]

    def of(self, model: str) -> tuple[Gap, ...]:
        """Gaps of a model: its declared family."""
        return tuple(gap for gap in self.gaps if gap.model == model)


def analyse(
    evaluation: Evaluation,
    groups: pd.DataFrame,
    *,
    minimum: int,
    n_resamples: int,
    n_permutations: int,
    seed: int,
) -> Subgroups:
    """Judge every evaluated model by group, and test its gaps.

    Parameters
    ----------
    evaluation : Evaluation
        Of a task with two classes.
    groups : DataFrame
        From :func:`~radtransfer.subgroups.groups.attributes_of`.
    minimum : int
        Patients of either class below which a cell is suppressed.
    n_resamples, n_permutations : int
        Resamples of patients for intervals and tests of AUC; permutations for the other tests.
    seed : int
        Seed of both.

    Returns
    -------
    Subgroups

    Raises
    ------
    InputError
        If the task has more than two classes, or no attribute is known.
    """
    if len(evaluation.classes) != 2:
        raise InputError(
            f"{evaluation.task} has {len(evaluation.classes)} classes; groups need a task of two"
        )
    if groups.empty:
        raise InputError("no attribute of the patients or images is known", hint="choose another task")
    cells: list[CellResult] = []
    gaps: list[Gap] = []
    for model, performance in evaluation.models.items():
        sample = Sample.of(performance.table, n_resamples=n_resamples, seed=seed)
        family: list[Gap] = []
        for attribute in groups:
            found = cells_of(sample.table, groups, str(attribute), minimum=minimum)
            shown = [cell for cell in found if cell.shown]
            auc = sample.auc(shown) if shown else (np.empty((1, 0)), np.empty((1, 0, n_resamples)))
            areas = iter(zip(auc[0][0], auc[1][0], strict=True))
            cells += [
                CellResult(
                    model,
                    cell,
                    _measures(sample, cell, *next(areas), level=evaluation.level) if cell.shown else {},
                )
                for cell in found
            ]
            if len(shown) > 1:
                made = gaps_between(
                    sample, shown, auc=auc, level=evaluation.level, n_permutations=n_permutations, seed=seed
                )
                family += [
                    Gap(model, str(attribute), measure, gap, len(shown)) for measure, gap in made.items()
                ]
        gaps += _adjusted(family)
    return Subgroups(evaluation, groups, minimum, tuple(cells), tuple(gaps))


def gaps_between(
    sample: Sample,
    cells: Sequence[Cell],
    *,
    level: float,
    n_permutations: int,
    seed: int,
    auc: tuple[FloatArray, FloatArray] | None = None,
) -> dict[str, Estimate]:
    """Three gaps between cells, with intervals and tests.

    Parameters
    ----------
    sample : Sample
        Images of a model.
    cells : sequence of Cell
        Two or more, none of them suppressed.
    level : float
        Confidence level.
    n_permutations, seed : int
        Of the permutation tests.
    auc : pair of ndarray, optional
        What :meth:`Sample.auc` gave for the cells.

    Returns
    -------
    dict of str to Estimate
        By key of :data:`GAPS`.
    """
    points, samples = sample.rates(cells)
    gaps = {
        "auc": gap_between("gap in AUC", *(auc or sample.auc(cells)), level=level),
        "equal_opportunity": gap_between("gap in sensitivity", points[:1], samples[:1], level=level),
        "equalised_odds": gap_between(
            "larger gap of sensitivity and false positive rate", points, samples, level=level
        ),
    }
    group = np.select([cell.rows for cell in cells], list(range(len(cells))), -1)
    label, decision = sample.label, sample.decision
    patient = sample.table["patient_id"].to_numpy()
    for measure, rows in {
        "equal_opportunity": (group >= 0) & (label == 1),
        "equalised_odds": group >= 0,
    }.items():
        test = permutation_disparity(
            decision[rows],
            group[rows],
            cluster=patient[rows],
            stratum=label[rows],
            n_permutations=n_permutations,
            seed=seed,
        )
        gaps[measure] = replace(
            gaps[measure], p_value=test.p_value, method=f"{test.method}; interval {gaps[measure].method}"
        )
    n = {"groups": len(cells), "images": int((group >= 0).sum())}
    return {measure: replace(gap, n=n) for measure, gap in gaps.items()}


def _adjusted(family: Sequence[Gap]) -> list[Gap]:
    """Family with adjusted p-values and detectable gaps."""
    p_values = [gap.estimate.p_value for gap in family if gap.estimate.p_value is not None]
    holm = iter(adjust_p_values(p_values).tolist())
    return [
        replace(
            gap,
            holm=None if gap.estimate.p_value is None else next(holm),
            detectable=detectable_gap(gap.estimate, n_tests=max(len(p_values), 1)),
        )
        for gap in family
    ]


def _measures(
    sample: Sample, cell: Cell, point: float, samples: FloatArray, *, level: float
) -> dict[str, Estimate]:
    """Measures of one cell with intervals that know the patients."""
    rows = cell.rows
    label, decision = sample.label[rows], sample.decision[rows]
    score = sample.table["score"].to_numpy()[rows]
    patient = sample.table["patient_id"].to_numpy()[rows]

    def rate(name: str, success: NDArray[np.bool_], trial: NDArray[np.bool_] | None = None) -> Estimate:
        return clustered_proportion(success, trial, cluster=patient, level=level, name=name)

    measures = {
        "auc": _if_it_exists(
            lambda: sample.bootstrap.interval("AUC", point, samples, level=level), otherwise=float(point)
        ),
        "sensitivity": rate("sensitivity", (label == 1) & (decision == 1), label == 1),
        "specificity": rate("specificity", (label == 0) & (decision == 0), label == 0),
        "selection_rate": rate("selection rate", decision == 1),
        "calibration": mean_estimate(
            "mean score minus prevalence",
            score - label,
            bounds=(-1, 1),
            level=level,
            method="normal interval of a mean",
            cluster=patient,
        ),
    }
    with suppress(ValueError):  # scores that separate the classes have no slope
        measures["slope"] = calibration_slope(label, score.clip(1e-6, 1 - 1e-6), cluster=patient, level=level)
    return {name: replace(estimate, n=cell.n) for name, estimate in measures.items()}


def _if_it_exists(make: Callable[[], Estimate], *, otherwise: float) -> Estimate:
    """Estimate with its interval, or without one where resamples lack a class."""
    try:
        return make()
    except ValueError as error:
        return Estimate(name="AUC", estimate=otherwise, method=f"no interval: {error}")
