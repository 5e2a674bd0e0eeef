"""Figures, tables and numbers of the chapter on the hold-out part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from radtransfer.evaluation.performance import METRICS
from radtransfer.report import figures
from radtransfer.report.evaluation import best_of_kind, label_of, measures, resampled
from radtransfer.report.labels import primary_network, task_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from radtransfer.evaluation.performance import Evaluation
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table

ROLES: Final = {
    "transfer": "stands for transfer learning",
    "network": "best network",
    "traditional": "best traditional",
    "shortcut": "best shortcut",
}
"""What a model is scored as; the best are those of the highest validation AUC in the folds."""

AGAINST: Final = ("traditional", "shortcut")
"""Roles that the network which stands for transfer learning is held against."""


def chosen(evaluation: Evaluation) -> dict[str, str]:
    """Model of each role, without a look at a test part.

    Parameters
    ----------
    evaluation : Evaluation
        On the folds.

    Returns
    -------
    dict of str to str
        By key of :data:`ROLES`; one model may have two roles.
    """
    return {"transfer": primary_network(evaluation.models), **best_of_kind(evaluation)}


def before_and_after(
    step: Step, folds: Mapping[str, Evaluation], held_out: Mapping[str, Evaluation]
) -> Figure:
    """AUC of every model that was scored, in the folds and on the hold-out part.

    Parameters
    ----------
    step : Step
    folds, held_out : mapping of str to Evaluation
        By task.
    """
    rows = []
    for task, evaluation in held_out.items():
        roles = chosen(folds[task])
        for model, performance in evaluation.models.items():
            first, second = folds[task].models[model].metrics["auc"], performance.metrics["auc"]
            played = ", ".join(words for role, words in ROLES.items() if roles[role] == model)
            rows.append(
                {
                    "label": label_of(evaluation, model),
                    "detail": f"{task_label(task)}\n{played}",
                    "first": first.estimate,
                    "first_low": first.low,
                    "first_high": first.high,
                    "second": second.estimate,
                    "second_low": second.low,
                    "second_high": second.high,
                }
            )
    sides = [f"{side}{end}" for side in ("first", "second") for end in ("", "_low", "_high")]
    data = pd.DataFrame(rows).astype(dict.fromkeys(sides, float))  # of a few patients there is no interval
    level = next(iter(held_out.values())).level
    return step.figure(
        "holdout_auc",
        figures.dumbbell(
            data, xlabel=f"AUC ({level:.0%} CI)", names={"first": "In the folds", "second": "Held out"}
        ),
        alt="AUC in the folds and on the hold-out part. "
        + " ".join(
            f"{row.label}, {' '.join(str(row.detail).split())}: {row.first:.3f} and {row.second:.3f}."
            for row in data.itertuples()
        ),
        caption=(
            "AUC in the folds, where models were chosen, and on patients that were held out until all "
            "choices had been made, with intervals that resample patients or what stands for them."
        ),
        data=data,
    )


def performance_table(step: Step, evaluation: Evaluation) -> Table:
    """All measures of the models on the hold-out part of a task."""
    counts = " and ".join(f"{count:,} {unit}" for unit, count in evaluation.n.items())
    return step.table(
        f"holdout_{evaluation.task}",
        measures(evaluation),
        caption=(
            f"Performance on the hold-out part, {counts}, with {evaluation.level:.0%} intervals that "
            f"resample {resampled(evaluation)}. Thresholds come from validation images that are not held out."
        ),
    )


def record(step: Step, folds: Evaluation, held_out: Evaluation) -> None:
    """Record what became of a task's models on the hold-out part."""
    task, roles = held_out.task, chosen(folds)
    for role, model in roles.items():
        step.number(f"holdout.{task}.{role}.name", label_of(held_out, model))
        step.number(f"holdout.{task}.{role}.auc", held_out.models[model].metrics["auc"])
    model = roles["transfer"]
    for metric in ("auc", "accuracy"):
        step.number(f"holdout.{task}.change.{metric}", held_out.change(folds, model, metric))
        for role in AGAINST:
            step.number(
                f"holdout.{task}.transfer-{role}.{metric}",
                held_out.difference(model, roles[role], metric),
                description=(
                    f"{task_label(task)}: {METRICS[metric]}, {label_of(held_out, model)} − "
                    f"{label_of(held_out, roles[role])}"
                ),
            )
