"""What a notebook takes over from the ones before it, through their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer import paths
from radtransfer.data.store import CuratedDataset
from radtransfer.training.runs import RunRecord, RunStore, predictions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from radtransfer.report.step import Step

CURATION = "01_data_curation"
BASELINES = "02_traditional_baselines"
NETWORKS = "03_transfer_learning"

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
    store = RunStore()
    return [
        RunStore.open(store.root / name) for notebook in notebooks for name in step.previous(notebook)["runs"]
    ]


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
    table = predictions_of(runs_of(step, *PREDICTED))
    by_task = {task: table.loc[table["task"] == task].reset_index(drop=True) for task in datasets}
    for task, dataset in datasets.items():
        if unit_of(dataset) != "patients":
            group_of = dataset.cohort.frame.set_index("image_id")["group_id"]
            by_task[task]["patient_id"] = group_of.loc[by_task[task]["image_id"]].to_numpy()
    return by_task
