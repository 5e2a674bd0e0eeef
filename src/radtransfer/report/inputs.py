"""What a notebook takes over from the ones before it, through their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer import paths
from radtransfer.data.store import CuratedDataset
from radtransfer.training.runs import RunRecord, RunStore, predictions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from radtransfer.report.step import Step

CURATION = "01_data_curation"
BASELINES = "02_traditional_baselines"
NETWORKS = "03_transfer_learning"

HOLDOUT = "06_holdout"

PUBLISHED_RUNS = "published_runs"
"""Folder of a study for runs of published results, which have predictions and no weights.

They were not trained here, and lie where nobody takes them for it.
"""

PREDICTED = (BASELINES, NETWORKS)
"""Notebooks whose runs the analyses compare; others train to show something else."""


def datasets_of(step: Step) -> dict[str, CuratedDataset]:
    """Curated datasets of the study that a step belongs to, by task, in the order of the profile."""
    return {
        task: CuratedDataset.open(paths.curated_dir() / name)
        for task, name in step.previous(CURATION)["datasets"].items()
    }


def unit_of(dataset: CuratedDataset) -> str:
    """What is resampled and counted where a dataset's images are not independent.

    Returns
    -------
    str
        ``"patients"``, or ``"groups of similar images"`` where nobody knows which images are of one
        patient: the groups are then the best guess at it.
    """
    return "patients" if dataset.patients_known else "groups of similar images"


def runs_of(step: Step, *notebooks: str) -> list[RunRecord]:
    """Runs that earlier notebooks noted, in their order."""
    names = [name for notebook in notebooks for name in step.previous(notebook)["runs"]]
    return [open_run(step.study_dir, name) for name in names]


def open_run(study: Path, name: str) -> RunRecord:
    """Run that was trained here, or else one of published results that a study rests on."""
    trained = paths.runs_dir() / name
    return RunStore.open(trained if trained.is_dir() else study / PUBLISHED_RUNS / name)


def predictions_so_far(step: Step, datasets: Mapping[str, CuratedDataset]) -> dict[str, pd.DataFrame]:
    """Predictions of all baselines and networks of the study, by task.

    Parameters
    ----------
    step : Step
    datasets : mapping of str to CuratedDataset
        From :func:`datasets_of`.

    Returns
    -------
    dict of str to DataFrame
        In the order of ``datasets``. Where patients are unknown, ``patient_id`` is the group of similar
        images (:func:`unit_of`).
    """
    runs = runs_of(step, *PREDICTED)
    return {
        task: predictions_by_unit([run for run in runs if run.spec.task == task], dataset)
        for task, dataset in datasets.items()
    }


def predictions_by_unit(runs: Iterable[RunRecord], dataset: CuratedDataset) -> pd.DataFrame:
    """Predictions of a task's runs.

    Parameters
    ----------
    runs : iterable of RunRecord
    dataset : CuratedDataset
        What they were trained on.

    Returns
    -------
    DataFrame
        Where patients are unknown, ``patient_id`` is the group of similar images (:func:`unit_of`).
    """
    table = predictions_of(runs)
    if unit_of(dataset) != "patients":
        group_of = dataset.cohort.frame.set_index("image_id")["group_id"]
        table["patient_id"] = group_of.loc[table["image_id"]].to_numpy()
    return table
