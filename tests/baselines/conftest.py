"""Phantoms behind the interface of a curated dataset, small enough to fit in a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from radtransfer.data.cohort import Cohort
from radtransfer.data.phantoms import PhantomSpec, generate


@dataclass
class ToyFolds:
    frame: pd.DataFrame
    n_folds: int = 2
    digest: str = "f" * 64

    def split(self, fold: int, *, validation_fraction: float, seed: int) -> SimpleNamespace:
        patients = self.frame["patient_id"].to_numpy()
        labels = self.frame["label_pneumonia"].to_numpy(dtype=int)
        outer = StratifiedGroupKFold(self.n_folds, shuffle=True, random_state=0)
        rest, test = list(outer.split(labels, labels, patients))[fold]
        inner = StratifiedGroupKFold(round(1 / validation_fraction), shuffle=True, random_state=seed)
        train, validation = next(inner.split(rest, labels[rest], patients[rest]))
        rows = {"train": rest[train], "validation": rest[validation], "test": test}
        return SimpleNamespace(ids=lambda part: tuple(self.frame["image_id"].iloc[rows[part]]))


@dataclass
class ToyDataset:
    spec: PhantomSpec
    digest: str = "d" * 64
    folder: Path = Path("toy")
    images: np.ndarray = field(init=False)
    cohort: Cohort = field(init=False)
    folds: ToyFolds = field(init=False)

    def __post_init__(self) -> None:
        phantoms = generate(self.spec)
        self.images = phantoms.images
        self.cohort = phantoms.cohort
        # folds are fixed once, whatever a test does to the labels afterwards
        self.folds = ToyFolds(phantoms.cohort.frame.copy())

    def index(self, image_ids: tuple[str, ...]) -> np.ndarray:
        return pd.Index(self.cohort.frame["image_id"]).get_indexer(list(image_ids))


@pytest.fixture
def toy(work: Path) -> type[ToyDataset]:
    """Makes datasets of a phantom spec; the work folder is a temporary one."""
    return ToyDataset
