"""Figures, tables and numbers of the evaluation chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from radtransfer.evaluation.performance import CLASSES, METRICS, Evaluation
from radtransfer.report import figures
from radtransfer.report.labels import SHORTCUTS, TRADITIONAL, family, model_label

if TYPE_CHECKING:
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table

PRIMARY_NETWORK = "vgg16_finetuned"
"""The paper's main model; named before any result was seen."""

SCRATCH_NETWORK = "custom_cnn_scratch"

CURVE_NAMES = {"roc": "ROC", "pr": "Precision-recall"}


def _label(evaluation: Evaluation, model: str) -> str:
    return model_label(model, evaluation.models[model].weights)


def _interval_text(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def auc_forest(step: Step, evaluation: Evaluation) -> Figure:
    """Every model's cross-validated AUC with its interval: the chapter's answer in one figure."""
    rows = evaluation.metrics_table().query("metric == 'auc'").copy()
    rows["label"] = [_label(evaluation, model) for model in rows["model"]]
    rows["group"] = [family(model) for model in rows["model"]]
    best = max(rows.to_dict("records"), key=lambda row: float(row["estimate"]))
    return step.figure(
        "auc_by_model",
        figures.forest(rows, xlabel=f"Cross-validated AUC ({evaluation.level:.0%} CI)", reference=0.5),
        alt=(
            "Forest plot of the AUC of every model with its interval. Highest: "
            + f"{best['label']}, {best['estimate']:.3f} ({_interval_text(best['low'], best['high'])}). "
            + "; ".join(f"{row.label} {row.estimate:.3f}" for row in rows.itertuples())
            + "."
        ),
        caption=(
            "AUC of every model, mean over the folds, with patient-clustered intervals. "
            "Chance is at the dashed line."
        ),
        data=rows,
    )


def performance_table(step: Step, evaluation: Evaluation) -> Table:
    """All metrics of all models, each with its interval."""
    frame = pd.DataFrame(
        [
            {"Model": _label(evaluation, name)}
            | {METRICS[key]: estimate for key, estimate in performance.metrics.items()}
            | {"Average precision": performance.average_precision}
            for name, performance in evaluation.models.items()
        ]
    )
    return step.table(
        "performance",
        frame,
        caption=(
            f"Performance on the test parts of the folds, with {evaluation.level:.0%} intervals that "
            "resample patients. Thresholds come from each fold's validation images."
        ),
    )


def curves(step: Step, evaluation: Evaluation, kind: str) -> Figure:
    """ROC or precision-recall curves of the primary network and of what it is held against."""
    shown = [
        PRIMARY_NETWORK,
        SCRATCH_NETWORK,
        evaluation.best(TRADITIONAL),
        evaluation.best(SHORTCUTS),
    ]
    data = evaluation.curves(kind, models=shown)
    data["label"] = [_label(evaluation, model) for model in data["model"]]
    draw = figures.roc_curves if kind == "roc" else figures.pr_curves
    names = "; ".join(dict.fromkeys(data["label"]))
    return step.figure(
        f"{kind}_curves",
        draw(data),
        alt=f"{CURVE_NAMES[kind]} curves, averaged over folds, with pointwise bands, for: {names}.",
        caption=(
            f"{CURVE_NAMES[kind]} curves averaged over the folds, with pointwise {evaluation.level:.0%} "
            "bands that resample patients. Of the traditional and the shortcut baselines, the one with the "
            "highest validation AUC is drawn."
        ),
        data=data,
    )


def confusion(step: Step, evaluation: Evaluation) -> Figure:
    """Confusion matrices of the primary network and of what it is held against."""
    shown = [PRIMARY_NETWORK, SCRATCH_NETWORK, evaluation.best(TRADITIONAL)]
    matrices = {_label(evaluation, name): evaluation.models[name].confusion for name in shown}
    counts = {label: matrix.to_numpy(dtype=int) for label, matrix in matrices.items()}
    data = pd.DataFrame(
        [
            (label, reference, decision, table[i, j])
            for label, table in counts.items()
            for i, reference in enumerate(CLASSES)
            for j, decision in enumerate(CLASSES)
        ],
        columns=["model", "reference", "decision", "images"],
    )
    return step.figure(
        "confusion",
        figures.confusion_matrices(matrices),
        alt="Confusion matrices. "
        + " ".join(
            f"{label}: {table[1, 1]} true positives, {table[1, 0]} false negatives, "
            f"{table[0, 1]} false positives, {table[0, 0]} true negatives."
            for label, table in counts.items()
        ),
        caption="Decisions against the reference standard, all test parts together; counts of images.",
        data=data,
    )


def comparisons(evaluation: Evaluation) -> dict[str, tuple[str, str, str]]:
    """Paired comparisons that the study declares: name to (words, model, reference)."""
    traditional, shortcut = evaluation.best(TRADITIONAL), evaluation.best(SHORTCUTS)
    return {
        "network-traditional": ("Network − traditional", PRIMARY_NETWORK, traditional),
        "network-shortcut": ("Network − best shortcut", PRIMARY_NETWORK, shortcut),
        "transfer-scratch": ("Transfer − from scratch", PRIMARY_NETWORK, SCRATCH_NETWORK),
        "finetuned-frozen": ("Fine-tuned − frozen", PRIMARY_NETWORK, "vgg16_frozen"),
    }


def differences(step: Step, evaluation: Evaluation) -> Figure:
    """The declared paired differences in AUC and accuracy, recorded and drawn."""
    rows = []
    for name, (words, model, reference) in comparisons(evaluation).items():
        for metric in ("auc", "accuracy"):
            estimate = evaluation.difference(model, reference, metric)
            pair = f"{_label(evaluation, model)} − {_label(evaluation, reference)}"
            step.number(
                f"diff.{evaluation.task}.{name}.{metric}",
                estimate,
                description=f"{METRICS[metric]}, {pair}",
            )
            rows.append(
                {
                    "label": f"{words}: {METRICS[metric]}",
                    "model": model,
                    "reference": reference,
                    "metric": metric,
                    "estimate": estimate.estimate,
                    "low": estimate.low,
                    "high": estimate.high,
                    "group": metric,
                }
            )
    data = pd.DataFrame(rows)
    return step.figure(
        "differences",
        figures.forest(data, xlabel=f"Paired difference ({evaluation.level:.0%} CI)", reference=0.0),
        alt="Forest plot of paired differences. "
        + "; ".join(
            f"{row.label} {row.estimate:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
            for row in data.itertuples()
        )
        + ".",
        caption=(
            "Paired differences between models on the same patients. An interval that keeps clear of the "
            "dashed line at zero tells the two apart."
        ),
        data=data,
    )


def record(step: Step, evaluation: Evaluation) -> None:
    """Record every model's metrics and the models that stand for their family."""
    task = evaluation.task
    for name, performance in evaluation.models.items():
        for key, estimate in performance.metrics.items():
            step.number(f"cv.{task}.{name}.{key}", estimate)
    networks = [name for name in evaluation.models if family(name) in ("transfer", "scratch")]
    for role, chosen in {
        "network": evaluation.best(networks),
        "traditional": evaluation.best(TRADITIONAL),
        "shortcut": evaluation.best(SHORTCUTS),
    }.items():
        step.number(f"best.{task}.{role}.name", _label(evaluation, chosen))
        step.number(f"best.{task}.{role}.auc", evaluation.models[chosen].metrics["auc"])
