"""Frozen results from which every statistic can be computed again, without images and without training.

Publishing writes what the analyses read:

- ``predictions/<task>.parquet``: scores of all baselines and networks in the folds, with every digit;
- ``holdout/<task>.parquet``: likewise of the models that were scored on the hold-out part;
- ``cohorts/<task>.parquet``: one row an image, with label, patient, groups and part; no pixels;
- ``runs.json``: spec and metrics of every training run, in the order of the notebooks;
- ``records.json``: which notebook recorded which figures, tables, runs and datasets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pydantic import ValidationError

from radtransfer import paths
from radtransfer.atomic import atomic_folder, write_json, write_text
from radtransfer.data.cohort import LABEL
from radtransfer.data.store import CHECKSUMS, CuratedDataset
from radtransfer.errors import DataError, RadtransferError
from radtransfer.hashing import sha256_file
from radtransfer.report.inputs import HOLDOUT, PREDICTED
from radtransfer.report.numbers import Record, Registry, first_complaint, load_json
from radtransfer.training.runs import PREDICTION_COLUMNS, RunRecord, RunSpec, RunStore, predictions_of

PREDICTIONS: Final = "predictions"
HELD_OUT: Final = "holdout"
SCORES: Final = {PREDICTIONS: PREDICTED, HELD_OUT: (HOLDOUT,)}
"""Folders of predictions, and the notebooks whose runs made them."""

COHORTS: Final = "cohorts"
RUNS: Final = "runs.json"
RECORDS: Final = "records.json"

TOLD_OF_RUN: Final = ("run", "task", "model", "fold")
"""What an entry of ``timings.json`` says beside times and counts."""

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
    """Write one predictions table a task.

    Parameters
    ----------
    runs : iterable of RunRecord
        One for each model and fold, see :data:`SCORES`. Ablations and wrong protocols train one model many
        times over, so that a table by model must not hold them, and with every image of every collection
        many times over they would take more room than all other results. Their numbers rest on the images.
    folder : Path
        ``predictions`` or ``holdout``.
    """
    runs = list(runs)
    if not runs:
        return
    table = predictions_of(runs)
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


def read_records(results: Path) -> list[Record]:
    """What each notebook recorded, with its numbers, as it is published.

    Raises
    ------
    DataError
        If the results were published without it, or it is damaged.
    """
    numbers = Registry.load(results).numbers.values()
    try:
        records = [Record.model_validate(entry) for entry in _told(results / RECORDS, "records")]
    except ValidationError as error:
        raise DataError(f"{results / RECORDS}: {first_complaint(error)}") from None
    names = [
        name for record in records for name in (record.profile, record.notebook, *record.datasets.values())
    ]
    if not records or any(Path(name).name != name for name in names):
        raise DataError(f"{results / RECORDS} does not tell what was recorded", hint="restore it")
    return [
        record.model_copy(
            update={"numbers": tuple(number for number in numbers if number.notebook == record.notebook)}
        )
        for record in records
    ]


def thaw(results: Path, records: Iterable[Record], notebooks: Iterable[str]) -> None:
    """Lay out published results in the work folder as if the study had been run there.

    Parameters
    ----------
    results : Path
        Published results.
    records : iterable of Record
        Of :func:`read_records`; all are written into the study's folder.
    notebooks : iterable of str
        Whose training runs are laid out.

    Raises
    ------
    DataError
        If a file is missing, or does not fit the others: a run whose name is not that of its spec, for
        instance, or a cohort whose folds are not those that its runs were trained on.
    """
    wanted = set(notebooks)
    for record in records:
        write_json(
            paths.study_dir(record.profile) / "records" / f"{record.notebook}.json",
            record.model_dump(mode="json"),
        )
        for task, name in record.datasets.items():
            _thaw_dataset(results, task, paths.curated_dir() / name)
    specs = thaw_runs(
        results, [run for record in records if record.notebook in wanted for run in record.runs], RunStore()
    )
    _check_parts(results, specs, {task: name for record in records for task, name in record.datasets.items()})


def _told(path: Path, name: str) -> list[dict[str, Any]]:
    """Entries of a published file, which older results do not have."""
    if not path.is_file():
        raise DataError(f"{path} is missing", hint="publish again; older results cannot be recomputed")
    try:
        entries: list[dict[str, Any]] = load_json(path)[name]
    except (TypeError, KeyError):
        raise DataError(f"{path} has no {name}", hint="restore it, or publish again") from None
    return entries


def _thaw_dataset(results: Path, task: str, target: Path) -> None:
    frozen = results / COHORTS / f"{task}.parquet"
    if not frozen.is_file():
        raise DataError(f"{frozen} is missing", hint="publish again; older results cannot be recomputed")
    table = pd.read_parquet(frozen)
    with atomic_folder(target) as folder:
        # no pixels are published: a notebook that asked for them would fail, and images have no path
        cohort = table.drop(columns=["part", "fold", "stratum"]).assign(path=table["image_id"])
        cohort.to_parquet(folder / "cohort.parquet", index=False)
        assignment = table[["image_id", "patient_id", "group_id", "part", "fold", "stratum"]]
        assignment.to_parquet(folder / "assignment.parquet", index=False)
        write_json(folder / "curation.json", load_json(results / "curation" / f"{task}.json"))
        names = sorted(path.name for path in folder.iterdir())
        write_text(folder / CHECKSUMS, "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))


def thaw_runs(results: Path, wanted: Iterable[str], store: RunStore) -> list[RunSpec]:
    """Lay out published training runs, with their predictions and without weights.

    Parameters
    ----------
    results : Path
        Published results.
    wanted : iterable of str
        Names of runs of baselines and networks.
    store : RunStore
        Where they are laid out.

    Returns
    -------
    list of RunSpec

    Raises
    ------
    DataError
        If the results do not hold a run, or contradict themselves.
    """
    told = {entry["run"]: entry for entry in _told(results / RUNS, "runs")}
    timings = {entry["run"]: entry for entry in load_json(results / "timings.json")["runs"]}
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    specs = []
    for run in dict.fromkeys(wanted):
        try:
            spec = RunSpec.model_validate(told[run]["spec"])
        except (KeyError, ValidationError):
            raise DataError(f"{results / RUNS} does not tell what run {run} was") from None
        if spec.hash != run:
            raise DataError(f"{results / RUNS}: run {run} is not the one that its spec describes")
        if spec.task not in tables:
            tables[spec.task] = _predictions_by_run(results / PREDICTIONS / f"{spec.task}.parquet")
        if run not in tables[spec.task]:
            raise DataError(f"{results / PREDICTIONS / spec.task}.parquet has no rows of run {run}")
        if run not in timings:
            raise DataError(f"{results / 'timings.json'} has no entry of run {run}")
        seconds = {name: value for name, value in timings[run].items() if name not in TOLD_OF_RUN}
        try:
            store.write(
                spec,
                tables[spec.task][run],
                metrics=told[run]["metrics"],
                timings=seconds,
                environment={},
                share=False,
            )
        except RadtransferError as error:
            raise DataError(f"{results / PREDICTIONS / spec.task}.parquet: {error}") from None
        specs.append(spec)
    return specs


def _check_parts(results: Path, specs: Iterable[RunSpec], datasets: Mapping[str, str]) -> None:
    """Hold cohorts and predictions against each other: who is who, of which class, and in which fold."""
    store = RunStore()
    opened = {task: CuratedDataset.open(paths.curated_dir() / name) for task, name in datasets.items()}
    for spec in specs:
        if spec.task not in opened:
            raise DataError(f"{results / COHORTS / spec.task}.parquet is missing", hint="publish again")
        dataset = opened[spec.task]
        if dataset.folds.digest != spec.folds_digest or dataset.digest != spec.dataset_digest:
            raise DataError(
                f"{results / COHORTS / spec.task}.parquet is not the cohort of run {spec.hash}",
                hint="restore it, or publish again",
            )
        rows = store.load(spec).predictions()
        known = dataset.cohort.frame.set_index("image_id")["patient_id"]
        fold = dataset.folds.table.set_index("image_id")["fold"]
        tested = rows.loc[rows["part"] == "test"]
        if not rows["image_id"].isin(fold.index).all() or (
            (known.loc[rows["image_id"]].to_numpy() != rows["patient_id"]).any()
            or (fold.loc[tested["image_id"]].to_numpy() != spec.fold).any()
        ):
            raise DataError(
                f"{results / PREDICTIONS / spec.task}.parquet: rows of run {spec.hash} are of other images, "
                "patients or folds than the cohort",
                hint="restore it, or publish again",
            )


def _predictions_by_run(path: Path) -> dict[str, pd.DataFrame]:
    if not path.is_file():
        raise DataError(f"{path} is missing", hint="restore it, or publish again")
    table = pd.read_parquet(path)
    if tuple(table) != PREDICTION_COLUMNS:
        raise DataError(f"{path} has columns {list(table)}", hint="restore it, or publish again")
    # categories and small integers only save room
    texts = [name for name in table if table[name].dtype == "category"]
    table = table.astype(dict.fromkeys(texts, "str") | {"fold": "int64", "label": "int64"})
    return {str(run): rows.reset_index(drop=True) for run, rows in table.groupby("run", sort=False)}
