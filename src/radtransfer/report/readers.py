"""Figures, tables and numbers of the reader study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from radtransfer.readers.comparison import MAJORITY, METRICS, RULES, Comparison
from radtransfer.readers.tables import BENCHMARK, REFERENCE
from radtransfer.report import figures
from radtransfer.report.numbers import format_interval, format_number

if TYPE_CHECKING:
    from radtransfer.readers.assistance import Demonstration
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.stats.result import Estimate

SURE = 0.975
"""Share of resamples from which on a point is called surely below a curve."""

_EFFECTS = {
    "auc": "AUC, assisted − unassisted",
    "sensitivity": "Sensitivity, assisted − unassisted",
    "specificity": "Specificity, assisted − unassisted",
    "time_ratio": "Reading time, assisted / unassisted",
    "learning": "Reading time, session 2 / session 1",
    "confidence": "Confidence (points), assisted − unassisted",
    "more_confident": "Share of readers more confident with assistance",
}


def _text(estimate: Estimate) -> str:
    return format_interval(estimate.estimate, estimate.low, estimate.high, level=None)


def _row(label: str, estimate: Estimate, **more: str) -> dict[str, Any]:
    return {
        "label": label,
        "estimate": estimate.estimate,
        "low": estimate.low,
        "high": estimate.high,
    } | more


def _forest_alt(what: str, rows: pd.DataFrame) -> str:
    parts = (
        f"{row['label']} {format_interval(row['estimate'], row['low'], row['high'], level=None)}"
        for row in rows.to_dict("records")
    )
    return f"{what} {'; '.join(parts)}."


def dependence(step: Step, comparison: Comparison) -> Table:
    """Which algorithms are in truth the same, finding by finding."""
    frame = comparison.tables.dependence(comparison.findings)
    frame["positive"] = [int(comparison.tables.truth[name].sum()) for name in frame["finding"]]
    frame = frame[["finding", "positive", "n_distinct", "identical"]]
    frame.columns = pd.Index(["Finding", "Positive cases", "Distinct algorithms", "Identical scores"])
    return step.table(
        "readers_algorithms",
        frame,
        caption="Findings analysed, and algorithms that order cases differently; identical ones count once.",
    )


def curves(step: Step, comparison: Comparison) -> Figure:
    """ROC curves of all distinct algorithms with the readers' points."""
    points = []
    for row in comparison.operating_points.to_dict("records"):
        sensitivity, specificity = row["sensitivity"], row["specificity"]
        points.append(
            {
                "finding": row["finding"],
                "reader": row["reader"],
                "x": 1 - specificity.estimate,
                "x_low": 1 - specificity.high,
                "x_high": 1 - specificity.low,
                "y": sensitivity.estimate,
                "y_low": sensitivity.low,
                "y_high": sensitivity.high,
            }
        )
    drawn, lines = pd.DataFrame(points), comparison.roc_curves()
    below = comparison.below
    told = "; ".join(
        f"{finding}: {format_number(int(part['below'].sum()))} of {format_number(len(part))}"
        for finding, part in below.groupby("finding", sort=False)
    )
    return step.figure(
        "readers_roc",
        figures.readers_and_curves(lines, drawn),
        alt=f"ROC curves of the algorithms with radiologists' points. Points below a curve: {told}.",
        caption=(
            "Every distinct algorithm's ROC curve, and the operating points of the radiologists who did not "
            f"make the reference standard, with Wilson intervals at {comparison.level:.0%}. The axes are cut."
        ),
        data=pd.concat(
            [
                lines.rename(columns={"model": "name"}).assign(kind="algorithm"),
                drawn.rename(columns={"reader": "name"}).assign(kind="reader"),
            ],
            ignore_index=True,
        ),
    )


