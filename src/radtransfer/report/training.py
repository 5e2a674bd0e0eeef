"""Figures, tables and numbers of the chapters that fit models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from radtransfer.report import figures
from radtransfer.report.labels import model_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.training.runs import RunRecord

WEIGHTS_KIND = {
    "imagenet": "weights learned on ImageNet",
    "random": "random numbers",
    "none": "random numbers",
}


def _by_model(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    grouped: dict[str, list[RunRecord]] = {}
    for record in records:
        grouped.setdefault(record.spec.model, []).append(record)
    return grouped


def _validation_auc(record: RunRecord) -> float:
    part = record.predictions().query("part == 'validation'")
    return float(roc_auc_score(part["label"], part["score"]))


def runs_table(step: Step, records: Sequence[RunRecord], *, name: str) -> Table:
    """What was fitted: folds, start, size, epochs, time and validation AUC of each model."""
    rows = []
    for model, runs in _by_model(records).items():
        networks = runs[0].spec.kind == "network"
        row: dict[str, object] = {
            "Model": model_label(model, runs[0].spec.weights),
            "Folds": len(runs),
            "Validation AUC": sum(map(_validation_auc, runs)) / len(runs),
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
        name,
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
        "learning_curves",
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
    """Record what VGG16 started from and the epochs each network took."""
    for model, runs in _by_model(records).items():
        epochs = float(pd.Series([run.timings["epochs"] for run in runs]).median())
        if model in ("custom_cnn_scratch", "vgg16_finetuned"):
            step.number(f"training.{runs[0].spec.task}.{model}.epochs", epochs, digits=0)
        if model == "vgg16_finetuned":
            step.number("weights.vgg16.kind", WEIGHTS_KIND[runs[0].spec.weights])
            weights = runs[0].environment["weights"]
            step.number("weights.vgg16.source", weights["source"] or "no source could be reached")
