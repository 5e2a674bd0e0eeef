"""Figures, tables and numbers of the chapters that fit models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from radtransfer.report import figures
from radtransfer.report.labels import SCRATCH_NETWORK, model_label, primary_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.training.runs import RunRecord

WEIGHTS_KIND = {
    "imagenet": "weights learned on ImageNet",
    "medical": "weights learned on other images of the study",
    "random": "random numbers",
    "none": "random numbers",
}


def _by_model(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    grouped: dict[str, list[RunRecord]] = {}
    for record in records:
        grouped.setdefault(record.spec.model, []).append(record)
    return grouped


def validation_auc(record: RunRecord) -> float:
    """AUC; of more than two classes the mean over classes, each against the rest."""
    part = record.predictions().query("part == 'validation'")
    areas = [roc_auc_score(rows["label"], rows["score"]) for _, rows in part.groupby("target")]
    return float(np.mean(areas))


def runs_table(step: Step, records: Sequence[RunRecord], *, name: str, models: Sequence[str] = ()) -> Table:
    """What was fitted: folds, start, size, epochs, time and validation AUC of each model.

    Parameters
    ----------
    step : Step
    records : sequence of RunRecord
        Of one task, which ends the table's name.
    name : str
        Begins the table's name.
    models : sequence of str
        What was to be fitted; those without a run are listed without folds.
    """
    rows: list[dict[str, object]] = []
    fitted = _by_model(records)
    for model in dict.fromkeys([*models, *fitted]):
        if (runs := fitted.get(model)) is None:
            rows.append({"Model": model_label(model), "Folds": 0})
            continue
        networks = runs[0].spec.kind == "network"
        row = {
            "Model": model_label(model, runs[0].spec.weights),
            "Folds": len(runs),
            "Validation AUC": sum(map(validation_auc, runs)) / len(runs),
            "Seconds a fold": sum(run.timings["train_s"] for run in runs) / len(runs),
        }
        if networks:
            row |= {
                "Input": f"{runs[0].spec.options['input_size']} px",
                "Started from": WEIGHTS_KIND[runs[0].spec.weights],
                "Trained parameters": int(runs[0].metrics["n_trainable"]),
                "Epochs (median)": float(pd.Series([run.timings["epochs"] for run in runs]).median()),
            }
        rows.append(row)
    return step.table(
        f"{name}_{records[0].spec.task}",
        pd.DataFrame(rows),
        caption=(
            "Models fitted, by fold. Seconds are wall-clock on this machine and leave out activations of "
            "frozen layers and features, which are computed once for all folds and epochs."
        ),
    )


def learning_curves(step: Step, records: Sequence[RunRecord]) -> Figure:
    """Loss on training and validation images by epoch, one panel a network, one line a fold."""
    data = pd.concat(
        [
            # fine-tuning has two stages, each of which counts its own epochs; the curve runs through both
            pd.DataFrame(list(record.history)).assign(
                label=model_label(record.spec.model, record.spec.weights),
                fold=record.spec.fold,
                epoch=np.arange(1, len(record.history) + 1),
            )
            for record in records
        ],
        ignore_index=True,
    )
    best = data.groupby("label", sort=False)["validation_loss"].min()
    return step.figure(
        f"learning_curves_{records[0].spec.task}",
        figures.learning_curves(data, validation="validation_loss"),
        alt=(
            "Training and validation loss by epoch for each network and fold. Lowest validation loss: "
            + "; ".join(f"{label} {loss:.3f}" for label, loss in best.items())
            + "."
        ),
        caption=(
            "Loss (categorical cross-entropy) by epoch; thin lines are folds. "
            "Solid: validation; dashed: training."
        ),
        data=data,
    )


def record(step: Step, records: Sequence[RunRecord]) -> None:
    """Record which network stands for transfer in a task, what it started from, and its epochs."""
    fitted = _by_model(records)
    prefix = f"training.{records[0].spec.task}"
    primary = primary_network(fitted)
    first = fitted[primary][0]
    step.number(f"{prefix}.primary.name", model_label(primary, first.spec.weights))
    step.number(f"{prefix}.primary.weights", WEIGHTS_KIND[first.spec.weights])
    source = first.environment["weights"]["source"] or "no source could be reached"
    step.number(f"{prefix}.primary.source", source)
    for role, model in (("primary", primary), ("scratch", SCRATCH_NETWORK)):
        epochs = pd.Series([run.timings["epochs"] for run in fitted.get(model, ())])
        if len(epochs):
            step.number(f"{prefix}.{role}.epochs", float(epochs.median()), digits=0)