def below_table(step: Step, comparison: Comparison) -> Table:
    """How many curves each reader's point lies below, and how sure that is."""
    below = comparison.below
    rows = []
    for point in comparison.operating_points.to_dict("records"):
        if point["reader"] == MAJORITY:
            continue
        part = below[(below["finding"] == point["finding"]) & (below["reader"] == point["reader"])]
        rows.append(
            {
                "Finding": point["finding"],
                "Radiologist": point["reader"],
                "Sensitivity": point["sensitivity"],
                "Specificity": point["specificity"],
                "Below curves": f"{int(part['below'].sum())} of {len(part)}",
                "Surely below": int((part["probability"] >= SURE).sum()),
                "Mean probability below": float(part["probability"].mean()),
            }
        )
    return step.table(
        "readers_below",
        pd.DataFrame(rows),
        caption=(
            "Radiologists' operating points with Wilson intervals, and the curves they lie below. "
            f"Surely: in at least {SURE:.1%} of the resamples of cases."
        ),
    )


def auc_table(step: Step, comparison: Comparison) -> Table:
    """AUC of every distinct algorithm."""
    wide = comparison.aucs.pivot(index="model", columns="finding", values="auc")[list(comparison.findings)]
    mean = {name: comparison.mean_auc(name) for name in comparison.findings}
    frame = pd.concat([wide, pd.DataFrame([mean], index=["mean of the distinct"])])
    frame.index.name = "Algorithm"
    return step.table(
        "readers_auc",
        frame,
        caption=(
            f"AUC with {comparison.level:.0%} intervals (DeLong, logit scale; the mean by resampling cases). "
            "Where an algorithm's scores are another's, its cell is empty."
        ),
    )


def differences(step: Step, comparison: Comparison) -> Figure:
    """Mean algorithm minus mean reader, over all findings and by finding."""
    rows = []
    for metric in METRICS:
        for readers in ("random", "fixed"):
            words = f"{metric.capitalize()}, all findings, {readers} readers"
            estimate = comparison.difference(metric, readers=readers)
            rows.append(_row(words, estimate, group="all findings"))
    for finding in comparison.findings:
        estimate = comparison.difference("sensitivity", readers="fixed", finding=finding)
        rows.append(_row(f"Sensitivity, {finding}, fixed readers", estimate, group="one finding"))
    data = pd.DataFrame(rows)
    return step.figure(
        "readers_difference",
        figures.forest(data, xlabel=f"AI − radiologist ({comparison.level:.0%} CI)", reference=0.0),
        alt=_forest_alt("Forest plot of differences, mean algorithm minus mean radiologist.", data),
        caption=(
            "Mean algorithm minus mean radiologist at the radiologists' mean specificity. Fixed readers: "
            "these radiologists only; random readers: radiologists like them."
        ),
        data=data,
    )


def tests(step: Step, comparison: Comparison) -> Table:
    """The declared families of tests and their outcome after Holm."""
    rows = []
    for metric in METRICS:
        for kind in ("single", MAJORITY):
            family = comparison.pairs.loc[comparison.pairs["metric"] == metric]
            part = family.loc[(family["comparator"] == MAJORITY) == (kind == MAJORITY)]
            decided = part["p_holm"] < 1 - comparison.level
            rows.append(
                {
                    "Metric": metric,
                    "Against": "each radiologist" if kind == "single" else "their majority",
                    "Tests": len(part),
                    "Mean difference": float(part["difference"].mean()),
                    "AI better": int((decided & (part["difference"] > 0)).sum()),
                    "Radiologist better": int((decided & (part["difference"] < 0)).sum()),
                    "Not inferior": int((part["noninferior_holm"] < (1 - comparison.level) / 2).sum()),
                }
            )
    return step.table(
        "readers_tests",
        pd.DataFrame(rows),
        caption=(
            "McNemar's tests (mid-p) of every distinct algorithm against every radiologist and against their "
            "majority, and Tango's tests of non-inferiority at the margin of "
            f"{format_number(comparison.margin, digits=2)}; Holm's adjustment within each metric."
        ),
    )


