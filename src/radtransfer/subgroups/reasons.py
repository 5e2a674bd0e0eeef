"""What may explain a gap between groups: prevalence, other attributes, the collection of images, thresholds.

None of it shows a cause. A gap that shrinks within strata of another attribute goes with that attribute; one
that stays does not go with what was recorded.

References
----------
.. [1] Janes H, Pepe MS. Biometrika 2009;96:371-382 (covariate-adjusted AUC).
.. [2] Kitagawa EM. Components of a difference between two rates. J Am Stat Assoc 1955;50:1168-1194.
.. [3] Li F, Morgan KL, Zaslavsky AM. J Am Stat Assoc 2018;113:390-400 (overlap weights).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from radtransfer.evaluation.performance import youden_threshold
from radtransfer.stats.discrepancy import discrepancy_regression
from radtransfer.stats.disparity import gap_between
from radtransfer.subgroups.disparities import Sample, Subgroups, gaps_between
from radtransfer.subgroups.groups import ATTRIBUTES, Cell, cells_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from radtransfer.stats.result import Estimate

OUTCOMES: dict[str, int] = {"sensitivity": 1, "false_positive_rate": 0}
"""Rates that are regressed on the attributes: positive calls among the images of a class."""


@dataclass(frozen=True)
class Adjusted:
    """A gap as it is, and as it is where something else is held alike.

    Parameters
    ----------
    attribute : str
        Whose gap.
    measure : str
        ``"auc"`` or ``"selection_rate"``.
    alike : str
        What is held alike: attributes joined by ``+``, ``"prevalence"``, or nothing.
    estimate : Estimate
        The gap, without test.
    """

    attribute: str
    measure: str
    alike: str
    estimate: Estimate


def stratified_gaps(
    sample: Sample, groups: pd.DataFrame, *, minimum: int, level: float = 0.95
) -> list[Adjusted]:
    """Gaps of every attribute with other attributes, or the prevalence, held alike.

    For the AUC only pairs of images that agree in the other attribute are ranked ([1]_), and each value of
    that attribute has one weight for all groups: with weights of its own, a group of mostly hard images would
    keep its lower AUC. The weight is the harmonic mean of the groups' numbers of pairs, after the overlap
    weights of [3]_, so 0 where a group has none. The selection rate is what it would be if every group had
    the prevalence of all images, with its own sensitivity and specificity ([2]_).

    Parameters
    ----------
    sample : Sample
        Images of one model.
    groups : DataFrame
        From :func:`~radtransfer.subgroups.groups.attributes_of`.
    minimum : int
        Patients of either class below which a cell is suppressed.
    level : float
        Confidence level.

    Returns
    -------
    list of Adjusted
        Images whose other attribute is unknown make a stratum of their own. Without a stratum that has pairs
        of every group there is no gap in AUC.
    """
    single = [str(name) for name in groups if name in ATTRIBUTES]
    code = {name: groups[name].reindex(sample.table["image_id"]).cat.codes.to_numpy() + 1 for name in single}
    gaps = []
    for attribute in single:
        cells = [cell for cell in cells_of(sample.table, groups, attribute, minimum=minimum) if cell.shown]
        if len(cells) < 2:
            continue
        others = [name for name in single if name != attribute]
        joint = [others] if len(others) > 1 else []
        observed = gap_between("gap in AUC", *sample.auc(cells), level=level)
        gaps.append(Adjusted(attribute, "auc", "", _counted(observed, cells)))
        for alike in [*([name] for name in others), *joint]:
            estimate = _gap_within(sample, cells, _joint_codes([code[name] for name in alike]), level)
            if estimate is not None:
                gaps.append(Adjusted(attribute, "auc", "+".join(alike), estimate))
        for name, (points, samples) in _selection_rates(sample, cells).items():
            estimate = gap_between("gap in selection rate", points, samples, level=level)
            gaps.append(Adjusted(attribute, "selection_rate", name, _counted(estimate, cells)))
    return gaps


def regress(sample: Sample, groups: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Odds of a positive call by group, alone and with all other attributes in the model.

    Logistic regressions among positive images (sensitivity) and among negative ones (false positive rate),
    with errors that are robust to patients of several images.

    Parameters
    ----------
    sample : Sample
        Images of one model; those with an unknown attribute are left out.
    groups : DataFrame
        From :func:`~radtransfer.subgroups.groups.attributes_of`.
    level : float
        Confidence level.

    Returns
    -------
    DataFrame
        Columns outcome, attribute, group, reference (the first group of the attribute), n, crude and adjusted
        (log odds ratios as `Estimate`; None where the data cannot carry the regression).
    """
    single = [str(name) for name in groups if name in ATTRIBUTES]
    known = groups.reindex(sample.table["image_id"])[single].reset_index(drop=True)
    rows = []
    for outcome, value in OUTCOMES.items():
        chosen = (sample.label == value) & known.notna().all(axis=1).to_numpy()
        called, patient = sample.decision[chosen], sample.table["patient_id"].to_numpy()[chosen]
        present = {name: known.loc[chosen, name].cat.remove_unused_categories() for name in single}
        columns = {
            (name, group): (present[name] == group).to_numpy(float)
            for name in single
            for group in present[name].cat.categories[1:]
        }
        together = _odds(called, columns, patient, level)
        for name in single:
            alone = _odds(called, {key: x for key, x in columns.items() if key[0] == name}, patient, level)
            rows += [
                {
                    "outcome": outcome,
                    "attribute": name,
                    "group": key[1],
                    "reference": present[name].cat.categories[0],
                    "n": int(chosen.sum()),
                    "crude": alone.get(key),
                    "adjusted": together.get(key),
                }
                for key in columns
                if key[0] == name
            ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Thresholds:
    """Gaps and rates with one threshold for all, and with one for each group.

    Parameters
    ----------
    attribute : str
        Whose groups have thresholds of their own.
    gaps : dict of str to dict of str to Estimate
        ``"global"`` and ``"group"``, each with equal_opportunity and equalised_odds.
    accuracy : dict of str to Estimate
        Of ``"global"``, of ``"group"``, and their ``"difference"``, group minus global.
    n_own, n_possible : int
        Thresholds (of a group in a fold) that could be chosen on their own, and all there are; the others
        are those of the fold.
    """

    attribute: str
    gaps: dict[str, dict[str, Estimate]]
    accuracy: dict[str, Estimate]
    n_own: int
    n_possible: int


def group_thresholds(
    subgroups: Subgroups,
    sample: Sample,
    validation: pd.DataFrame,
    attribute: str,
    *,
    minimum: int,
    n_permutations: int,
    seed: int,
) -> Thresholds | None:
    """Compare one threshold for all with a threshold for each group.

    Parameters
    ----------
    subgroups : Subgroups
        Whose groups and minimum apply.
    sample : Sample
        Test images of the model, with decisions at the global threshold.
    validation : DataFrame
        Validation part of the model's predictions: image_id, fold, label, score. Test images never take
        part in the choice.
    attribute : str
        Whose groups.
    minimum : int
        Validation images of either class without which a group keeps the threshold of its fold.
    n_permutations, seed : int
        Of the permutation tests.

    Returns
    -------
    Thresholds or None
        None where fewer than two cells are shown.
    """
    level = subgroups.evaluation.level
    cells = [
        cell
        for cell in cells_of(sample.table, subgroups.groups, attribute, minimum=subgroups.minimum)
        if cell.shown
    ]
    if len(cells) < 2:
        return None
    fold, score = sample.table["fold"].to_numpy(), sample.table["score"].to_numpy()
    held_out = subgroups.groups[attribute].reindex(validation["image_id"]).to_numpy()
    decision, n_own = sample.decision.copy(), 0
    for number in np.unique(fold):
        for cell in cells:
            part = validation.loc[(validation["fold"] == number).to_numpy() & (held_out == cell.group)]
            if part["label"].value_counts().reindex([0, 1], fill_value=0).min() < minimum:
                continue
            own = youden_threshold(part["label"].to_numpy(), part["score"].to_numpy())
            rows = cell.rows & (fold == number)
            decision[rows] = score[rows] >= own
            n_own += 1
    both = {"global": sample, "group": Sample(sample.table.assign(decision=decision), sample.bootstrap)}
    options: dict[str, Any] = {"level": level, "n_permutations": n_permutations, "seed": seed}
    auc = sample.auc(cells)
    gaps = {name: gaps_between(chosen, cells, auc=auc, **options) for name, chosen in both.items()}
    for found in gaps.values():
        del found["auc"]  # no threshold changes it
    return Thresholds(
        attribute, gaps, _accuracies(both, cells, level), n_own, len(np.unique(fold)) * len(cells)
    )


def _accuracies(both: dict[str, Sample], cells: Sequence[Cell], level: float) -> dict[str, Estimate]:
    """Accuracy over all cells of two sets of decisions on the same images, and their paired difference."""
    bootstrap = both["global"].bootstrap
    inside = np.any([cell.rows for cell in cells], axis=0)
    right = np.stack([inside & (sample.decision == sample.label) for sample in both.values()])
    points = right.sum(axis=1) / inside.sum()
    samples = bootstrap.ratio(right, np.stack([inside, inside]))
    n = {"images": int(inside.sum())}
    return {
        **{
            name: bootstrap.interval("accuracy", float(points[i]), samples[i], level=level, n=n)
            for i, name in enumerate(both)
        },
        "difference": bootstrap.interval(
            "difference in accuracy", float(points[1] - points[0]), samples[1] - samples[0], level=level, n=n
        ),
    }


def _selection_rates(
    sample: Sample, cells: Sequence[Cell]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Selection rates as they are, and at the prevalence of all images; points and samples."""
    rows = np.stack([cell.rows for cell in cells])
    hits = rows & (sample.decision == 1)
    observed = hits.sum(axis=1) / rows.sum(axis=1), sample.bootstrap.ratio(hits, rows)
    # prevalence is held fixed: it is the standard, not an estimate
    weight = np.array([sample.label.mean(), 1 - sample.label.mean()])
    points, samples = sample.rates(cells)
    alike = weight @ points, np.einsum("m,mgr->gr", weight, samples)
    return {"": (observed[0][None], observed[1][None]), "prevalence": (alike[0][None], alike[1][None])}


def _gap_within(
    sample: Sample, cells: Sequence[Cell], stratum: NDArray[np.int64], level: float
) -> Estimate | None:
    """Gap in AUC over pairs of one fold and stratum; a stratum has one weight for all cells."""
    fold = sample.table["fold"].to_numpy(dtype=np.int64)
    both = stratum * (fold.max() + 1) + fold
    member = np.unique(stratum)[:, None] == np.unique(both) // (fold.max() + 1)
    won, pairs = np.stack(
        [
            member.astype(float)
            @ sample.bootstrap.ranked_pairs(sample.label, sample.table["score"], groups=both, among=cell.rows)
            for cell in cells
        ],
        axis=1,
    )
    # both by cell, stratum, and the data before their resamples
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = 1 / (1 / pairs).sum(axis=0)
        areas = (weight * np.where(weight > 0, won / pairs, 0)).sum(axis=1) / weight.sum(axis=0)
    compared = weight[:, 0] > 0
    if not compared.any():
        return None
    estimate = gap_between("gap in AUC", areas[None, :, 0], areas[None, :, 1:], level=level)
    used = compared[stratum]
    return replace(estimate, n={"images": sum(int(used[cell.rows].sum()) for cell in cells)})


def _joint_codes(codes: Sequence[ArrayLike]) -> NDArray[np.int64]:
    """One number for each combination, from 0 without gaps."""
    _, joint = np.unique(np.column_stack(codes), axis=0, return_inverse=True)
    return joint.astype(np.int64)


def _counted(estimate: Estimate, cells: Sequence[Cell]) -> Estimate:
    return replace(estimate, n={"images": sum(cell.n["images"] for cell in cells)})


def _odds(
    called: NDArray[np.int64],
    columns: dict[tuple[str, str], NDArray[np.float64]],
    patient: NDArray[Any],
    level: float,
) -> dict[tuple[str, str], Estimate]:
    """Log odds ratios of the columns; none where the data cannot carry them."""
    try:
        result = discrepancy_regression(
            called,
            np.column_stack(list(columns.values())),
            names=[f"{name}: {group}" for name, group in columns],
            cluster=patient,
            level=level,
        )
    except ValueError:
        return {}
    return dict(zip(columns, result.terms[1:], strict=True))


def matched_auc(sample: Sample, matched: pd.Series[bool], *, level: float) -> dict[str, Estimate]:
    """AUC of all images and of the id-matched ones, and their difference on the same resamples.

    Parameters
    ----------
    sample : Sample
        Images of one model.
    matched : Series of bool
        From :func:`~radtransfer.subgroups.groups.id_matched`.
    level : float
        Confidence level.

    Returns
    -------
    dict of str to Estimate
        ``"all"``, ``"matched"`` and ``"difference"``, matched minus all.

    Raises
    ------
    ValueError
        If the matched images lack a class in every fold, or in too many resamples.
    """
    chosen = matched.reindex(sample.table["image_id"]).to_numpy(dtype=bool)
    label, patient = sample.label, sample.table["patient_id"].to_numpy()
    parts = [
        Cell(
            "matched",
            name,
            rows,
            {
                "patients": len(np.unique(patient[rows])),
                "images": int(rows.sum()),
                "positive": int(label[rows].sum()),
            },
            shown=True,
        )
        for name, rows in (("all", np.ones_like(chosen)), ("matched", chosen))
    ]
    (points,), (samples,) = sample.auc(parts)
    return {
        **{
            part.group: sample.bootstrap.interval("AUC", float(points[i]), samples[i], level=level, n=part.n)
            for i, part in enumerate(parts)
        },
        "difference": sample.bootstrap.interval(
            "difference in AUC",
            float(points[1] - points[0]),
            samples[1] - samples[0],
            level=level,
            n=parts[1].n,
        ),
    }
