"""Frozen results from which every statistic can be computed again, without images and without training.

Publishing writes what the analyses read:

- ``predictions/<task>.parquet``: scores of all baselines and networks, with every digit;
- ``cohorts/<task>.parquet``: one row an image, with label, patient, groups and part; no pixels;
- ``runs.json``: spec and metrics of every training run, in the order of the notebooks;
- ``records.json``: which notebook recorded which figures, tables, runs and datasets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from radtransfer.atomic import write_json
from radtransfer.data.cohort import LABEL
from radtransfer.data.store import CuratedDataset
from radtransfer.report.numbers import Record
from radtransfer.training.runs import RunRecord, predictions_of

PREDICTIONS: Final = "predictions"
COHORTS: Final = "cohorts"
RUNS: Final = "runs.json"
RECORDS: Final = "records.json"

PROTOCOL: Final = "protocol"
"""Option of a run whose images were dealt by a protocol under test."""

DESCRIBED: Final = (
    "image_id",
    "patient_id",
    "group_id",
    "dataset",
    "modality",
    "age_years",
    "sex",
    "view",
    "site",
    "follow_up",
    "slice_fraction",
    "bbox_x",
    "bbox_y",
    "bbox_width",
    "bbox_height",
)
"""Columns of a cohort that analyses read, beside the labels; whatever else a layout knows stays at home."""


def freeze_predictions(runs: Iterable[RunRecord], folder: Path) -> None:
    """Write one predictions table a task, for the baselines and networks of the study.

    Models that only show what a wrong protocol does are left out: a learner comes once for each protocol, so
    that a table by model must not hold them, and with every image of every collection many times over they
    would take more room than all other results. Their numbers rest on the images.

    Parameters
    ----------
    runs : iterable of RunRecord
    folder : Path
        ``predictions``.
    """
    own = [run for run in runs if PROTOCOL not in run.spec.options]
    if not own:
        return
    table = predictions_of(own)
    texts = ("model", "task", "target", "image_id", "patient_id", "part", "weights", "run")
    table = table.astype(dict.fromkeys(texts, "category") | {"fold": "int8", "label": "int8"})
    folder.mkdir(parents=True)
    for task, rows in table.groupby("task", observed=True):
        rows.to_parquet(folder / f"{task}.parquet", index=False, compression="zstd")


def freeze_cohort(dataset: CuratedDataset, target: Path) -> None:
    """Write who is in a curated dataset and where, without pixels.

    Parameters
    ----------
    dataset : CuratedDataset
    target : Path
        ``cohorts/<task>.parquet``.
    """
    frame = dataset.cohort.frame
    told = [name for name in frame if name in DESCRIBED or str(name).startswith(LABEL)]
    parts = dataset.holdout.table[["image_id", "part"]]
    folds = dataset.folds.table[["image_id", "fold", "stratum"]]
    table = frame[told].merge(parts, on="image_id", how="left", validate="one_to_one")
    table = table.merge(folds.astype({"fold": "Int64"}), on="image_id", how="left", validate="one_to_one")
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(target, index=False, compression="zstd")


def freeze_runs(runs: Iterable[RunRecord], target: Path) -> None:
    """Write what was trained and how it did on validation data; predictions and times lie elsewhere."""
    entries = [
        {"run": run.spec.hash, "spec": run.spec.model_dump(mode="json"), "metrics": run.metrics}
        for run in runs
    ]
    write_json(target, {"runs": entries})


def freeze_records(records: Iterable[Record], target: Path) -> None:
    """Write which notebook recorded what; its numbers lie elsewhere."""
    entries = [record.model_dump(mode="json", exclude={"numbers"}) for record in records]
    write_json(target, {"records": entries})
