"""The CheXpert test set's readers: 500 studies, eight radiologists, ten algorithms.

Five radiologists made the reference standard by majority (bc1, bc2, bc3, bc5, bc7), three others were
measured against it (bc4, bc6, bc8). The files' columns come in different orders, so everything is joined by
name.

References
----------
.. [1] Irvin J, Rajpurkar P, Ko M, et al. CheXpert: a large chest radiograph dataset with uncertainty labels
   and expert comparison. AAAI 2019;33:590-597.
.. [2] Rajpurkar P, Joshi A, Pareek A, et al. CheXternal: generalization of deep learning models for chest
   X-ray interpretation to photos of chest X-rays and external clinical settings. CHIL 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.data.fetch import fetch
from radtransfer.errors import DataError
from radtransfer.readers.tables import BENCHMARK, REFERENCE, ReaderTables

if TYPE_CHECKING:
    from pathlib import Path

DATASET = "chexpert_readers"
SOURCE = "radiologists of the CheXpert test set"
GROUND_TRUTH = ("bc1", "bc2", "bc3", "bc5", "bc7")
MEASURED = ("bc4", "bc6", "bc8")
DEVICES, NO_FINDING = "Support Devices", "No Finding"


def load(folder: Path | None = None) -> ReaderTables:
    """Read the tables, from the manifest's dataset or from a folder in the upstream layout.

    Parameters
    ----------
    folder : Path, optional
        Fetched and verified by default.

    Returns
    -------
    ReaderTables

    Raises
    ------
    DataError
        If a file is absent, names other studies than the reference standard, or that standard is not the
        majority of the five readers who made it.
    """
    folder = folder or fetch(DATASET)
    truth = _read(folder / "groundtruth.csv")
    readings = {
        **{
            name: _like(truth, _read(folder / f"radiologists/benchmark_radiologists/{name}.csv"), name)
            for name in MEASURED
        },
        **{
            name: _like(truth, _read(folder / f"radiologists/groundtruth/{name}_gt.csv"), name)
            for name in GROUND_TRUTH
        },
    }
    votes = np.sum([readings[name].to_numpy() for name in GROUND_TRUTH], axis=0)
    if not np.array_equal(2 * votes > len(GROUND_TRUTH), truth == 1):
        raise DataError(f"{folder}: groundtruth.csv is not the majority of {', '.join(GROUND_TRUTH)}")
    scores = {
        path.name.removesuffix("_predictions.csv"): _cases_like(truth, _read(path), path.name)
        for path in sorted((folder / "example_models/predictions/standard").glob("*_predictions.csv"))
    }
    pathologies = truth.columns.difference([DEVICES, NO_FINDING])
    return ReaderTables(
        truth=truth,
        readings=readings,
        roles=dict.fromkeys(MEASURED, BENCHMARK) | dict.fromkeys(GROUND_TRUTH, REFERENCE),
        scores=scores,
        covariates=pd.DataFrame(
            {
                "support devices": truth[DEVICES].astype(float),
                "number of findings": truth[pathologies].sum(axis=1).astype(float),
            }
        ),
        source=SOURCE,
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path).set_index("Study")
    except FileNotFoundError:
        raise DataError(f"{path} is absent", hint=f"radtransfer data fetch {DATASET}") from None


def _cases_like(truth: pd.DataFrame, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    if not frame.index.is_unique or set(frame.index) != set(truth.index):
        raise DataError(f"{name}: its studies are not those of groundtruth.csv")
    return frame.loc[truth.index]


def _like(truth: pd.DataFrame, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    if set(frame.columns) != set(truth.columns):
        raise DataError(f"{name}: its findings are not those of groundtruth.csv")
    return _cases_like(truth, frame, name)[list(truth.columns)]
