"""What a notebook takes over from the ones before it, through their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer import paths
from radtransfer.data.store import CuratedDataset
from radtransfer.training.runs import RunRecord, RunStore, predictions_of

if TYPE_CHECKING:
    import pandas as pd

    from radtransfer.report.step import Step

CURATION = "01_data_curation"
BASELINES = "02_traditional_baselines"
NETWORKS = "03_transfer_learning"


def dataset_of(step: Step) -> CuratedDataset:
    """Curated dataset of the study that a step belongs to."""
    return CuratedDataset.open(paths.curated_dir() / step.previous(CURATION)["dataset"])


def runs_of(step: Step, *notebooks: str) -> list[RunRecord]:
    """Runs that earlier notebooks noted, in their order."""
    store = RunStore()
    return [
        RunStore.open(store.root / name) for notebook in notebooks for name in step.previous(notebook)["runs"]
    ]


def predictions_so_far(step: Step) -> pd.DataFrame:
    """Predictions of all baselines and networks of the study."""
    return predictions_of(runs_of(step, BASELINES, NETWORKS))