def kappa(step: Step, comparison: Comparison) -> Figure:
    """Agreement of all raters."""
    matrix = comparison.kappa_matrix
    between = comparison.agreement
    return step.figure(
        "readers_kappa",
        figures.agreement_matrix(matrix, colorbar="Cohen's kappa, mean over findings"),
        alt=(
            "Matrix of Cohen's kappa. Between radiologists: "
            f"{_text(between['readers'])}; AI with a radiologist: {_text(between['ai_reader'])}; "
            f"AI with the reference standard: {_text(between['ai_standard'])}; "
            f"radiologist with the reference standard: {_text(between['reader_standard'])}."
        ),
        caption=(
            "Cohen's kappa, mean over findings; AI: mean over algorithms at the radiologists' specificity. "
            "Readers who made the reference standard are not held against it."
        ),
        data=matrix.rename_axis("rater").reset_index(),
    )


def panel_agreement(step: Step, comparison: Comparison) -> Table:
    """Fleiss' kappa and AC1 of both groups of radiologists."""
    frame = comparison.panel_agreement.rename(
        columns={
            "finding": "Finding",
            f"fleiss_{REFERENCE}": "Fleiss, makers of the standard",
            f"ac1_{REFERENCE}": "AC1, makers of the standard",
            f"fleiss_{BENCHMARK}": "Fleiss, measured readers",
            f"ac1_{BENCHMARK}": "AC1, measured readers",
        }
    )
    return step.table(
        "readers_fleiss",
        frame,
        caption=(
            f"Agreement within each group of radiologists, {comparison.level:.0%} intervals: Fleiss' kappa, "
            "and Gwet's AC1, which does not fall merely because a finding is rare."
        ),
    )


def leave_one_out(step: Step, comparison: Comparison) -> Table:
    """Makers of the reference standard against the majority of the others."""
    frame = comparison.leave_one_out.rename(
        columns={
            "finding": "Finding",
            "reader": "Radiologist",
            "n_ties": "Ties left out",
            "sensitivity": "Sensitivity",
            "specificity": "Specificity",
        }
    )
    return step.table(
        "readers_leave_one_out",
        frame,
        caption=(
            "Each maker of the reference standard against the majority of the other makers; cases on which "
            "these are evenly split are left out, and with them the hard ones."
        ),
    )


def discrepancies(step: Step, comparison: Comparison) -> Figure:
    """What explains that algorithm and radiologist differ."""
    result = comparison.discrepancies
    shown = [*map(str, comparison.tables.covariates), "finding present"]
    rows = []
    for name in shown:
        term = result[name]
        ratio, low, high = term.details["odds_ratio"]
        rows.append(
            {"label": name.capitalize(), "estimate": ratio, "low": low, "high": high, "p_value": term.p_value}
        )
    data = pd.DataFrame(rows)
    return step.figure(
        "readers_discrepancies",
        figures.forest(
            data, xlabel=f"Odds ratio of a discrepancy ({comparison.level:.0%} CI)", reference=1.0, digits=2
        ),
        alt=_forest_alt("Forest plot of odds ratios of a discrepancy between AI and radiologist.", data),
        caption=f"{result.method[0].upper()}{result.method[1:]} by case; adjusted for the finding.",
        data=data,
    )


def rules(step: Step, comparison: Comparison) -> Table:
    """Simulated rules with what they reach and what they cost in readings."""
    table = comparison.rules
    frame = pd.DataFrame(
        [
            {"Rule": RULES[str(rule)]}
            | {
                name: row[key]
                for name, key in (
                    ("Sensitivity", "sensitivity"),
                    ("Specificity", "specificity"),
                    ("Accuracy", "accuracy"),
                )
            }
            | {"Readings per case": row["readings"].estimate}
            for rule, row in table.iterrows()
        ]
    )
    return step.table(
        "readers_rules",
        frame,
        caption=(
            f"Rules simulated from the recorded decisions, means over findings, with {comparison.level:.0%} "
            "intervals that resample cases. The last row is a ceiling and no rule: it knows who is right."
        ),
    )


def rule_gains(step: Step, comparison: Comparison) -> Figure:
    """Gains of the rules over one radiologist alone."""
    rows = []
    for metric in ("sensitivity", "specificity"):
        for rule, row in comparison.rules.iterrows():
            if rule != "reader":
                rows.append(_row(RULES[str(rule)], row[f"{metric}_gain"], group=metric))
    data = pd.DataFrame(rows)
    return step.figure(
        "readers_rule_gains",
        figures.forest(data, xlabel=f"Gain over one radiologist ({comparison.level:.0%} CI)", reference=0.0),
        alt=_forest_alt(
            "Forest plot of gains in sensitivity, then in specificity, over one radiologist.", data
        ),
        caption="What each rule gains or loses against one radiologist reading alone.",
        data=data,
    )


