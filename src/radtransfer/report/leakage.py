"""Tables and numbers of leaks and shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from radtransfer.data.leakage import NAMES, QUANTITIES, Finding, LeakageReport
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from radtransfer.report.step import Step
    from radtransfer.report.tables import Table


def findings_table(step: Step, name: str, report: LeakageReport) -> Table:
    """What was looked for, what was found, and what to do.

    Parameters
    ----------
    step : Step
    name : str
        Of the task, part of the table's name.
    report : LeakageReport

    Returns
    -------
    Table
        What calls for something to be done comes first.
    """
    order = sorted(report.findings, key=lambda finding: not finding.flagged)
    untested = "; ".join(f"{_called(prop)}: {reason}" for prop, reason in report.not_tested.items())
    return step.table(
        f"leakage_{name}",
        pd.DataFrame(
            [
                {
                    "Finding": f"{_SPLITS.get(finding.split, finding.split)}{finding.finding}",
                    "Flagged": "yes" if finding.flagged else "no",
                    "What to do": finding.advice or "nothing",
                }
                for finding in order
            ]
        ),
        caption=(
            f"Leaks and shortcuts looked for in {report.n_images} images of {report.n_patients} patients. "
            f"A shortcut is flagged if its AUC is at least {report.least_auc:g} and its p-value, adjusted "
            f"after Holm, below {report.level:g}; a leak is flagged if there is one."
            + (f" Not tested: {untested}." if untested else "")
        ),
    )


_SPLITS = {
    "": "",
    "official_split": "Official split: ",
    "official_fold": "Official folds: ",
    "hold-out": "Our hold-out part: ",
    "folds": "Our folds: ",
}


def _called(prop: str) -> str:
    return {**QUANTITIES, **NAMES}[prop]


def record(step: Step, name: str, report: LeakageReport) -> None:
    """Record how much is flagged, and the strongest shortcut.

    Parameters
    ----------
    step : Step
    name : str
        Of the task, part of the keys.
    report : LeakageReport
    """
    leaks = [finding for finding in report.findings if finding.kind == "leak"]
    step.numbers(
        f"leakage.{name}",
        {
            "n_official": _most_images(leaks, ("official_split", "official_fold")),
            "n_own": _most_images(leaks, ("hold-out", "folds")),
            "n_shortcuts": sum(finding.kind == "shortcut" for finding in report.flagged),
        },
    )
    tested = [finding for finding in report.findings if finding.auc is not None]
    if tested:
        worst = max(tested, key=lambda finding: finding.auc or 0.0)
        step.number(f"leakage.{name}.strongest", _called(worst.subject))
        step.number(f"leakage.{name}.auc", _estimate(worst, report))


def _most_images(leaks: list[Finding], splits: tuple[str, ...]) -> int:
    """Images that the worst of some leaks concerns; the same image may be part of several."""
    return max((finding.n_images for finding in leaks if finding.split in splits), default=0)


def _estimate(finding: Finding, report: LeakageReport) -> Estimate:
    return Estimate(
        name=f"AUC of the {_called(finding.subject)} alone",
        estimate=finding.auc or 0.0,
        low=finding.low,
        high=finding.high,
        level=1 - report.level,
        method="learned on other patients, clustered variance",
        p_value=finding.p_value,
        n={"patients": finding.n_patients, "images": finding.n_images},
    )
