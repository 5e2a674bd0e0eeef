"""Figures, tables and numbers of the chapter on patient groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from radtransfer.report import figures
from radtransfer.report.explorer import Explorer
from radtransfer.report.labels import model_label, primary_network
from radtransfer.report.numbers import format_number
from radtransfer.report.tables import ABSENT
from radtransfer.stats.result import Estimate
from radtransfer.subgroups.disparities import GAPS, MEASURES, Sample, Subgroups, analyse
from radtransfer.subgroups.groups import (
    ATTRIBUTES,
    DEMOGRAPHIC,
    attribute_label,
    attributes_of,
    id_matched,
)
from radtransfer.subgroups.reasons import (
    Adjusted,
    Thresholds,
    group_thresholds,
    matched_auc,
    regress,
    stratified_gaps,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from radtransfer.evaluation.performance import Evaluation
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.subgroups.disparities import CellResult, Gap

DRAWN = ("auc", "equalised_odds")
"""Gaps of the opening figure; equal opportunity is a part of equalised odds."""

_ADJUSTED = {"auc": "AUC", "selection_rate": "Selection rate"}
_OUTCOMES = {"sensitivity": "Sensitivity", "false_positive_rate": "False positive rate"}


@dataclass(frozen=True)
class Results:
    """All that the chapter shows.

    Parameters
    ----------
    subgroups : Subgroups
        Every model in every group.
    primary : str
        Network that stands for transfer learning; what explains gaps is asked of it.
    adjusted : list of Adjusted
        Its gaps with something held alike.
    regression : DataFrame
        From :func:`~radtransfer.subgroups.reasons.regress`.
    thresholds : list of Thresholds
        By attribute.
    matched : Subgroups or None
        The primary network on the id-matched images.
    matched_auc : dict of str to dict of str to Estimate
        By model: AUC on all, on the matched images, and the difference.
    """

    subgroups: Subgroups
    primary: str
    adjusted: list[Adjusted]
    regression: pd.DataFrame
    thresholds: list[Thresholds]
    matched: Subgroups | None
    matched_auc: dict[str, dict[str, Estimate]]

    @classmethod
    def of(
        cls,
        evaluation: Evaluation,
        predictions: pd.DataFrame,
        frame: pd.DataFrame,
        *,
        age_edges: Sequence[int],
        follow_up_edges: Sequence[int],
        minimum: int,
        minimum_validation: int,
        n_resamples: int,
        n_permutations: int,
        seed: int,
    ) -> Self:
        """Make every analysis of the chapter.

        Parameters
        ----------
        evaluation : Evaluation
            Evaluated models of a task with two classes.
        predictions : DataFrame
            What they were evaluated from.
        frame : DataFrame
            Rows of the cohort.
        age_edges, follow_up_edges : sequence of int
            Where bands begin, from the second on.
        minimum : int
            Patients of either class below which a cell is suppressed.
        minimum_validation : int
            Validation images of either class without which a group has no threshold of its own.
        n_resamples, n_permutations, seed : int
            Of bootstrap and permutation tests.
        """
        groups = attributes_of(frame, age_edges=age_edges, follow_up_edges=follow_up_edges)
        options = {
            "minimum": minimum,
            "n_resamples": n_resamples,
            "n_permutations": n_permutations,
            "seed": seed,
        }
        subgroups = analyse(evaluation, groups, **options)
        primary = primary_network(evaluation.models)
        samples = {
            model: Sample.of(performance.table, n_resamples=n_resamples, seed=seed)
            for model, performance in evaluation.models.items()
        }
        sample = samples[primary]
        chosen = (predictions["model"] == primary) & (predictions["part"] == "validation")
        thresholds = [
            group_thresholds(
                subgroups,
                sample,
                predictions.loc[chosen],
                attribute,
                minimum=minimum_validation,
                n_permutations=n_permutations,
                seed=seed,
            )
            for attribute in groups
            if attribute in ATTRIBUTES
        ]
        alike = id_matched(frame, label=f"label_{evaluation.task}")
        alone = replace(evaluation, models={primary: evaluation.models[primary]})
        return cls(
            subgroups=subgroups,
            primary=primary,
            adjusted=stratified_gaps(sample, groups, minimum=minimum, level=evaluation.level),
            regression=regress(sample, groups, level=evaluation.level),
            thresholds=[found for found in thresholds if found is not None],
            matched=None if alike is None else analyse(alone, groups[alike.reindex(groups.index)], **options),
            matched_auc={}
            if alike is None
            else {model: matched_auc(one, alike, level=evaluation.level) for model, one in samples.items()},
        )

    @property
    def task(self) -> str:
        """Task of the predictions."""
        return self.subgroups.evaluation.task

    @property
    def level(self) -> float:
        """Confidence level."""
        return self.subgroups.evaluation.level

    def label(self, model: str) -> str:
        """Name of a model for readers."""
        return model_label(model, self.subgroups.evaluation.models[model].weights)


def _p(value: float | None) -> str:
    return ABSENT if value is None else format_number(value, unit="p")


def _gap_row(gap: Gap) -> dict[str, Any]:
    estimate = gap.estimate
    return {
        "model": gap.model,
        "attribute": gap.attribute,
        "measure": gap.measure,
        "n_groups": gap.n_cells,
        "estimate": estimate.estimate,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p_value,
        "holm": gap.holm,
        "detectable": gap.detectable,
        "found": gap.found,
    }


def _gap_sentence(row: dict[Hashable, Any]) -> str:
    numbers = [format_number(row["estimate"])]
    if not pd.isna(row["high"]):
        numbers.append(f"(at most {format_number(row['high'])})")
    seen = "" if pd.isna(row["detectable"]) else f", visible from {format_number(row['detectable'])}"
    return f"{row['label']} {' '.join(numbers)}{seen}, {'significant' if row['found'] else 'not significant'}"


def opening(step: Step, results: Results) -> Figure:
    """Gaps of the primary network, and which could have been seen."""
    data = pd.DataFrame([_gap_row(gap) for gap in results.subgroups.of(results.primary)])
    numeric = ["low", "high", "p", "holm", "detectable"]
    data[numeric] = data[numeric].astype(float)
    data.insert(0, "label", [attribute_label(name) for name in data["attribute"]])
    drawn = data.loc[data["measure"].isin(DRAWN)].assign(measure=data["measure"].map(GAPS))
    sentences = [
        f"{measure}: {'; '.join(_gap_sentence(row) for row in part.to_dict('records'))}"
        for measure, part in drawn.groupby("measure", sort=False)
    ]
    return step.figure(
        f"subgroup_gaps_{results.task}",
        figures.gaps_and_limits(drawn, level=results.level),
        alt=f"Gaps between patient groups, {results.label(results.primary)}. {'. '.join(sentences)}.",
        caption=(
            f"{results.label(results.primary)}: largest gap between the groups of each attribute and of each "
            "pair of attributes. The grey bar ends at the smallest gap that would have been found with a "
            "probability of 80 %, after Holm's adjustment; a gap inside it is no evidence of equality."
        ),
        data=data,
    )


def _cells_frame(results: Results) -> pd.DataFrame:
    """Every model, group and measure, one a row; suppressed cells have no values."""
    rows = []
    for found in results.subgroups.cells:
        about = {
            "model": found.model,
            "attribute": found.cell.attribute,
            "group": found.cell.group,
            "images": found.cell.n["images"],
            "patients": found.cell.n["patients"],
            "positive": found.cell.n["positive"],
            "suppressed": not found.cell.shown,
        }
        for measure in MEASURES:
            estimate = found.measures.get(measure)
            values = {end: getattr(estimate, end, None) for end in ("estimate", "low", "high")}
            rows.append(about | {"measure": measure} | values)
    return pd.DataFrame(rows)


def groups_explorer(step: Step, results: Results) -> Explorer:
    """Performance by group: the AUC of the primary network as a picture, everything else to choose."""
    frame = _cells_frame(results)
    chosen = (frame["model"] == results.primary) & (frame["measure"] == "auc")
    drawn = frame.loc[chosen & frame["attribute"].isin(list(ATTRIBUTES)) & ~frame["suppressed"]]
    drawn = drawn.assign(
        label=[
            f"{ATTRIBUTES[attribute]}: {group} (n = {n:,})"
            for attribute, group, n in zip(drawn["attribute"], drawn["group"], drawn["images"], strict=True)
        ],
        group=drawn["attribute"].map(ATTRIBUTES),
    )
    figure = step.figure(
        f"subgroup_auc_{results.task}",
        figures.forest(drawn, xlabel=f"AUC ({results.level:.0%} CI)"),
        alt=f"Forest plot of the AUC by group, {results.label(results.primary)}. "
        + "; ".join(f"{row.label} {row.estimate:.3f}" for row in drawn.itertuples())
        + ".",
        caption=(
            f"{results.label(results.primary)}: AUC by group, n images. The CSV file has every model, "
            "measure and intersection."
        ),
        data=frame,
    )
    return Explorer(
        figure=figure,
        kind="subgroups",
        title="Choose model, groups and measure",
        data=_explorer_data(results),
    )


def _explorer_data(results: Results) -> dict[str, Any]:
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for found in results.subgroups.cells:
        measures = {
            name: [_rounded(estimate.estimate), _rounded(estimate.low), _rounded(estimate.high)]
            for name, estimate in found.measures.items()
        }
        n = {name: found.cell.n[name] for name in ("images", "patients", "positive")}
        rows = cells.setdefault(found.model, {}).setdefault(found.cell.attribute, [])
        rows.append({"group": found.cell.group, "n": n, "measures": measures})
    return {
        "models": {model: results.label(model) for model in cells},
        "chosen": results.primary,
        "attributes": {name: attribute_label(str(name)) for name in results.subgroups.groups},
        "measures": MEASURES,
        "minimum": results.subgroups.minimum,
        "cells": cells,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def groups_table(step: Step, results: Results) -> Table:
    """The primary network in every group of every attribute and intersection."""
    rows = [_cell_row(found) for found in results.subgroups.cells if found.model == results.primary]
    return step.table(
        f"subgroup_cells_{results.task}",
        pd.DataFrame(rows),
        caption=(
            f"{results.label(results.primary)} by group, with {results.level:.0%} intervals that know the "
            f"patients. Groups with fewer than {results.subgroups.minimum} patients of either class are "
            "suppressed (dashes). A calibration slope of 1 is right, below 1 scores are too extreme."
        ),
    )


def _cell_row(found: CellResult) -> dict[str, Any]:
    n = found.cell.n
    return {
        "Group": f"{attribute_label(found.cell.attribute)}: {found.cell.group}",
        "Images": n["images"],
        "Patients": n["patients"],
        "Positive": n["positive"],
        **{label: found.measures.get(measure) for measure, label in MEASURES.items()},
    }


def matrix(step: Step, results: Results, measure: str) -> Figure:
    """One gap of every model and attribute in one picture, significant ones framed."""
    data = pd.DataFrame([_gap_row(gap) for gap in results.subgroups.gaps if gap.measure == measure])
    data.insert(0, "row", [results.label(model) for model in data["model"]])
    data.insert(1, "column", [attribute_label(name) for name in data["attribute"]])
    data["significant"] = data["found"]
    found = data.loc[data["found"]]
    which = "; ".join(f"{row.row}, {row.column} {row.estimate:.2f}" for row in found.itertuples())
    return step.figure(
        f"subgroup_matrix_{measure}_{results.task}",
        figures.difference_matrix(data, colorbar=f"Gap: {GAPS[measure]}"),
        alt=f"Matrix of gaps ({GAPS[measure]}) of every model (rows) and attribute (columns), from "
        f"{data['estimate'].min():.2f} to {data['estimate'].max():.2f}. Significant: {which or 'none'}.",
        caption=(
            f"Gaps ({GAPS[measure]}) of every model. Framed and bold: Holm-adjusted p within the model's "
            f"family at most {1 - results.level:.2g}. The CSV file has intervals, p-values and what could "
            "have been seen."
        ),
        data=data,
    )


def tests_table(step: Step, results: Results) -> Table:
    """The declared family of the primary network."""
    rows = [
        {
            "Groups of": attribute_label(gap.attribute),
            "Measure": GAPS[gap.measure],
            "Groups": gap.n_cells,
            "Gap": gap.estimate,
            "p": _p(gap.estimate.p_value),
            "Holm": _p(gap.holm),
            "Visible from": gap.detectable,
        }
        for gap in results.subgroups.of(results.primary)
    ]
    return step.table(
        f"subgroup_tests_{results.task}",
        pd.DataFrame(rows),
        caption=(
            f"{results.label(results.primary)}: largest gap between groups with {results.level:.0%} "
            "intervals, p (bootstrap of patients for the AUC, permutation of patients' groups for the "
            "others), p adjusted by Holm over all rows, and the smallest gap that would have been found with "
            "a probability of 80 %."
        ),
    )


def adjusted_table(step: Step, results: Results) -> Table:
    """Gaps with other attributes or the prevalence held alike."""
    rows = [
        {
            "Groups of": attribute_label(found.attribute),
            "Gap in": _ADJUSTED[found.measure],
            "Held alike": _alike(found.alike),
            "Gap": found.estimate,
        }
        for found in results.adjusted
    ]
    return step.table(
        f"subgroup_adjusted_{results.task}",
        pd.DataFrame(rows),
        caption=(
            f"{results.label(results.primary)}: gaps as they are, among images that agree in another "
            "attribute (each value of which has one weight for all groups), or with every group at the "
            f"prevalence of all; {results.level:.0%} intervals."
        ),
    )


def _alike(names: str) -> str:
    if not names:
        return "nothing"
    return ", ".join(ATTRIBUTES.get(name, name).lower() for name in names.split("+"))


def regression_table(step: Step, results: Results) -> Table:
    """Odds ratios of a positive call, alone and with the other attributes."""
    rows = [
        {
            "Group": f"{ATTRIBUTES[row['attribute']]}: {row['group']} v. {row['reference']}",
            "Rate": _OUTCOMES[row["outcome"]],
            "Images": row["n"],
            "Odds ratio": _odds_ratio(row["crude"]),
            "Adjusted": _odds_ratio(row["adjusted"]),
            "p, adjusted": _p(getattr(row["adjusted"], "p_value", None)),
        }
        for row in results.regression.to_dict("records")
    ]
    return step.table(
        f"subgroup_regression_{results.task}",
        pd.DataFrame(rows),
        caption=(
            f"{results.label(results.primary)}: odds of a positive call among positive images (sensitivity) "
            "and among negative ones (false positive rate), each attribute alone and with all others in the "
            f"model. Logistic regression, errors robust to patients, {results.level:.0%} intervals."
        ),
    )


def _odds_ratio(term: Estimate | None) -> Estimate | None:
    if term is None:
        return None
    ratio, low, high = term.details["odds_ratio"]
    return replace(term, estimate=ratio, low=low, high=high)


def matched_table(step: Step, results: Results) -> Table:
    """AUC of every model on all and on the id-matched images."""
    rows = [
        {
            "Model": results.label(model),
            "All images": found["all"],
            "Id-matched": found["matched"],
            "Difference": found["difference"],
        }
        for model, found in results.matched_auc.items()
    ]
    return step.table(
        f"subgroup_matched_{results.task}",
        pd.DataFrame(rows, columns=["Model", "All images", "Id-matched", "Difference"]),
        caption=(
            "AUC over pairs of images of one fold: all images, those of patients whose numbers lie in the "
            "range that both classes share, and the difference on the same resamples; "
            f"{results.level:.0%} intervals."
        ),
    )


def matched_gaps_table(step: Step, results: Results) -> Table:
    """Gaps of the primary network on all and on the id-matched images."""
    matched = (
        {}
        if results.matched is None
        else {(gap.attribute, gap.measure): gap for gap in results.matched.of(results.primary)}
    )
    rows = []
    for gap in results.subgroups.of(results.primary):
        if gap.attribute in ATTRIBUTES:
            other = matched.get((gap.attribute, gap.measure))
            rows.append(
                {
                    "Groups of": attribute_label(gap.attribute),
                    "Measure": GAPS[gap.measure],
                    "All images": gap.estimate,
                    "Id-matched": getattr(other, "estimate", None),
                    "Groups": f"{gap.n_cells}; {other.n_cells if other else ABSENT}",
                    "Holm": f"{_p(gap.holm)}; {_p(other.holm if other else None)}",
                }
            )
    return step.table(
        f"subgroup_matched_gaps_{results.task}",
        pd.DataFrame(rows),
        caption=(
            f"{results.label(results.primary)}: gaps on all and on the id-matched images, groups that are "
            "not suppressed, and p adjusted by Holm within each family; dashes where fewer than two groups "
            "remain."
        ),
    )


def thresholds_table(step: Step, results: Results) -> Table:
    """One threshold for all against one for each group."""
    rows = [
        {
            "Groups of": ATTRIBUTES[found.attribute],
            "Threshold": "one for all" if name == "global" else "one a group",
            **{GAPS[measure]: estimate for measure, estimate in gaps.items()},
            "Accuracy": found.accuracy[name],
            "Change": found.accuracy["difference"] if name == "group" else None,
            "Own thresholds": f"{found.n_own} of {found.n_possible}" if name == "group" else ABSENT,
        }
        for found in results.thresholds
        for name, gaps in found.gaps.items()
    ]
    return step.table(
        f"subgroup_thresholds_{results.task}",
        pd.DataFrame(rows),
        caption=(
            f"{results.label(results.primary)}: gaps and accuracy with the threshold of the fold, and with "
            "one chosen for each group on its validation images, where there are enough of them; "
            f"{results.level:.0%} intervals."
        ),
    )


def record(step: Step, results: Results, *, margin: float) -> None:
    """Record the gaps that the chapter and the ledger speak of.

    Parameters
    ----------
    step : Step
    results : Results
    margin : float
        Largest gap that counts as none; the ledger's rule.
    """
    prefix = f"subgroups.{results.task}"
    subgroups = results.subgroups
    family = subgroups.of(results.primary)
    step.numbers(
        prefix,
        {
            "network": results.label(results.primary),
            "minimum": subgroups.minimum,
            "margin": margin,
            "n_tests": len(family),
            "n_found": sum(gap.found for gap in family),
            "n_found_demographic": sum(gap.found for gap in family if gap.attribute in DEMOGRAPHIC),
            "n_suppressed": sum(
                not found.cell.shown for found in subgroups.cells if found.model == results.primary
            ),
            "n_models": len(subgroups.evaluation.models),
            "n_models_found": sum(
                any(gap.found for gap in subgroups.of(model)) for model in subgroups.evaluation.models
            ),
        },
    )
    for gap in family:
        if gap.attribute not in (*ATTRIBUTES, *DEMOGRAPHIC):
            continue  # the tables have all pairs of attributes
        name = f"{attribute_label(gap.attribute)}: {GAPS[gap.measure]}"
        # the p-value that readers and ledger see is the adjusted one
        estimate = replace(gap.estimate, p_value=gap.holm)
        step.number(f"{prefix}.gap.{gap.attribute}.{gap.measure}", estimate, description=name)
        if gap.detectable is not None:
            step.number(
                f"{prefix}.visible.{gap.attribute}.{gap.measure}",
                gap.detectable,
                description=f"{name}, visible from",
            )
    if results.primary in results.matched_auc:
        step.numbers(f"{prefix}.matched", results.matched_auc[results.primary])