def assistance(step: Step, demonstration: Demonstration) -> Table:
    """Planted effects of assistance, and what the analysis recovers."""
    found = demonstration.found.estimates()
    frame = pd.DataFrame(
        [
            {"Effect": words, "Planted": demonstration.planted.get(name), "Found": found[name]}
            for name, words in _EFFECTS.items()
        ]
    )
    return step.table(
        "readers_assistance",
        frame,
        caption="Phantom readers with and without assistance: what was planted and what the analysis finds.",
    )


def record(step: Step, comparison: Comparison, demonstration: Demonstration) -> None:
    """Record the study's numbers under ``readers.``; the same keys whatever the source."""
    tables = comparison.tables
    distinct = tables.dependence(comparison.findings)["n_distinct"]
    step.number("readers.source", tables.source)
    step.numbers(
        "readers.n",
        {
            "cases": comparison.n["cases"],
            "readers": len(comparison.readers),
            "makers": len(tables.readers(REFERENCE)),
            "findings": len(comparison.findings),
            "algorithms": len(tables.scores),
            "distinct_least": int(distinct.min()),
            "distinct_most": int(distinct.max()),
            "not_probabilities": len(tables.not_probabilities()),
        },
    )
    step.number("readers.models.correlation", comparison.model_correlation, digits=2)
    step.number("readers.auc.mean", comparison.mean_auc())
    below = comparison.below
    step.numbers(
        "readers.below",
        {
            "points": len(below),
            "count": int(below["below"].sum()),
            "share": float(below["below"].mean()),
            "sure": int((below["probability"] >= SURE).sum()),
            "sure_above": int((below["probability"] <= 1 - SURE).sum()),
        },
    )
    step.number("readers.margin", comparison.margin, digits=2)
    for metric in METRICS:
        for readers in ("random", "fixed"):
            step.number(
                f"readers.difference.{metric}.{readers}",
                comparison.difference(metric, readers=readers),
                description=f"{metric.capitalize()}, AI − radiologist, at the radiologists' mean specificity",
            )
        step.number(f"readers.majority.{metric}", comparison.majority_difference(metric))
        step.numbers(f"readers.tests.{metric}", comparison.family(metric))
    step.numbers("readers.kappa", dict(comparison.agreement))
    fleiss = comparison.panel_agreement
    for role, key in ((REFERENCE, "makers"), (BENCHMARK, "measured")):
        mean = float(fleiss[f"fleiss_{role}"].map(lambda estimate: estimate.estimate).mean())
        step.number(f"readers.fleiss.{key}", mean)
    for name, term in (("devices", "support devices"), ("findings", "number of findings")):
        result = comparison.discrepancies[term]
        ratio, low, high = result.details["odds_ratio"]
        step.number(
            f"readers.discrepancy.{name}",
            type(result)(
                name=f"odds ratio of a discrepancy, {term}",
                estimate=ratio,
                low=low,
                high=high,
                level=result.level,
                method=result.method,
                p_value=result.p_value,
                n=comparison.discrepancies.n,
            ),
            digits=2,
        )
    for rule, row in comparison.rules.iterrows():
        for measure in (*METRICS, "readings"):
            step.number(f"readers.rules.{rule}.{measure}", row[measure])
            if measure != "readings" and rule != "reader":
                step.number(f"readers.rules.{rule}.{measure}_gain", row[f"{measure}_gain"])
    step.number("readers.assistance.cases_needed", int(demonstration.cases_needed.estimate))
    step.number("readers.assistance.power", float(demonstration.cases_needed.details["power"]))
    step.numbers("readers.assistance.planted", demonstration.planted)
    step.numbers("readers.assistance.found", dict(demonstration.found.estimates()))
    step.number("readers.assistance.n_readers", demonstration.spec.n_readers)
