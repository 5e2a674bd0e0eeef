"""A small project of its own for each test: manifest, profile and notebooks that run in a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from radtransfer.hashing import sha256_file

MANIFEST = {
    "version": 1,
    "datasets": {
        name: {
            "title": name,
            "modality": modality,
            "licence": "CC0-1.0",
            "citation": "none",
            "access": access,
            "patient_id_field": "",
            "native_size": [64, 64],
            "format": "phantoms",
            "tasks": [task],
            "sources": [{"kind": "generated"}],
        }
        for name, modality, access, task in (
            ("phantom_xray", "xray", "generated", "pneumonia"),
            ("phantom_ct", "ct", "generated", "haemorrhage"),
            ("readers", "xray", "registered", "pneumonia"),
        )
    },
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "01_data_curation": {
        "TASKS": {"pneumonia": {"dataset": "phantom_xray", "phantom": {"n_patients": 40}}},
        "EXAMINED_ONLY": {},
        "IMAGE_SIZE": 64,
        "AGE_MIN": 18,
        "AGE_MAX": 80,
        "TEST_FRACTION": 0.1,
        "N_FOLDS": 3,
        "SEED": 1,
    },
    "02_traditional_baselines": {
        "BASELINES": ["metadata"],
        "VALIDATION_FRACTION": 0.1,
        "FOLDS_USED": None,
        "FOLDS_USED_OF": {},
        "SEED": 1,
    },
    "03_transfer_learning": {
        "NETWORKS": ["custom_cnn_scratch"],
        "NETWORKS_OF": {},
        "INPUT_SIZE": 32,
        "INPUT_SIZE_OF": {},
        "VIEWS": 0,
        "EPOCHS": 2,
        "PATIENCE": 1,
        "BATCH_SIZE": 8,
        "LEARNING_RATE": 0.001,
        "FINETUNE_LEARNING_RATE": 0.0001,
        "FINETUNE_LEARNING_RATE_OF": {},
        "DROPOUT": 0.5,
        "VALIDATION_FRACTION": 0.1,
        "FOLDS_USED": None,
        "FOLDS_USED_OF": {},
        "SEED": 1,
    },
    "06_holdout": {"N_RESAMPLES": 100, "LEVEL": 0.95, "SEED": 1},
}

RECORD = """\
import json, os, pathlib
folder = pathlib.Path(STUDY_DIR, "records")
folder.mkdir(parents=True, exist_ok=True)
number = {{"key": "test.seed", "value": SEED, "notebook": "{name}"}}
record = {{"notebook": "{name}", "profile": folder.parent.name, "numbers": [number]}}
pathlib.Path(folder, "{name}.json").write_text(json.dumps(record))
"""


def make_project(root: Path) -> Project:
    """Project with one notebook and the profile ``small``; ``RADTRANSFER_ROOT`` has to name it."""
    (root / "data_manifest.yaml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    (root / "requirements.lock").write_text("rich==1 \\\n    --hash=sha256:00\n", encoding="utf-8")
    small = Project(root)
    small.write_profile()
    small.write_notebook()
    return small


def write_dataset(folder: Path, image_ids: Sequence[str], task: str = "pneumonia", digest: str = "d") -> None:
    """Write a curated dataset without pixels: the last fifth held out, the others in two folds."""
    n = len(image_ids)
    ids = pd.Series(image_ids, dtype="str")
    cohort = pd.DataFrame({"image_id": ids, "patient_id": "p" + ids, "group_id": "g" + ids})
    cohort = cohort.assign(dataset="phantom_xray", modality="xray", path="raw/" + ids, remarks="by A. Person")
    cohort = cohort.assign(sex="F", view="PA", site="here", **{f"label_{task}": [i % 2 for i in range(n)]})
    cohort["age_years"] = pd.array([30.0 + i % 50 for i in range(n)], dtype="Float64")
    part = ["train"] * (n - n // 5) + ["test"] * (n // 5)
    fold = pd.array([(i // 2) % 2 if name == "train" else None for i, name in enumerate(part)], dtype="Int64")
    assignment = cohort[["image_id", "patient_id", "group_id"]].assign(part=part, fold=fold, stratum="0")
    folder.mkdir(parents=True, exist_ok=True)
    cohort.to_parquet(folder / "cohort.parquet", index=False)
    assignment.to_parquet(folder / "assignment.parquet", index=False)
    told = {"dataset": "phantom_xray", "task": task, "tasks": [task], "classes": {}, "digest": digest}
    told["source"] = str(folder)
    (folder / "curation.json").write_text(json.dumps(told))
    names = ("cohort.parquet", "assignment.parquet", "curation.json")
    (folder / "SHA256SUMS").write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))


@dataclass
class Project:
    """Folder with everything the driver needs."""

    root: Path

    def write_profile(self, name: str = "small", **changes: Any) -> None:
        """Write a profile; ``changes`` replace top-level entries."""
        content = {"description": "a test", "notebooks": {"01_data_curation": PARAMETERS["01_data_curation"]}}
        path = self.root / "profiles" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")

    def set_parameters(self, notebook: str = "01_data_curation", **values: Any) -> None:
        """Change or add parameters of one notebook in the profile ``small``."""
        given = {name: dict(PARAMETERS[name]) for name in {"01_data_curation": 1, notebook: 1}}
        given[notebook] |= values
        self.write_profile(notebooks=given)

    def write_notebook(
        self,
        name: str = "01_data_curation",
        *code: str,
        prose: str = "# Prose",
        parameters: dict[str, Any] | str | None = None,
        tags: tuple[str, ...] = ("parameters",),
    ) -> None:
        """Write a notebook whose last cell saves a record unless other code is given."""
        given = PARAMETERS.get(name, {}) if parameters is None else parameters
        lines = [f"{key} = {value!r}" for key, value in given.items()] if isinstance(given, dict) else [given]
        sources = [
            "\n".join(['STUDY_DIR = "work/study/small"', *lines]),
            *(code or (RECORD.format(name=name),)),
        ]
        cells: list[dict[str, Any]] = [
            {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": prose}
        ]
        cells += [
            {
                "cell_type": "code",
                "id": f"code{i}",
                "metadata": {"tags": list(tags)} if i == 0 else {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for i, source in enumerate(sources)
        ]
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")

    @property
    def study(self) -> Path:
        """Study folder of the profile ``small``."""
        return self.root / "work" / "study" / "small"

    def command(self, *arguments: str) -> list[str]:
        """Command line of a real process."""
        return [sys.executable, "-m", "radtransfer", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """Variables of a real process."""
        own = {"RADTRANSFER_ROOT": str(self.root), "RADTRANSFER_WORK": str(self.root / "work")}
        return {**os.environ, **own, **more}

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a process of its own."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
