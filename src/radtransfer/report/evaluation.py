"""Figures, tables and numbers of the evaluation chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from radtransfer.evaluation.performance import METRICS, Evaluation
from radtransfer.evaluation.voting import soft_vote
from radtransfer.report import figures
from radtransfer.report.labels import (
    SCRATCH_NETWORK,
    SHORTCUTS,
    TRADITIONAL,
    family,
    model_label,
    primary_network,
    task_label,
)
from radtransfer.training.runs import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table

DIFFERENCES = ("auc", "accuracy", "sensitivity", "specificity")
"""Measures whose paired differences are recorded."""

DRAWN = ("auc", "accuracy")
"""Those of them that the figure shows."""

CURVE_NAMES = {"roc": "ROC", "pr": "Precision-recall"}

VOTES = {
    "transfer": "All transfer networks together",
    "traditional": "All traditional baselines together",
    "both": "Both kinds together",
}
"""Models that vote, each with the same weight."""

VOTES_OF_ONE_KIND = {"transfer": "Gain over networks alone", "traditional": "Gain over baselines alone"}
"""What the vote of both kinds is drawn against."""

VOTE_DIFFERENCES = (
    ("transfer", "network"),
    ("traditional", "baseline"),
    ("both", "network"),
    ("both", "transfer"),
    ("both", "traditional"),
)
"""Vote, and what it is held against: another vote, the best single network or traditional baseline."""


def label_of(evaluation: Evaluation, model: str) -> str:
    """Name of a model for readers."""
    return model_label(model, evaluation.models[model].weights)


def _interval_text(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def resampled(evaluation: Evaluation) -> str:
    """What the intervals of an evaluation resample."""
    return next(iter(evaluation.n))


def _mean_over(evaluation: Evaluation) -> str:
    several = len(evaluation.classes) > 2
    return "mean over the folds" + (" and the classes, each against the rest" if several else "")


def _decided(evaluation: Evaluation) -> str:
    """How decisions were made."""
    if len(evaluation.classes) == 2:
        return "Thresholds come from each fold's validation images."
    return (
        "Measures are means over the classes, each against the rest; accuracy is the share of images whose "
        "most probable class is the right one."
    )


def _networks(evaluation: Evaluation) -> list[str]:
    """Networks that curves and errors are shown of."""
    shown = (primary_network(evaluation.models), SCRATCH_NETWORK)
    return [model for model in shown if model in evaluation.models]


def auc_forest(step: Step, evaluation: Evaluation) -> Figure:
    """Every model's cross-validated AUC with its interval: the chapter's answer in one figure."""
    rows = evaluation.metrics_table().query("metric == 'auc'").copy()
    rows["label"] = [label_of(evaluation, model) for model in rows["model"]]
    rows["group"] = [family(model) for model in rows["model"]]
    best = max(rows.to_dict("records"), key=lambda row: float(row["estimate"]))
    return step.figure(
        f"auc_by_model_{evaluation.task}",
        figures.forest(rows, xlabel=f"Cross-validated AUC ({evaluation.level:.0%} CI)", reference=0.5),
        alt=(
            "Forest plot of the AUC of every model with its interval. Highest: "
            + f"{best['label']}, {best['estimate']:.3f} ({_interval_text(best['low'], best['high'])}). "
            + "; ".join(f"{row.label} {row.estimate:.3f}" for row in rows.itertuples())
            + "."
        ),
        caption=(
            f"AUC of every model, {_mean_over(evaluation)}, with intervals that resample "
            f"{resampled(evaluation)}. Chance is at the dashed line."
        ),
        data=rows,
    )


def measures(evaluation: Evaluation) -> pd.DataFrame:
    """One row a model, one column a measure with its interval."""
    return pd.DataFrame(
        [
            {"Model": label_of(evaluation, name)}
            | {METRICS[key]: estimate for key, estimate in performance.metrics.items()}
            for name, performance in evaluation.models.items()
        ]
    )


def best_of_kind(evaluation: Evaluation) -> dict[str, str]:
    """Network, traditional baseline and shortcut of the highest validation AUC."""
    networks = [name for name in evaluation.models if family(name) in ("transfer", "scratch")]
    kinds = {"network": networks, "traditional": TRADITIONAL, "shortcut": SHORTCUTS}
    return {kind: evaluation.best(among) for kind, among in kinds.items()}


def performance_table(step: Step, evaluation: Evaluation) -> Table:
    """All metrics of all models, each with its interval."""
    precision = [performance.average_precision for performance in evaluation.models.values()]
    return step.table(
        f"performance_{evaluation.task}",
        measures(evaluation).assign(**{"Average precision": precision}),
        caption=(
            f"Performance on the test parts of the folds, with {evaluation.level:.0%} intervals that "
            f"resample {resampled(evaluation)}. {_decided(evaluation)}"
        ),
    )


def curves(step: Step, evaluation: Evaluation, kind: str) -> Figure:
    """ROC or precision-recall curves of the primary network and of what it is held against."""
    shown = [*_networks(evaluation), evaluation.best(TRADITIONAL), evaluation.best(SHORTCUTS)]
    data = evaluation.curves(kind, models=shown)
    data["label"] = [label_of(evaluation, model) for model in data["model"]]
    draw = figures.roc_curves if kind == "roc" else figures.pr_curves
    names = "; ".join(dict.fromkeys(data["label"]))
    return step.figure(
        f"{kind}_curves_{evaluation.task}",
        draw(data),
        alt=f"{CURVE_NAMES[kind]} curves, {_mean_over(evaluation)}, with pointwise bands, for: {names}.",
        caption=(
            f"{CURVE_NAMES[kind]} curves, {_mean_over(evaluation)}, with pointwise {evaluation.level:.0%} "
            f"bands that resample {resampled(evaluation)}. Of the traditional and the shortcut baselines, "
            "the one with the highest validation AUC is drawn."
        ),
        data=data,
    )


def confusion(step: Step, evaluation: Evaluation) -> Figure:
    """Confusion matrices of the primary network and of what it is held against."""
    shown = [*_networks(evaluation), evaluation.best(TRADITIONAL)]
    matrices = {label_of(evaluation, name): evaluation.models[name].confusion for name in shown}
    data = pd.DataFrame(
        [
            (label, reference, decision, matrix.loc[reference, decision])
            for label, matrix in matrices.items()
            for reference in matrix.index
            for decision in matrix.columns
        ],
        columns=["model", "reference", "decision", "images"],
    )
    sentences = [
        f"{label}: "
        + "; ".join(
            f"of {matrix.loc[reference].sum()} {reference} "
            + ", ".join(f"{matrix.loc[reference, decision]} called {decision}" for decision in matrix.columns)
            for reference in matrix.index
        )
        + "."
        for label, matrix in matrices.items()
    ]
    return step.figure(
        f"confusion_{evaluation.task}",
        figures.confusion_matrices(matrices),
        alt=f"Confusion matrices. {' '.join(sentences)}",
        caption="Decisions against the reference standard, all test parts together; counts of images.",
        data=data,
    )


def comparisons(evaluation: Evaluation) -> dict[str, tuple[str, str, str]]:
    """Paired comparisons that the study declares: name to (words, model, reference)."""
    primary = primary_network(evaluation.models)
    frozen = (
        name
        for name, spec in NETWORKS.items()
        if (spec.backbone, spec.regime) == (NETWORKS[primary].backbone, "frozen")
    )
    declared = {
        "network-traditional": ("Network − traditional", evaluation.best(TRADITIONAL)),
        "network-shortcut": ("Network − best shortcut", evaluation.best(SHORTCUTS)),
        "transfer-scratch": ("Transfer − from scratch", SCRATCH_NETWORK),
        "finetuned-frozen": ("Fine-tuned − frozen", next(frozen)),
    }
    return {
        name: (words, primary, reference)
        for name, (words, reference) in declared.items()
        if reference in evaluation.models
    }


def differences(step: Step, evaluation: Evaluation) -> Figure:
    """The declared paired differences: recorded, and those in AUC and accuracy drawn."""
    rows = []
    for name, (words, model, reference) in comparisons(evaluation).items():
        for metric in DIFFERENCES:
            estimate = evaluation.difference(model, reference, metric)
            pair = f"{label_of(evaluation, model)} − {label_of(evaluation, reference)}"
            step.number(
                f"diff.{evaluation.task}.{name}.{metric}",
                estimate,
                description=f"{task_label(evaluation.task)}: {METRICS[metric]}, {pair}",
            )
            if metric not in DRAWN:
                continue
            rows.append(
                {
                    "label": f"{words}: {METRICS[metric]}",
                    "model": model,
                    "reference": reference,
                    "metric": metric,
                    "estimate": estimate.estimate,
                    "low": estimate.low,
                    "high": estimate.high,
                    "group": METRICS[metric],
                }
            )
    data = pd.DataFrame(rows)
    return step.figure(
        f"differences_{evaluation.task}",
        figures.forest(data, xlabel=f"Paired difference ({evaluation.level:.0%} CI)", reference=0.0),
        alt="Forest plot of paired differences. "
        + "; ".join(
            f"{row.label} {row.estimate:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
            for row in data.itertuples()
        )
        + ".",
        caption=(
            f"Paired differences between models on the same {resampled(evaluation)}. An interval that keeps "
            "clear of the dashed line at zero tells the two apart."
        ),
        data=data,
    )


def with_votes(predictions: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """Predictions of the best network, of the best traditional baseline and of :data:`VOTES`."""
    best = best_of_kind(evaluation)
    members = {
        kind: [name for name in evaluation.models if family(name) == kind]
        for kind in ("transfer", "traditional")
    }
    members["both"] = members["transfer"] + members["traditional"]
    single = predictions["model"].isin([best["network"], best["traditional"]])
    return pd.concat(
        [predictions.loc[single], *(soft_vote(predictions, members[vote], name=vote) for vote in VOTES)],
        ignore_index=True,
    )


def votes(step: Step, evaluations: Mapping[str, Evaluation]) -> Figure:
    """What both kinds know beyond one of them: differences drawn, and all that :data:`VOTES` gave recorded.

    ``evaluations`` are of :func:`with_votes`, by task.
    """
    drawn: dict[str, list[dict[str, object]]] = {}
    for task, evaluation in evaluations.items():
        names = {model: VOTES.get(model) or label_of(evaluation, model) for model in evaluation.models}
        models = {vote: vote for vote in VOTES} | {
            "baseline" if family(model) == "traditional" else "network": model
            for model in names
            if model not in VOTES
        }
        for vote in VOTES:
            step.number(
                f"vote.{task}.{vote}.auc",
                evaluation.models[vote].metrics["auc"],
                description=f"{task_label(task)}: AUC, {names[vote]}",
            )
        for vote, reference in VOTE_DIFFERENCES:
            gain = evaluation.difference(vote, models[reference], "auc")
            step.number(
                f"vote.{task}.{vote}-{reference}.auc",
                gain,
                description=f"{task_label(task)}: AUC, {names[vote]} − {names[models[reference]]}",
            )
            if group := VOTES_OF_ONE_KIND.get(reference):
                drawn.setdefault(group, []).append(
                    {
                        "label": task_label(task),
                        "estimate": gain.estimate,
                        "low": gain.low,
                        "high": gain.high,
                        "group": group,
                    }
                )
    data = pd.DataFrame([row for rows in drawn.values() for row in rows])
    level = next(iter(evaluations.values())).level
    return step.figure(
        "votes",
        figures.forest(data, xlabel=f"Difference in AUC ({level:.0%} CI)", reference=0.0),
        alt="Forest plot of differences in AUC between votes. "
        + "; ".join(
            f"{row['group']}, {row['label']}: {row['estimate']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f})"
            for row in data.to_dict("records")
        )
        + ".",
        caption=(
            "What the vote of both kinds gains over the vote of one kind, paired on the same test images. "
            "Where an interval keeps clear of the dashed line at zero, the other kind had something to add."
        ),
        data=data,
    )


def record(step: Step, evaluation: Evaluation) -> None:
    """Record every model's metrics and the models that stand for their family."""
    task = evaluation.task
    for name, performance in evaluation.models.items():
        for key, estimate in performance.metrics.items():
            step.number(f"cv.{task}.{name}.{key}", estimate)
    for role, chosen in best_of_kind(evaluation).items():
        step.number(f"best.{task}.{role}.name", label_of(evaluation, chosen))
        step.number(f"best.{task}.{role}.auc", evaluation.models[chosen].metrics["auc"])
